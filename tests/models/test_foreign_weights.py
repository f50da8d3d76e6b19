"""Weights of other packages give those packages' outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from helpers_models import randomise
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from distill.console import Failure
from distill.models.registry import build_backbone


def test_torchvision_mobilenet_v2(tmp_path: Path) -> None:
    theirs = randomise(torchvision.models.mobilenet_v2())
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    ours = build_backbone("timm:mobilenetv2_100", tmp_path / "w.pth").eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs.features(x), atol=1e-4, rtol=1e-4)
    assert ours.weights["layout"] == "torchvision mobilenet_v2"
    assert ours.default_preprocessing(224).mean == pytest.approx((123.675, 116.28, 103.53))


def test_torchvision_resnet18(tmp_path: Path) -> None:
    theirs = randomise(torchvision.models.resnet18())
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    ours = build_backbone("resnet18", tmp_path / "w.pth").eval()
    children = list(theirs.children())[:-2]
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = torch.nn.Sequential(*children)(x)
        torch.testing.assert_close(ours(x), expected, atol=1e-4, rtol=1e-4)


# EfficientNet-lite from its description: MBConv blocks without squeeze-and-excitation, ReLU6, SAME
# padding, batch norm epsilon 1e-3, under the names of lukemelas' EfficientNet-PyTorch.
# Rows: kernel, stride, expansion, channels, repeats (EfficientNet, arXiv 1905.11946, table 1).
TABLE = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
)  # fmt: skip


def lite0_weights(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def conv(name: str, out: int, inside: int, kernel: int) -> None:
        std = (2 / (inside * kernel**2)) ** 0.5
        state[f"{name}.weight"] = torch.randn(out, inside, kernel, kernel, generator=generator) * std

    def norm(name: str, size: int) -> None:
        state[f"{name}.weight"] = torch.rand(size, generator=generator) + 0.5
        state[f"{name}.bias"] = torch.randn(size, generator=generator) * 0.2
        state[f"{name}.running_mean"] = torch.randn(size, generator=generator) * 0.2
        state[f"{name}.running_var"] = torch.rand(size, generator=generator) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    conv("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    channels, number = 32, 0
    for kernel, _, expansion, out, repeats in TABLE:
        for _ in range(repeats):
            block, wide = f"_blocks.{number}", channels * expansion
            if expansion > 1:
                conv(f"{block}._expand_conv", wide, channels, 1)
                norm(f"{block}._bn0", wide)
            conv(f"{block}._depthwise_conv", wide, 1, kernel)
            norm(f"{block}._bn1", wide)
            conv(f"{block}._project_conv", out, wide, 1)
            norm(f"{block}._bn2", out)
            channels, number = out, number + 1
    conv("_conv_head", 1280, channels, 1)
    norm("_bn1", 1280)
    state["_fc.weight"], state["_fc.bias"] = torch.zeros(1000, 1280), torch.zeros(1000)
    return state


def lite0_features(state: dict[str, Tensor], x: Tensor) -> Tensor:
    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        total = [max((-(-n // stride) - 1) * stride + weight.shape[2] - n, 0) for n in x.shape[2:]]
        (top, left), (height, width) = [t // 2 for t in total], total
        x = F.pad(x, (left, width - left, top, height - top))
        return F.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])

    def norm(x: Tensor, name: str) -> Tensor:
        get = lambda part: state[f"{name}.{part}"]  # noqa: E731
        return F.batch_norm(x, get("running_mean"), get("running_var"), get("weight"), get("bias"), eps=1e-3)

    x = F.relu6(norm(conv(x, "_conv_stem", 2), "_bn0"))
    number = 0
    for _, stride, expansion, _, repeats in TABLE:
        for repeat in range(repeats):
            block, y = f"_blocks.{number}", x
            if expansion > 1:
                y = F.relu6(norm(conv(y, f"{block}._expand_conv"), f"{block}._bn0"))
            y = F.relu6(norm(conv(y, f"{block}._depthwise_conv", 1 if repeat else stride), f"{block}._bn1"))
            y = norm(conv(y, f"{block}._project_conv"), f"{block}._bn2")
            x = x + y if repeat else y
            number += 1
    return F.relu6(norm(conv(x, "_conv_head"), "_bn1"))


@pytest.fixture(scope="module")
def lite0() -> dict[str, Tensor]:
    return lite0_weights()


@pytest.mark.parametrize("size", [64, 75])
def test_efficientnet_lite(size: int, lite0: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(lite0, tmp_path / "w.safetensors")
    ours = build_backbone("timm:tf_efficientnet_lite0", tmp_path / "w.safetensors").eval()
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = lite0_features(lite0, x)
        torch.testing.assert_close(ours(x), expected, atol=1e-3, rtol=1e-3)
    assert expected.std() > 0.1
    # The weights' own scaling, not timm's 127.5.
    assert ours.default_preprocessing(224).mean == (127.0, 127.0, 127.0)
    assert ours.default_preprocessing(224).std == (128.0, 128.0, 128.0)


def test_block_numbers_are_matched_in_order_not_as_text(lite0: dict[str, Tensor], tmp_path: Path) -> None:
    shuffled = {key: lite0[key] for key in sorted(lite0)}  # 0, 1, 10, 11, ..., 2
    save_file(shuffled, tmp_path / "w.safetensors")
    ours = build_backbone("timm:tf_efficientnet_lite0", tmp_path / "w.safetensors")
    assert torch.equal(ours.net.blocks[1][0].conv_dw.weight, lite0["_blocks.1._depthwise_conv.weight"])
    assert torch.equal(ours.net.blocks[6][0].conv_pwl.weight, lite0["_blocks.15._project_conv.weight"])


@pytest.mark.parametrize("arch", ["resnet18", "timm:mobilenetv2_100", "timm:efficientnet_b0"])
def test_foreign_weights_for_another_network_are_named(arch: str, lite0: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(lite0, tmp_path / "w.safetensors")
    with pytest.raises(Failure, match="weights of EfficientNet-lite.*--arch timm:tf_efficientnet_lite0"):
        build_backbone(arch, tmp_path / "w.safetensors")


@pytest.mark.parametrize("arch", ["timm:tf_efficientnet_lite1", "timm:tf_efficientnet_lite4"])
def test_another_size_of_the_family_does_not_fit(arch: str, lite0: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(lite0, tmp_path / "w.safetensors")
    with pytest.raises(Failure, match="does not fit the network"):
        build_backbone(arch, tmp_path / "w.safetensors")


def test_a_missing_and_an_unknown_tensor_are_not_passed_over(lite0: dict[str, Tensor], tmp_path: Path) -> None:
    less = {key: value for key, value in lite0.items() if key != "_blocks.3._bn1.bias"}
    save_file(less | {"_blocks.3._se_reduce.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(Failure, match=r"lacks blocks\.2\.0\.bn2\.bias; has unknown _blocks\.3\._se_reduce\.weight"):
        build_backbone("timm:tf_efficientnet_lite0", tmp_path / "w.safetensors")
