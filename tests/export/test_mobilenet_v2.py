"""Folding of MobileNetV2 and EfficientNet-lite: residual additions and PyTorch's padding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from export_helpers import SIDE, noise, student
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fold import reference
from test_repair import benchmark_script
from torch.nn import functional as F

from distill.models.embedder import Embedder
from distill.models.registry import build_backbone
from export.check import cosines, reference_embeddings
from export.graph.fold import can_fold, fold
from export.graph.folded import Add, Convolution, FoldedGraph, L2Norm, Linear, MeanPool
from export.graph.torch_network import activate, batches, linear_part, observe, run
from export.graph.walk import walk
from export.int8.repair.bias import correct_bias
from export.int8.repair.equalize import equalize, groups
from export.int8.sensitivity import sensitivities
from export.int8.simulation import as_int8, quantized_weight
from export.samples.calibration import CalibrationImages

ARCH = "timm:mobilenetv2_035"


@pytest.fixture(scope="module")
def net():
    return student(ARCH)


@pytest.fixture(scope="module")
def images(net) -> CalibrationImages:
    return CalibrationImages(noise(24, seed=1), net.backbone.default_preprocessing(SIDE, SIDE))


@pytest.fixture(scope="module")
def graph(net) -> FoldedGraph:
    return fold(net, SIDE)


@pytest.fixture(scope="module")
def rescaled(net, images):
    other, moved = benchmark_script().rescale_channels(net, images, images.preprocessing, 100, 0)
    assert moved > 0.5
    return other


def outputs(graph: FoldedGraph, images: CalibrationImages) -> np.ndarray:
    with torch.inference_mode():
        return torch.cat([run(graph, batch) for batch in batches(images.scaled())]).numpy()


def simulated(graph: FoldedGraph, pixels: np.ndarray, images: CalibrationImages) -> np.ndarray:
    """Return embeddings as int8 computes them, with the float min/max ranges of ``images``."""
    seen = observe(graph, images.scaled())

    def step(layer, inputs):
        weights = quantized_weight(layer) if isinstance(layer, (Convolution, Linear)) else None
        values = activate(layer, linear_part(layer, inputs[0], weights, None, *inputs[1:]))
        return as_int8(layer, values, seen[layer.name].low, seen[layer.name].high)

    with torch.inference_mode():
        (batch,) = batches(replace(images, pixels=pixels, marked=False).scaled(), len(pixels))
        return graph.flow(batch, step).numpy()


@pytest.mark.parametrize(
    ("arch", "side"),
    [
        (ARCH, 64),
        (ARCH, 50),  # 50, 25, 13, 7, 4, 2: for odd sides PyTorch pads as SAME
        (ARCH, 33),
        ("timm:efficientnet_lite0", 46),  # kernels of 5
        ("timm:tf_efficientnet_lite0", 46),  # SAME
    ],
)
def test_the_folded_graph_computes_the_same_embedding(arch: str, side: int):
    model = student(arch, side=side, batches=10)
    scaled = model.backbone.default_preprocessing(side, side).scale(noise(3, side))
    wanted, graph = reference(model, scaled), fold(model, side)
    assert np.abs(graph.run(scaled) - wanted).max() < 5e-6  # constants rounded once
    with torch.inference_mode():
        got = run(graph, torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)))
    assert np.abs(got.numpy() - wanted).max() < 1e-5  # every sum in float32


@given(
    st.integers(1, 13), st.integers(1, 13), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.booleans(),
    st.integers(0, 100),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_pytorchs_padding(height: int, width: int, size: int, stride: int, padding: int, depthwise: bool, seed: int):
    """Compare both references with ``conv2d`` for any sides, kernel and stride."""
    if min(height, width) + 2 * padding < size:
        return
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(size, size, 3, 1 if depthwise else 4)).astype(np.float32)
    bias = rng.normal(size=3 if depthwise else 4).astype(np.float32)
    layer = Convolution("c", kernel, bias, stride, False, depthwise, padding)
    values = torch.from_numpy(rng.normal(size=(2, 3, height, width)).astype(np.float32))
    order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
    weights = torch.from_numpy(kernel.transpose(order).copy())
    wanted = F.conv2d(values, weights, torch.from_numpy(bias), stride, padding, groups=3 if depthwise else 1)
    assert torch.allclose(linear_part(layer, values), wanted, atol=1e-5)
    got = FoldedGraph(height, (layer,)).run(values.permute(0, 2, 3, 1).numpy())
    assert np.allclose(got, wanted.permute(0, 2, 3, 1), atol=1e-5)
    assert (layer.cells(height), layer.cells(width)) == tuple(wanted.shape[2:])


def test_the_layers_are_those_of_the_network(graph):
    """52 convolutions and 10 adds (Sandler et al., arXiv 1801.04381, table 2), named as in timm."""
    kinds = [type(layer) for layer in graph.layers]
    assert [kinds.count(kind) for kind in (Convolution, Add, MeanPool, Linear, L2Norm)] == [52, 10, 1, 1, 1]
    adds = {layer.name: layer.other for layer in graph.layers if isinstance(layer, Add)}
    assert adds["blocks.1.1.add"] == "blocks.1.0.conv_pwl"
    assert adds["blocks.3.2.add"] == "blocks.3.1.add"
    linear = [layer.name for layer in graph.layers if isinstance(layer, Convolution) and not layer.relu6]
    assert len(linear) == 17
    assert all(name.endswith("conv_pwl") or name == "blocks.0.0.conv_pw" for name in linear)


@pytest.mark.parametrize("arch", ["timm:efficientnet_b0", "timm:mobilenetv3_small_050", "resnet18"])
def test_other_networks_are_not_recognized(arch: str):
    assert walk(build_backbone(arch)) is None


@pytest.mark.parametrize("change", ["activation", "padding", "squeeze"])
def test_unknown_parts_are_refused(change: str):
    model = Embedder(build_backbone(ARCH), 4)
    assert can_fold(model)
    block = model.backbone.net.blocks[2][1]
    if change == "activation":
        block.bn1.act = torch.nn.SiLU()
    elif change == "padding":
        block.conv_dw.padding_mode = "reflect"
    else:
        block.se = torch.nn.AdaptiveAvgPool2d(1)
    assert not can_fold(model)


def test_a_graph_that_adds_an_unknown_layer_is_refused():
    with pytest.raises(ValueError, match="is no earlier layer"):
        FoldedGraph(8, (Add("a", "b"), MeanPool("b")))
    with pytest.raises(ValueError, match="of this name exists already"):
        FoldedGraph(8, (MeanPool("a"), L2Norm("a")))


def test_flow_keeps_outputs_until_they_are_added():
    layers = (MeanPool("a"), MeanPool("b"), Add("c", "a"), Add("d", "c"), Add("e", "a"))
    seen = []

    def step(layer, inputs):
        seen.append((layer.name, inputs))
        return layer.name

    assert FoldedGraph(1, layers).flow("image", step) == "e"
    assert seen == [("a", ("image",)), ("b", ("a",)), ("c", ("b", "a")), ("d", ("c", "c")), ("e", ("d", "a"))]


def test_added_activations_are_one_group(graph):
    found = groups(graph)
    homes = {name: group for group in found for name in group.members}
    stage = homes["blocks.2.0.conv_pwl"]
    names = [f"blocks.2.{n}" for n in range(3)]
    assert stage.members == [
        f"{names[0]}.conv_pwl", f"{names[1]}.conv_pwl", f"{names[1]}.add", f"{names[2]}.conv_pwl", f"{names[2]}.add"
    ]  # fmt: skip
    readers = {(f"{names[1]}.conv_pw", f"{names[0]}.conv_pwl"), (f"{names[2]}.conv_pw", f"{names[1]}.add")}
    assert set(stage.readers) == readers | {("blocks.3.0.conv_pw", f"{names[2]}.add")}
    assert homes["blocks.2.1.conv_pw"].members == ["blocks.2.1.conv_pw"]
    assert homes["conv_head"].readers == [("projection", "conv_head")]  # through the mean
    assert not any(group.fixed for group in homes.values())
    without = groups(fold(Embedder(build_backbone(ARCH), 0).eval(), SIDE))
    assert [group.members for group in without if group.fixed and group.members] == [["conv_head"]]


def test_equalizing_keeps_the_function(graph, images):
    equal = equalize(graph, images.scaled())
    assert np.abs(outputs(equal, images) - outputs(graph, images)).max() < 1e-5
    changed = [
        one.name
        for one, other in zip(equal.layers, graph.layers, strict=True)
        if isinstance(one, Convolution) and np.abs(one.bias - other.bias).max() > 0.01
    ]
    assert len(changed) > 20


def test_a_collapsed_student_is_repaired(net, rescaled, images):
    """With channels divided by up to 100, on residual paths too, int8 collapses and cle repairs it."""
    pixels = noise(16, seed=11)
    wanted = reference_embeddings(rescaled, pixels, images.preprocessing)
    assert (
        cosines(wanted, reference_embeddings(net, pixels, images.preprocessing)).min() > 0.99
    )  # new images: some clip
    before, plain = fold(rescaled, SIDE), fold(net, SIDE)
    after = equalize(before, images.scaled())
    as_it_was = cosines(wanted, simulated(plain, pixels, images)).mean()
    broken, repaired = (cosines(wanted, simulated(g, pixels, images)).mean() for g in (before, after))
    assert broken < 0.85
    assert repaired > 0.92
    assert repaired > as_it_was - 0.01
    for name in ("blocks.1.1.conv_pw", "blocks.3.2.add"):  # inside a block, and on the residual path
        seen = [observe(g, images.scaled())[name] for g in (before, after)]
        spans = [np.maximum(s.peak, -s.lowest) for s in seen]
        assert np.ptp(np.log(spans[1])) < 0.5 * np.ptp(np.log(spans[0]))
    corrected = cosines(wanted, simulated(correct_bias(after, images.scaled()), pixels, images)).mean()
    assert corrected > repaired


def test_sensitivities_pass_the_adds(graph, images):
    """Compare each with a run of the whole network."""
    losses = sensitivities(graph, images.scaled())
    assert set(losses) == {layer.name for layer in graph.layers if isinstance(layer, (Convolution, Linear))}
    exact = list(replace(images, pixels=images.pixels[:16]).scaled())
    seen = observe(graph, exact)
    name = "blocks.3.0.conv_pwl"

    def step(layer, inputs):
        weights = quantized_weight(layer) if layer.name == name else None
        values = activate(layer, linear_part(layer, inputs[0], weights, None, *inputs[1:]))
        return as_int8(layer, values, seen[name].low, seen[name].high) if layer.name == name else values

    with torch.inference_mode():
        (batch,) = batches(exact, 16)
        loss = 1 - F.cosine_similarity(graph.flow(batch, step), run(graph, batch)).mean()
    assert losses[name] == pytest.approx(float(loss), abs=1e-6)
