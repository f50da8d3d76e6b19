"""MobileNetV1: the paper's table, the walk over its layers, and training."""

from __future__ import annotations

import pytest
import torch
from helpers_models import randomise
from torch.nn import functional as F

from distill.models.mobilenet_v1 import MobileNetV1
from distill.models.padding import same_padding


# Parameters without the classifier, statistics included: the figures Keras prints for include_top=False.
@pytest.mark.parametrize(
    ("alpha", "parameters"), [(0.25, 218_544), (0.5, 829_536), (0.75, 1_832_976), (1.0, 3_228_864)]
)
def test_parameter_count_is_that_of_keras(alpha: float, parameters: int) -> None:
    model = MobileNetV1(alpha)
    counted = sum(v.numel() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked"))
    assert counted == parameters
    assert model.feature_size == int(1024 * alpha)


def test_stages_have_strides_4_8_16_32_and_end_in_forward() -> None:
    model = randomise(MobileNetV1(0.25))
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps, last = model.stages(x), model(x)
    assert [tuple(m.shape) for m in maps] == [(2, 32, 16, 24), (2, 64, 8, 12), (2, 128, 4, 6), (2, 256, 2, 3)]
    assert model.stage_channels == (32, 64, 128, 256)
    assert model.stage_strides == (4, 8, 16, 32)
    assert torch.equal(maps[-1], last)


@pytest.mark.parametrize("patch", [False, True])
@pytest.mark.parametrize(("size", "cells"), [(32, 1), (33, 2), (65, 3), (100, 4), (127, 4), (129, 5)])
def test_any_input_size_gives_ceil_of_size_over_32(size: int, cells: int, patch: bool) -> None:
    assert MobileNetV1(0.25, patch=patch).eval()(torch.zeros(1, 3, size, size)).shape[2:] == (cells, cells)


@pytest.mark.parametrize("patch", [False, True])
@pytest.mark.parametrize("size", [64, 75])
def test_walking_the_layers_with_folded_batch_norm_is_the_network(size: int, patch: bool) -> None:
    model = randomise(MobileNetV1(0.5, patch=patch))
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        y = x
        for layer in model.layers():
            scale = layer.bn.weight / torch.sqrt(layer.bn.running_var + layer.bn.eps)
            weight = layer.conv.weight * scale[:, None, None, None]
            bias = layer.bn.bias - layer.bn.running_mean * scale
            height, width = weight.shape[2:]
            rows, columns = (
                same_padding(y.shape[2], height, layer.stride),
                same_padding(y.shape[3], width, layer.stride),
            )
            if layer.name == "conv_patch":  # windows of 8 columns begin at each fourth
                columns = (0, 4 * (-(-y.shape[3] // 4) + 1) - y.shape[3])
            groups = y.shape[1] if layer.kind == "depthwise" else 1
            y = F.relu6(F.conv2d(F.pad(y, (*columns, *rows)), weight, bias, layer.stride, groups=groups))
        torch.testing.assert_close(y, model(x), atol=1e-4, rtol=1e-4)


def test_layers_are_27_in_order_with_kinds_and_strides() -> None:
    layers = list(MobileNetV1(0.25).layers())
    assert [layer.name for layer in layers[:3]] == ["conv1", "conv_dw_1", "conv_pw_1"]
    assert layers[-1].name == "conv_pw_13"
    assert [layer.kind for layer in layers] == ["conv"] + ["depthwise", "pointwise"] * 13
    assert [layer.name for layer in layers if layer.stride == 2] == [
        "conv1", "conv_dw_2", "conv_dw_4", "conv_dw_6", "conv_dw_12"
    ]  # fmt: skip
    assert all(layer.conv.bias is None and layer.bn.eps == 1e-3 for layer in layers)


def test_bn_momentum_is_what_was_asked_for() -> None:
    layers = MobileNetV1(0.25, bn_momentum=0.01).layers()
    assert {layer.bn.momentum for layer in layers} == {0.01}


def test_channels_last_gives_the_same_map_and_stays_channels_last() -> None:
    model = randomise(MobileNetV1(0.25))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        output = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_every_weight_gets_a_gradient_from_every_stage_map() -> None:
    model = MobileNetV1(0.25).train()
    maps = model.stages(torch.randn(2, 3, 64, 64))
    # Maps are used by losses after later layers ran: nothing may have overwritten them.
    sum(m.square().mean() for m in maps).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_random_initial_weights_keep_the_signal_alive() -> None:
    torch.manual_seed(0)
    model = MobileNetV1(0.25).train()
    output = model(torch.randn(8, 3, 64, 64))
    assert output.std() > 0.3


def test_alpha_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        MobileNetV1(0)


def test_a_patch_stem_goes_on_as_the_whole_network_does() -> None:
    whole, patch = MobileNetV1(0.25), MobileNetV1(0.25, patch=True)
    assert patch.arch == "mobilenet_v1_025_patch"
    assert [(layer.name, layer.stride) for layer in list(patch.layers())[:2]] == [("conv_patch", 4), ("conv_dw_3", 1)]
    assert [layer.name for layer in patch.layers()][1:] == [layer.name for layer in whole.layers()][5:]
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = patch.eval().stages(x)
        assert [m.shape for m in maps] == [m.shape for m in whole.eval().stages(x)]
        assert torch.equal(maps[-1], patch(x))
    assert (patch.stage_channels, patch.feature_size) == (whole.stage_channels, whole.feature_size)
