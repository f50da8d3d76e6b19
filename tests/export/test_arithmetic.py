"""Scales, zero points and rounding against the quantizers of onnxruntime, TensorFlow and PyTorch, and by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.data.preprocess import Preprocessing
from export.bundle.runtime import input_table
from export.bundle.schema import InputSpec
from export.int8.arithmetic import (
    INT16_MAX,
    L2_SCALE,
    QuantParams,
    dequantize,
    input_params,
    pixel_range,
    quantize,
    real_zero_point,
    scale_and_zero_point,
    symmetric_scale,
    weight_scale,
    widened,
)
from export.int8.layer_errors import _as_input
from export.int8.simulation import round_to_range
from export.int8.torch_arithmetic import (
    bias_levels,
    bias_scale,
    channel_scale,
    fake_quantize,
    per_channel,
    weight_levels,
)

ends = st.tuples(st.floats(-100, 100, width=32), st.floats(-100, 100, width=32)).map(sorted)
wide = ends.filter(lambda pair: max(pair[1], 0) - min(pair[0], 0) > 1e-3)
matrices = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).normal(size=(5, 7)).astype(np.float32) * np.float32(3) ** (seed % 9 - 4)
)


def near_half(value: float, tolerance: float = 1e-3) -> bool:
    return abs(abs(value - np.floor(value)) - 0.5) < tolerance


@given(wide)
@settings(deadline=None, max_examples=200)
def test_scales_and_zero_points_are_onnxruntimes(pair):
    from onnxruntime.quantization.quant_utils import compute_scale_zp

    low, high = pair
    zero_point, scale = compute_scale_zp(*(np.array(end, np.float32) for end in pair), *np.int8([[-128], [127]]))
    ours = QuantParams(*scale_and_zero_point(low, high))
    assert ours.scale == pytest.approx(scale.item(), rel=1e-6)  # it computes in float32
    if not near_half(real_zero_point(widened(low, high)[0], ours.scale)):
        assert ours.zero_point == zero_point.item()


@given(wide)
@settings(deadline=None, max_examples=200)
def test_zero_and_both_ends_are_levels(pair):
    """0 is exact; an end is at most half a step off and never clipped by more."""
    low, high = widened(*pair)
    scale, zero_point = scale_and_zero_point(*pair)
    assert -128 <= zero_point <= 127
    values = np.array([low, 0.0, high])
    levels = quantize(values, scale, zero_point)
    assert levels[1] == zero_point
    assert np.abs(dequantize(levels, scale, zero_point) - values).max() <= scale * (0.5 + 1e-6)


@given(wide, st.lists(st.floats(-150, 150, width=32), min_size=1, max_size=20))
@settings(deadline=None, max_examples=100)
def test_numpy_and_torch_round_alike(pair, values):
    """And so does PyTorch's own fake quantization, where no value is near the middle of two levels."""
    scale, zero_point = scale_and_zero_point(*pair)
    params = QuantParams(scale, zero_point)
    array = np.float32([value for value in values if not near_half(value / params.scale)] or [0])
    levels = quantize(array, params.scale, zero_point)
    wanted = torch.from_numpy(dequantize(levels, params.scale, zero_point)).float()
    theirs = torch.fake_quantize_per_tensor_affine(torch.from_numpy(array), params.scale, zero_point, -128, 127)
    for got in (
        fake_quantize(torch.from_numpy(array), torch.tensor(params.scale), zero_point),
        round_to_range(torch.from_numpy(array), *pair),
        theirs,
    ):
        assert torch.allclose(got, wanted, atol=1e-6 * params.scale, rtol=1e-6)


@given(wide, st.lists(st.floats(-150, 150, width=32), min_size=1, max_size=20))
@settings(deadline=None, max_examples=50)
def test_gradients_are_pytorchs(pair, values):
    """The straight-through gradient of the values, and LSQ's of the scale."""
    params = QuantParams(*scale_and_zero_point(*pair))
    array = np.float32([value for value in values if not near_half(value / params.scale, 0.01)] or [0])
    gradients = []
    for ours in (True, False):
        tensor = torch.from_numpy(array).requires_grad_()
        scale = torch.tensor([params.scale], requires_grad=True)
        zero_point = torch.tensor([params.zero_point + 128.0])  # it truncates negative ones towards 0
        got = (
            fake_quantize(tensor, scale[0], params.zero_point)
            if ours
            else torch._fake_quantize_learnable_per_tensor_affine(tensor, scale, zero_point, 0, 255, 1.0)
        )
        gradients.append(torch.autograd.grad(got.sum(), [tensor, scale]))
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert torch.allclose(gradients[0][1], gradients[1][1], rtol=1e-3, atol=1e-3)


@given(matrices)
@settings(deadline=None, max_examples=100)
def test_weights_are_onnxruntimes(weights):
    """Symmetric, a scale per output channel, -127..127."""
    from onnx import TensorProto
    from onnxruntime.quantization.quant_utils import quantize_data

    scale = channel_scale(torch.from_numpy(weights))
    levels = weight_levels(torch.from_numpy(weights), scale).numpy()
    assert np.abs(levels).max(axis=1).tolist() == [127] * len(weights)
    assert scale.numpy() == pytest.approx(weight_scale(np.abs(weights).max(axis=1)))
    for row, row_scale, row_levels in zip(weights, scale.numpy(), levels, strict=True):
        zero_point, theirs, found = quantize_data(row, TensorProto.INT8, symmetric=True)[-3:]
        assert int(zero_point) == 0
        assert float(theirs) == pytest.approx(row_scale, rel=1e-6)
        clear = [not near_half(value) for value in row / row_scale]
        assert np.array_equal(found[clear], row_levels[clear])


def test_a_channel_of_zeros_has_levels():
    weights = torch.tensor([[0.0, 0.0], [1.0, -0.5]])
    assert weight_levels(weights, channel_scale(weights)).tolist() == [[0, 0], [127, -64]]  # -63.5, half to even


def test_a_range_of_zero_by_hand():
    """As TFLite's quantizer: scale 1, zero point -128."""
    assert scale_and_zero_point(0.0, 0.0) == (1.0, -128)
    assert scale_and_zero_point(3.0, 5.1) == (5.1 / 255, -128)
    assert scale_and_zero_point(-2.55, -1.0) == (2.55 / 255, 127)


def test_halves_round_to_even():
    assert quantize(np.array([0.5, 1.5, 2.5, -0.5, -1.5]), 1.0, 0).tolist() == [0, 2, 2, 0, -2]
    got = fake_quantize(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5]), torch.tensor(1.0), 0)
    assert got.tolist() == [0, 2, 2, 0, -2]
    assert bias_levels(torch.tensor([2.5, 3.5]), torch.tensor([1.0, 1.0])).tolist() == [2, 4]
    assert scale_and_zero_point(-0.5, 254.5)[1] == -128  # -127.5
    assert scale_and_zero_point(-1.5, 253.5)[1] == -126  # -126.5


def test_levels_are_clipped_to_their_type():
    assert quantize(np.array([-2.0, 2.0]), 1 / 128, 0).tolist() == [-128, 127]
    assert quantize(np.array([-2.0, 2.0]), 1 / 128, 128, np.uint8).tolist() == [0, 255]
    assert quantize(np.array([-2.0, 2.0]), 1 / INT16_MAX, 0, np.int16).tolist() == [-32768, 32767]


def test_the_bias_scale_is_a_float32_product():
    weights, inputs = torch.tensor([0.1, 0.2]), torch.tensor(0.3)
    assert np.array_equal(bias_scale(weights, inputs).numpy(), np.float32([0.1, 0.2]) * np.float32(0.3))
    assert per_channel(weights, torch.zeros(2, 3, 1, 1)).shape == (2, 1, 1, 1)


def test_pixels_by_hand():
    """mean = std = 128: the int8 input is pixel - 128; ImageNet's: one range for all three channels."""
    plain = Preprocessing(input_size=16, resize_size=16)
    assert pixel_range(plain) == (-1, 127 / 128)
    assert input_params(plain) == QuantParams(1 / 128, 0) == QuantParams(L2_SCALE, 0)
    pixels = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    assert np.array_equal(quantize(plain.scale(pixels), 1 / 128, 0), pixels.astype(int) - 128)
    imagenet = Preprocessing(input_size=16, resize_size=16, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    low, high = pixel_range(imagenet)
    assert low == pytest.approx(-123.675 / 58.395)
    assert high == pytest.approx((255 - 103.53) / 57.375)
    bright = Preprocessing(input_size=16, resize_size=16, mean=(-10, -10, -10), std=(1, 1, 1))
    assert pixel_range(bright) == (0, 265)  # widened to hold 0
    assert symmetric_scale(-1, 127 / 128, INT16_MAX) == 1 / 32767


def test_scales_are_float32():
    assert QuantParams(0.1, 3).scale == float(np.float32(0.1)) != 0.1


@pytest.mark.slow
def test_rounding_is_tensorflows():
    """``fake_quant_with_min_max_vars`` shifts the range so that 0 is a level, as TFLite's quantizer does."""
    from export.formats.tflite.convert import _import_tensorflow

    tf, rng = _import_tensorflow(), np.random.default_rng(0)
    for _ in range(200):
        low, high = -np.float32(rng.exponential()), np.float32(rng.exponential())
        scale, zero_point = scale_and_zero_point(float(low), float(high))
        if near_half(real_zero_point(float(low), scale)):
            continue
        values = rng.normal(size=200).astype(np.float32) * 2
        values = values[[not near_half(value / scale) for value in values]]
        theirs = tf.quantization.fake_quant_with_min_max_vars(values, low, high).numpy()
        ours = dequantize(quantize(values, scale, zero_point), scale, zero_point)
        assert np.abs(ours - theirs).max() < 1e-3 * scale


def test_the_layer_report_feeds_a_file_the_bytes_that_an_app_feeds_it():
    """Exact arithmetic with fractions. In float32, 110 of the 256 pixel values got the neighbouring level."""
    preprocessing = Preprocessing(input_size=8, resize_size=8, mean=(127.5,) * 3, std=(127.5,) * 3)
    params, pixels = input_params(preprocessing), np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    scaled = preprocessing.scale(pixels)
    exact = [
        round(Fraction(float(value)) / Fraction(params.scale)) + params.zero_point for value in scaled[:, 0]
    ]  # Fraction rounds halves to even
    wanted = np.clip(exact, -128, 127)
    spec = InputSpec(
        name="i", shape=(1, 8, 8, 3), layout="NHWC", dtype="int8", scale=params.scale, zero_point=params.zero_point
    )
    assert np.array_equal(input_table(spec, preprocessing)[:, 0], wanted)
    entry = {"dtype": np.int8, "quantization": (params.scale, params.zero_point)}
    assert np.array_equal(_as_input(scaled, entry)[:, 0], wanted)
