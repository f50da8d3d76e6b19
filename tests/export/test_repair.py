"""Equalization keeps the function and helps int8; bias correction removes the mean rounding error."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from export_helpers import SIDE, noise, student
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.console import UsageFailure
from distill.data.preprocess import Preprocessing
from export.bundle.tflite_file import interpreter_for
from export.check import cosines, reference_embeddings
from export.formats.tflite.convert import to_tflite
from export.graph.fold import fold
from export.graph.folded import Convolution, FoldedGraph, L2Norm, Linear, MeanPool
from export.graph.torch_network import LayerStatistics, activate, batches, linear_part, observe, run
from export.int8.layer_errors import _int8_outputs
from export.int8.repair.bias import correct_bias
from export.int8.repair.equalize import HEADROOM, ChannelReader, equalize, factors
from export.int8.repair.methods import methods_of, repair
from export.int8.simulation import as_int8, quantized_weight, round_to_range
from export.samples.calibration import CalibrationImages

PRE = Preprocessing(input_size=SIDE, resize_size=SIDE)


def benchmark_script():
    path = Path(__file__).parents[2] / "scripts" / "benchmarks" / "quantization_repair.py"
    sys.path.append(str(path.parent))  # it imports modules from its own folder
    spec = importlib.util.spec_from_file_location("quantization_repair", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def images() -> CalibrationImages:
    return CalibrationImages(noise(24, seed=1), PRE)


@pytest.fixture(scope="module")
def graph(model) -> FoldedGraph:
    return fold(model, SIDE)


@pytest.fixture(scope="module")
def rescaled(model, images):
    other, moved = benchmark_script().rescale_channels(model, images, PRE, 100, 0)
    assert moved > 0.5
    return other


def outputs(graph: FoldedGraph, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        rows = [run(graph, batch) for batch in batches(CalibrationImages(pixels, PRE, marked=False).scaled())]
        return torch.cat(rows).numpy()


def int8_outputs(graph: FoldedGraph, images: CalibrationImages, pixels: np.ndarray) -> np.ndarray:
    interpreter = interpreter_for(to_tflite(graph, "int8", images))
    rows = []
    for image in pixels:
        values = (image.astype(np.int16) - 128).astype(np.int8)[None]
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).astype(np.float32) / 128)
    return np.concatenate(rows)


def test_the_network_in_torch_is_the_reference(graph):
    pixels = noise(3, seed=4)
    assert np.abs(outputs(graph, pixels) - graph.run(PRE.scale(pixels))).max() < 1e-5


def test_observed_statistics(graph, images):
    """Compare with the reference arithmetic of the first layer, all images at once."""
    seen = observe(graph, images.scaled())["conv1"]
    first = FoldedGraph(SIDE, (replace(graph.layers[0], relu6=False),))
    before = first.run(np.concatenate(list(images.scaled())))
    after = np.clip(before, 0, 6)
    assert np.allclose(seen.peak, before.max(axis=(0, 1, 2)), atol=1e-5)
    assert np.allclose(seen.variance, before.var(axis=(0, 1, 2)), rtol=1e-4)
    assert np.allclose(seen.mean_square, (after**2).mean(axis=(0, 1, 2)), rtol=1e-4)
    assert np.isclose(seen.high, after.max(), atol=1e-5)
    assert seen.low == 0


def test_equalizing_keeps_the_function(graph, images):
    equal = equalize(graph, images.scaled())
    assert np.abs(outputs(equal, images.pixels) - outputs(graph, images.pixels)).max() < 1e-5
    assert any(
        np.abs(one.kernel / other.kernel - 1).max() > 0.1
        for one, other in zip(equal.layers, graph.layers, strict=True)
        if isinstance(one, Convolution)
    )


def test_equalizing_reaches_equal_ranges(rescaled, images):
    before = fold(rescaled, SIDE)
    after = equalize(before, images.scaled())
    for name in ("conv1", "conv_pw_3", "conv_pw_9"):  # before a depthwise layer, where equal ranges cost nothing
        peaks = [np.clip(observe(g, images.scaled())[name].peak, 0, 6) for g in (before, after)]
        spreads = [np.max(peak) / np.median(peak[peak > 0]) for peak in peaks]
        assert spreads[1] < HEADROOM + 1e-3
        assert spreads[0] > 3 * spreads[1]


peaks = st.lists(st.floats(-1, 20), min_size=1, max_size=12)


@settings(deadline=None, max_examples=200)
@given(peaks, st.integers(0, 100), st.booleans())
def test_a_channel_that_could_clip_is_never_touched(peak: list[float], seed: int, free: bool):
    rng = np.random.default_rng(seed)
    peak = np.array(peak)
    n = len(peak)
    columns = np.abs(np.diag(rng.normal(size=n)) if free else rng.normal(size=(5, n)) * np.exp(rng.normal(size=n) * 3))
    clipped = np.clip(peak, 0, 6)
    seen = LayerStatistics(peak, peak - 1, clipped**2 / 4, clipped**2 / 9, 0.0, clipped.max())
    ones = np.ones(len(columns))
    following = LayerStatistics(ones, ones * 0, ones, ones, 0.0, 6.0)
    scale = factors([seen], [ChannelReader(columns, following, free, (seen,))])
    assert np.isfinite(scale).all()
    assert (scale > 0).all()
    clips = peak * HEADROOM > 6
    assert (scale[clips] == 1).all()
    assert (peak[~clips] / scale[~clips] * HEADROOM <= 6 * (1 + 1e-9)).all()


def test_a_clipping_network_is_kept_too(images, monkeypatch):
    """Many channels clip at 6; if they were rescaled, the function would change."""
    model = student(seed=3)
    with torch.no_grad():
        for layer in model.backbone.layers():
            layer.bn.weight.mul_(4)
            layer.bn.bias.mul_(4)
    graph = fold(model, SIDE)
    seen = observe(graph, images.scaled())
    clipping = np.mean(np.concatenate([s.peak for name, s in seen.items() if name.startswith("conv")]) > 6)
    assert 0.2 < clipping < 1
    wanted = outputs(graph, images.pixels)
    assert cosines(wanted, outputs(equalize(graph, images.scaled()), images.pixels)).min() > 0.9999
    monkeypatch.setattr("export.int8.repair.equalize.CLIP", 1e9)
    assert cosines(wanted, outputs(equalize(graph, images.scaled()), images.pixels)).min() < 0.99


def test_dead_channels_and_columns_do_no_harm(images):
    model = student(seed=4)
    with torch.no_grad():
        model.backbone.stem_bn.weight[2] = 0
        model.backbone.stem_bn.bias[2] = -1
        model.backbone.blocks[3].pointwise.weight[:, 5] = 0
        model.linear.weight[:, 7] = 0
    graph = fold(model, SIDE)
    equal = equalize(graph, images.scaled())
    for layer in equal.layers:
        for part in ("kernel", "weight", "bias"):
            assert np.isfinite(getattr(layer, part, 0)).all()
    assert np.abs(outputs(equal, images.pixels) - outputs(graph, images.pixels)).max() < 1e-5


def test_without_a_linear_layer_the_last_channels_stay(images):
    graph = fold(student(size=0), SIDE)
    equal = equalize(graph, images.scaled())
    assert np.abs(outputs(equal, images.pixels) - outputs(graph, images.pixels)).max() < 1e-5


def test_rounding_by_hand():
    values = torch.tensor([-1.0, 0.0, 0.5, 1.0, 9.0])
    got = round_to_range(values, 0.0, 2.55)  # step 0.01, zero point -128
    assert torch.allclose(got, torch.tensor([0.0, 0.0, 0.5, 1.0, 2.55]), atol=1e-6)
    assert torch.allclose(round_to_range(torch.tensor([0.004, 0.006]), 0.0, 2.55), torch.tensor([0.0, 0.01]), atol=1e-6)
    assert torch.allclose(round_to_range(torch.tensor([3.0]), 1.0, 5.1), torch.tensor([3.0]), atol=1e-6)  # widened to 0
    assert round_to_range(torch.zeros(2), 0.0, 0.0).tolist() == [0, 0]


def test_weights_round_per_output_channel():
    linear = Linear("l", np.array([[1.27, 0.0], [0.004, 127.0], [-0.006, 0.4]], np.float32), np.zeros(2, np.float32))
    got = quantized_weight(linear).numpy()
    assert np.allclose(got, [[1.27, 0.0, -0.01], [0.0, 127.0, 0.0]], atol=1e-6)


@pytest.mark.slow
def test_quantized_weights_are_those_of_the_file(graph, images):
    """Compare scales and numbers with those that the converter stores."""
    interpreter = interpreter_for(to_tflite(graph, "int8", images), delegates=False)
    stored = [t for t in interpreter.get_tensor_details() if t["dtype"] == np.int8 and len(t["shape"]) == 4]
    by_shape = {}
    for tensor in stored:
        parameters = tensor["quantization_parameters"]
        if len(parameters["scales"]) > 1:
            values = interpreter.get_tensor(tensor["index"]).astype(np.float64)
            shape = [1] * 4
            shape[parameters["quantized_dimension"]] = -1
            by_shape.setdefault(values.shape, []).append(values * parameters["scales"].reshape(shape))
    for layer in graph.layers:
        if isinstance(layer, Convolution):
            ours = quantized_weight(layer).numpy()
            ours = ours.transpose(1, 2, 3, 0) if layer.depthwise else ours.transpose(0, 2, 3, 1)
            step = np.abs(ours).max() / 127
            nearest = min(np.abs(ours - theirs).max() for theirs in by_shape[ours.shape])
            assert nearest < 1.01 * step  # a half may round either way
            assert min(np.abs(ours - theirs).mean() for theirs in by_shape[ours.shape]) < 1e-3 * step


def values_of(levels: np.ndarray, scale: float, zero_point: int) -> torch.Tensor:
    """Return what levels of a TFLite file stand for, channels first."""
    values = torch.from_numpy((levels.astype(np.float32) - zero_point) * np.float32(scale))
    return values.permute(0, 3, 1, 2) if values.ndim == 4 else values


@pytest.mark.slow
def test_the_arithmetic_is_that_of_the_file(graph, images):
    """Given the file's output of the layer before, each layer gives the same levels except for ties."""
    content = to_tflite(graph, "int8", images)
    pixels = list(CalibrationImages(noise(4, seed=8), PRE, marked=False).scaled())
    _, levels, scales = _int8_outputs(content, graph, pixels)
    seen = observe(graph, images.scaled())
    values = next(batches(pixels))
    for layer, real, (scale, zero_point) in zip(graph.layers, levels, scales, strict=True):
        weights = quantized_weight(layer) if isinstance(layer, (Convolution, Linear)) else None
        guess = as_int8(
            layer, activate(layer, linear_part(layer, values, weights)), seen[layer.name].low, seen[layer.name].high
        )
        values = values_of(real, scale, zero_point)
        off = (guess - values).abs() / scale
        assert off.max() < 1.01, layer.name
        if not isinstance(layer, MeanPool):  # whose integer kernel rounds differently
            assert off.mean() < 0.01, layer.name


def test_bias_correction_removes_the_mean_error(images):
    """The corrected layer, whose weights have few levels, has the mean of the exact one."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(1, 1, 3, 8)).astype(np.float32) * 0.01
    kernel[0, 0, 0] = 1  # everything else becomes 0 or one step of it
    layers = (
        Convolution("c", kernel, np.full(8, 2, np.float32), 1, relu6=True),
        MeanPool("m"), Linear("l", rng.normal(size=(8, 4)).astype(np.float32), np.zeros(4, np.float32)), L2Norm("n"),
    )  # fmt: skip
    graph = FoldedGraph(SIDE, layers)
    corrected = correct_bias(graph, images.scaled())
    stack = np.concatenate(list(images.scaled()))
    wanted = FoldedGraph(SIDE, (replace(layers[0], relu6=False),)).run(stack).mean(axis=(0, 1, 2))
    coarse = quantized_weight(layers[0]).numpy().transpose(2, 3, 1, 0)

    def mean(bias: np.ndarray) -> np.ndarray:
        return (
            FoldedGraph(SIDE, (replace(layers[0], kernel=coarse, bias=bias, relu6=False),))
            .run(stack)
            .mean(axis=(0, 1, 2))
        )

    assert np.abs(mean(layers[0].bias) - wanted).max() > 5e-5
    assert np.abs(mean(corrected.layers[0].bias) - wanted).max() < 1e-6
    assert np.array_equal(corrected.layers[0].kernel, kernel)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["none", "cle", "cle+bias"])
def test_a_collapsed_student_is_repaired(rescaled, images, method: str):
    pixels = noise(16, seed=11)
    wanted = reference_embeddings(rescaled, pixels, PRE)
    graph = fold(rescaled, SIDE)
    near = cosines(wanted, int8_outputs(repair(graph, method, images).graph, images, pixels)).mean()
    plain = cosines(wanted, int8_outputs(graph, images, pixels)).mean()
    assert plain < 0.8
    assert near == plain if method == "none" else near > 0.95, near


def test_methods_are_the_table():
    assert methods_of("cle") == ("cle",)
    assert methods_of("auto")[:4] == ("none", "cle", "bias", "cle+bias")
    with pytest.raises(UsageFailure, match="did you mean 'bias'"):
        methods_of("biass")
