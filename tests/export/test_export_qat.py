"""Quantization-aware distillation in PyTorch: rounding, gradients and training."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from export_helpers import noise, picture_folder
from test_repair import PRE

from distill.console import Failure, UsageFailure
from distill.data.preprocess import Preprocessing
from distill.data.spec import open_data
from distill.models.padding import same_padding
from export.check import cosines
from export.graph.folded import Add, Convolution, FoldedGraph, L2Norm, Linear, MeanPool
from export.graph.torch_network import batches, observe, run
from export.int8.arithmetic import QuantParams, input_params
from export.int8.quantized_graph import QuantizedGraph
from export.int8.repair.fake_quant import FakeQuantNetwork
from export.int8.repair.methods import METHODS, is_trained, methods_of, repair, without_training
from export.int8.repair.settings import QatSettings
from export.int8.torch_arithmetic import fake_quantize
from export.int8.training_images import TrainingImages
from export.samples.calibration import CalibrationImages

SMALL = Preprocessing(input_size=16, resize_size=16)


def tiny_graph(seed: int = 0, unequal: float = 1.0) -> FoldedGraph:
    """Three convolutions, mean, linear, L2 on 16 pixels; channels divided by up to ``unequal``."""
    rng = np.random.default_rng(seed)
    factor = np.exp(-rng.uniform(0, math.log(unequal), 12)) if unequal > 1 else np.ones(12)
    first = rng.normal(size=(3, 3, 3, 12)) / 4 * factor
    depthwise = rng.normal(size=(3, 3, 12, 1)) / 3
    second = rng.normal(size=(1, 1, 12, 16)) / 3 / factor[:, None]
    layers = (
        Convolution("c1", first.astype(np.float32), (rng.uniform(0, 0.5, 12) * factor).astype(np.float32), 2, True),
        Convolution(
            "dw", depthwise.astype(np.float32), (rng.uniform(0, 0.5, 12) * factor).astype(np.float32), 1, True, True
        ),
        Convolution("pw", second.astype(np.float32), rng.uniform(0, 0.5, 16).astype(np.float32), 1, True),
        MeanPool("pool"),
        Linear("head", rng.normal(size=(16, 8)).astype(np.float32), rng.normal(size=8).astype(np.float32)),
        L2Norm("l2"),
    )
    return FoldedGraph(16, layers)


def noise_images(count: int, seed: int) -> CalibrationImages:
    return CalibrationImages(noise(count, 16, seed=seed), SMALL)


def tensor(images: CalibrationImages) -> torch.Tensor:
    return torch.cat(list(batches(images.scaled())))


def network(graph: FoldedGraph, images: CalibrationImages) -> FakeQuantNetwork:
    return FakeQuantNetwork(graph, observe(graph, images.scaled()), input_params(images.preprocessing))


@pytest.fixture(scope="module")
def training(tmp_path_factory) -> TrainingImages:
    folder = tmp_path_factory.mktemp("qat")
    images = open_data(f"folder:{picture_folder(folder / 'data', classes=3, each=8)}")
    return TrainingImages(images, frozenset(images.keys[:4]), SMALL, folder / "cache")


def test_the_input_levels_are_the_pixels():
    assert input_params(PRE) == QuantParams(1 / 128, 0)
    odd = input_params(Preprocessing(input_size=16, resize_size=16, mean=(120, 120, 120), std=(60, 60, 60)))
    assert np.isclose(odd.scale, 255 / 60 / 255)
    assert odd.zero_point == (-128 + 120)


def test_rounding_and_its_gradient_by_hand():
    """LSQ, equation 3: inside the range round(v) - v, outside it the limit; straight through for the values."""
    values = torch.tensor([-3.0, -0.26, 0.1, 0.74, 70.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    got = fake_quantize(values, scale, 0)
    assert torch.allclose(got, torch.tensor([-3.0, -0.5, 0.0, 0.5, 63.5]))
    weights = torch.tensor([1.0, 10.0, 100.0, 1000.0, 1e4])
    (got * weights).sum().backward()
    assert values.grad.tolist() == [1, 10, 100, 1000, 0]
    wanted = 0 * 1 + (-1 + 0.52) * 10 + (0 - 0.2) * 100 + (1 - 1.48) * 1000 + 127 * 1e4
    assert np.isclose(float(scale.grad), wanted, rtol=1e-5)
    assert fake_quantize(torch.tensor([-1.0, 7.0]), torch.tensor(6 / 255), -128).tolist() == pytest.approx([0, 6])


def test_the_gradient_of_a_scale_is_the_slope():
    """Equals the difference quotient if no level changes."""
    values = torch.tensor([0.33, 1.9, 300.0])
    scale = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    # d/ds of round(v/s) s is round(v/s) - v/s + v/s for fixed levels; LSQ omits v/s, and the rest must agree.
    fake_quantize(values.double(), scale, -128).sum().backward()
    step = 1e-4
    ends = [
        float(fake_quantize(values.double(), torch.tensor(0.1 + sign * step, dtype=torch.float64), -128).sum())
        for sign in (1, -1)
    ]
    inside = float((values[:2] / 0.1).sum())
    assert np.isclose((ends[0] - ends[1]) / (2 * step), float(scale.grad) + inside, rtol=1e-3)


def integer_run(numbers: QuantizedGraph, images: np.ndarray) -> np.ndarray:
    """Compute the levels ``[n, D]`` of the last layer by integer arithmetic in NumPy, after TFLite's specification.

    Args:
        numbers: the network.
        images: scaled, ``[n, side, side, 3]``.
    """
    by_name = {integers.name: integers for integers in numbers.layers}

    def step(layer, inputs: tuple[tuple[np.ndarray, QuantParams], ...]) -> tuple[np.ndarray, QuantParams]:
        integers = by_name[layer.name]
        levels, out = _integer_layer(layer, integers, *inputs), integers.output
        levels = np.clip(np.rint(levels / out.scale) + out.zero_point, -128, 127).astype(np.int64)
        if isinstance(layer, Convolution) and layer.relu6:
            levels = np.clip(levels, out.zero_point, out.zero_point + round(6 / out.scale))
        return levels, out

    entry = numbers.input
    first = np.clip(np.rint(images / entry.scale) + entry.zero_point, -128, 127).astype(np.int64)
    return numbers.graph.flow((first, entry), step)[0]


def _integer_layer(layer, integers, *inputs: tuple[np.ndarray, QuantParams]) -> np.ndarray:
    """Return real values before the output is rounded."""
    levels, params = inputs[0]
    values = levels - params.zero_point
    if isinstance(layer, (Convolution, Linear)):
        weights = integers.weights.weight.astype(np.int64)
        if isinstance(layer, Linear):
            total = values @ weights.T
        else:
            size = weights.shape[2]
            if layer.padding is None:
                pads = [same_padding(side, size, layer.stride) for side in values.shape[1:3]]
            else:  # PyTorch's
                pads = [(layer.padding, layer.padding)] * 2
            padded = np.pad(values, [(0, 0), *pads, (0, 0)])
            windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
            windows = windows[:, :: layer.stride, :: layer.stride]
            kind = "nhwcij,cij->nhwc" if layer.depthwise else "nhwcij,ocij->nhwo"
            total = np.einsum(kind, windows, weights[:, 0] if layer.depthwise else weights)
        return (total + integers.weights.bias) * integers.weights.bias_scale.astype(np.float64)
    if isinstance(layer, Add):
        other, other_params = inputs[1]
        return values * params.scale + (other - other_params.zero_point) * other_params.scale
    if isinstance(layer, MeanPool):
        return values.mean(axis=(1, 2)) * params.scale
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_integers_compute_what_the_simulation_does(seed: int):
    """Integer sums and float sums of rounded values differ by at most a level, and only near a tie."""
    images = noise_images(12, seed=seed)
    graph = tiny_graph(seed)
    net = network(graph, images)
    with torch.no_grad():  # ranges other than the calibrated ones
        for scale in net.scales.values():
            scale.sub_(0.05)
        simulated = (net(tensor(images)) * 128).round().numpy()
    levels = integer_run(net.quantized(), np.concatenate(list(images.scaled())))
    assert np.abs(levels - simulated).max() <= 1
    assert np.mean(levels != simulated) < 0.02


def test_integers_follow_the_scheme():
    net = network(tiny_graph(), noise_images(12, seed=3))
    numbers = net.quantized()
    scale = np.float32(numbers.input.scale)
    for layer, integers in zip(numbers.graph.layers, numbers.layers, strict=True):
        w = integers.weights
        if w is not None:
            assert (np.abs(w.weight.reshape(len(w.scale), -1)).max(axis=1) == 127).all()  # the scale is max / 127
            assert np.array_equal(w.bias_scale, scale * w.scale)
        assert integers.output.zero_point == -128 or isinstance(layer, (Linear, L2Norm))
        scale = np.float32(integers.output.scale)
    assert numbers.layers[-1].output == QuantParams(1 / 128, 0)
    assert numbers.layers[0].output.scale <= np.float32(6 / 255)


def test_a_large_bias_on_tiny_weights_stays_in_32_bits():
    graph = tiny_graph()
    kernel = graph.layers[0].kernel.copy()
    kernel[..., 2] *= 1e-12
    bias = graph.layers[0].bias.copy()
    bias[2] = 5
    images = noise_images(6, seed=1)
    net = network(
        replace(graph, layers=(replace(graph.layers[0], kernel=kernel, bias=bias), *graph.layers[1:])), images
    )
    first = net.quantized().layers[0].weights
    assert abs(first.bias[2] * float(first.bias_scale[2]) - 5) < 1e-3
    assert np.abs(first.bias.astype(np.int64)).max() <= 2**30


def test_training_images_exclude_check_images(training):
    assert len(training) == 20
    seen = {batch.tobytes() for step in training.batches(5, 4, seed=1) for batch in step}
    assert len(seen) == 20
    again = np.concatenate(list(training.batches(5, 4, seed=1)))
    assert {crop.tobytes() for crop in again} == seen
    assert again.shape == (20, 16, 16, 3)
    other = {crop.tobytes() for crop in np.concatenate(list(training.batches(5, 4, seed=2)))}
    assert not other & seen
    longer = np.concatenate(list(training.batches(11, 4, seed=1)))
    assert {crop.tobytes() for crop in longer[:20]} == seen
    assert not {crop.tobytes() for crop in longer[20:40]} & seen  # the same images, other crops


def test_nothing_to_train_on(training):
    empty = replace(training, left_out=frozenset(training.images.keys))
    with pytest.raises(Failure, match="no image to train on"):
        next(empty.batches(1, 4, seed=0))


def embeddings(numbers: QuantizedGraph, images: CalibrationImages) -> np.ndarray:
    return integer_run(numbers, np.concatenate(list(images.scaled()))).astype(np.float64)


def test_training_improves_a_planted_bad_student(training):
    """Small channels vanish in int8 beside large ones, and training restores them."""
    graph, images, others = tiny_graph(2, unequal=1e4), noise_images(16, seed=4), noise_images(16, seed=5)
    with torch.no_grad():
        wanted = run(graph, tensor(others)).numpy()

    def near(numbers: QuantizedGraph) -> float:
        return float(cosines(wanted, embeddings(numbers, others)).mean())

    settings = QatSettings(steps=40, batch_size=16, lr=2e-3)
    plain, repaired = near(network(graph, images).quantized()), repair(graph, "qat", images, training, settings)
    assert plain < 0.8
    assert near(repaired.numbers) > 0.95
    assert repaired.cosines[0] < 0.8
    assert repaired.cosines[1] > 0.95
    assert near(repair(graph, "cle+qat", images, training, settings).numbers) > 0.999


def test_the_float_weights_behind_the_integers(training):
    """The weights given to the converter are within half a step of the integers."""
    numbers = repair(tiny_graph(), "qat", noise_images(8, seed=0), training, QatSettings(steps=3, batch_size=4)).numbers
    for layer, integers in zip(numbers.graph.layers, numbers.layers, strict=True):
        if isinstance(layer, Linear):
            exact = layer.weight.T
        elif isinstance(layer, Convolution):
            exact = layer.kernel.transpose((2, 3, 0, 1) if layer.depthwise else (3, 2, 0, 1))
        else:
            continue
        w = integers.weights
        scale = w.scale.reshape(-1, *[1] * (exact.ndim - 1))
        assert np.abs(exact / scale - w.weight).max() < 0.5 + 1e-4
        assert np.abs(layer.bias / w.bias_scale - w.bias).max() < 0.5 + np.abs(w.bias).max() * 1e-6


def numbers_of(seed: int, training: TrainingImages) -> list[np.ndarray]:
    settings = QatSettings(steps=8, batch_size=8, lr=2e-3, seed=seed)
    numbers = repair(tiny_graph(2, unequal=1e4), "qat", noise_images(8, seed=6), training, settings).numbers
    weights = [layer.weights for layer in numbers.layers if layer.weights]
    return [
        np.array([layer.output.scale for layer in numbers.layers]),
        *(w.weight for w in weights),
        *(w.bias for w in weights),
    ]


def test_the_same_seed_gives_the_same_integers(training):
    one, again, other = numbers_of(1, training), numbers_of(1, training), numbers_of(2, training)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_training_that_does_not_help_is_discarded(training):
    graph, images = tiny_graph(), noise_images(8, seed=0)
    settings = QatSettings(steps=3, batch_size=4, lr=0.9)
    repaired = repair(graph, "qat", images, training, settings)
    start = network(graph, images).quantized()
    assert repaired.cosines[0] == repaired.cosines[1]
    for one, other in zip(repaired.numbers.layers, start.layers, strict=True):
        assert one.output == other.output
        if one.weights:
            assert np.array_equal(one.weights.weight, other.weights.weight)


def test_a_loss_that_is_not_finite_is_reported(training, monkeypatch):
    def broken(self, images):
        return self.trace(images)[-1] * float("nan")

    graph, images = tiny_graph(), noise_images(8, seed=0)
    monkeypatch.setattr(FakeQuantNetwork, "forward", broken)
    with pytest.raises(Failure, match=r"loss is nan at step 1 of 3") as failure:
        repair(graph, "qat", images, training, QatSettings(steps=3, batch_size=4, lr=1e-3))
    assert "--qat-lr below 0.001" in str(failure.value)


def test_methods_that_train():
    assert methods_of("qat") == ("qat",)
    assert [name for name, method in METHODS.items() if method.trained] == ["qat", "cle+qat", "cle+bias+qat"]
    assert methods_of("auto") == ("none", "cle", "bias", "cle+bias", "cle+bias+qat")
    assert [is_trained(name) for name in ("none", "cle", "qat", "auto")] == [False, False, True, True]
    names = ("qat", "cle+qat", "cle+bias+qat", "cle", "none")
    assert [without_training(name) for name in names] == ["none", "cle", "cle+bias", "cle", "none"]
    with pytest.raises(UsageFailure, match="did you mean 'cle\\+qat'"):
        methods_of("cle+qta")


def test_training_needs_images():
    with pytest.raises(Failure, match="--repair qat needs images"):
        repair(tiny_graph(), "qat", noise_images(4, seed=0))
