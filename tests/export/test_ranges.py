"""Compares ranges with hand-computed ones, and files with these ranges with TFLiteConverter's own."""

from __future__ import annotations

import numpy as np
import pytest
from export_helpers import SIDE, noise
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.console import UsageFailure
from export.bundle.tflite_file import interpreter_for
from export.formats.tflite.convert import _import_tensorflow, to_function, to_tflite
from export.graph.fold import fold
from export.int8.ranges import BINS, find_ranges, graph_ranges, parse_rule
from export.samples.calibration import CalibrationImages


def ranges_of(text: str, *batches: np.ndarray) -> tuple[float, float]:
    return find_ranges(lambda: ({"t": batch} for batch in batches), parse_rule(text))["t"]


def test_minmax_is_over_all_batches_and_holds_zero():
    assert ranges_of("minmax", np.float32([1, 2]), np.float32([5, 3])) == (0, 5)
    assert ranges_of("minmax", np.float32([-1, 2]), np.float32([-4])) == (-4, 2)


def test_percentile_by_hand():
    """1000 values 1..1000: 99 % within, so five are cut off at the top; the lower end is 0 in any case."""
    values = np.arange(1, 1001, dtype=np.float32)
    low, high = ranges_of("percentile:99", values[::2], values[1::2])
    assert low == 0
    assert high == pytest.approx(995, abs=2 * 1000 / BINS)


def test_percentile_cuts_both_ends_and_counts_zeros():
    values = np.float32([-100, *[-1] * 49, *[0] * 900, *[2] * 49, 50])
    low, high = ranges_of("percentile:99.8", values)  # one of a thousand at each end
    assert low == pytest.approx(-1, abs=150 / BINS)
    assert high == pytest.approx(2, abs=150 / BINS)
    # Without the zeros 100 values would be left, of which 0.1 at each end: none is cut off.
    assert ranges_of("percentile:99.8", values[values != 0]) == pytest.approx((-100, 50))


def test_all_of_the_values_is_minmax():
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    assert ranges_of("percentile:100", values) == pytest.approx(ranges_of("minmax", values), abs=1e-6)


def test_mse_by_hand():
    """100,000 values of 0..1 and one outlier at `far`, which is worth keeping only if it is near enough.

    Error of [0, t] with t > 1: 1e5 * (t/255)^2 / 12 + (far - t)^2, least at t = far / (1 + 1e5/12/255^2).
    """
    inside = np.linspace(1e-3, 1, 100_000).astype(np.float32)
    share = 1 / (1 + 1e5 / 12 / 255**2)
    for far in (4.0, 20.0):
        low, high = ranges_of("mse", np.append(inside, np.float32(far)))
        assert low == 0
        assert high == pytest.approx(far * share, rel=0.011)  # the shares tried are a hundredth apart
    assert ranges_of("mse", inside)[1] > 0.98


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=60), st.sampled_from(["percentile:90", "mse"]))
@settings(max_examples=60, deadline=None)
def test_a_range_holds_zero_and_lies_within_minmax(values: list[float], text: str):
    array = np.float32(values)
    low, high = ranges_of(text, array)
    widest = ranges_of("minmax", array)
    slack = (widest[1] - widest[0]) / BINS + 1e-9
    assert widest[0] - slack <= low <= 0 <= high <= widest[1] + slack


def test_the_image_keeps_its_whole_range(model):
    pre = model.backbone.default_preprocessing(SIDE, SIDE)
    images = CalibrationImages(noise(6), pre)
    graph = fold(model, SIDE)
    plain, cut = (graph_ranges(graph, images.scaled, parse_rule(text)) for text in ("minmax", "percentile:90"))
    assert plain["image"] == cut["image"] == (-1, 127 / 128)
    assert list(plain) == ["image", *(layer.name for layer in graph.layers)]
    assert cut["conv_pw_3"][1] < plain["conv_pw_3"][1]
    # By numpy, from the network's float64 arithmetic.
    values = np.concatenate([fold_output(graph, "conv_pw_3", image) for image in images.scaled()])
    assert plain["conv_pw_3"][1] == pytest.approx(values.max(), rel=1e-5)
    exact = np.quantile(values, 0.95)
    assert cut["conv_pw_3"][1] == pytest.approx(exact, abs=2 * values.max() / BINS)


def fold_output(graph, name: str, image: np.ndarray) -> np.ndarray:
    from export.graph.folded import _apply

    values = image.astype(np.float64)
    for layer in graph.layers:
        values = _apply(layer, values)
        if layer.name == name:
            return values.ravel()
    raise KeyError(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("minmac", "did you mean 'minmax'"),
        ("percentile", "write percentile:P"),
        ("percentile:abc", "write percentile:P"),
        ("percentile:nan", "write percentile:P"),
        ("percentile:101", "write percentile:P"),
        ("percentile:10", "write percentile:P"),
        ("mse:3", "mse takes no number"),
        ("", "unknown ''"),
    ],
)
def test_other_texts_are_refused(text: str, message: str):
    with pytest.raises(UsageFailure) as failure:
        parse_rule(text)
    assert message in str(failure.value)


def tensors(content: bytes) -> list[tuple]:
    """Return operators and the details of their outputs, in order."""
    interpreter = interpreter_for(content, delegates=False)
    details = {t["index"]: t for t in interpreter.get_tensor_details()}
    return [(op["op_name"], details[op["outputs"][0]]) for op in interpreter._get_ops_details()]


@pytest.mark.slow
@pytest.mark.parametrize("border", ["int8", "float32"])
def test_minmax_files_are_the_converters_own(model, border: str):
    """TFLiteConverter with its own calibration: equal operators and zero points, scales up to the last digits."""
    pre = model.backbone.default_preprocessing(SIDE, SIDE)
    images, graph = CalibrationImages(noise(8), pre), fold(model, SIDE)
    tf = _import_tensorflow()
    function, holder = to_function(graph, tf), tf.Module()
    holder.function = function
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], holder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(border)
    converter.representative_dataset = lambda: ([image] for image in images.scaled())
    theirs, ours = tensors(converter.convert()), tensors(to_tflite(graph, "int8", images, input_type=border))
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    for (name, one), (_, other) in zip(ours, theirs, strict=True):
        assert one["dtype"] == other["dtype"], name
        assert np.allclose(one["quantization"][0], other["quantization"][0], rtol=1e-5), name
        assert one["quantization"][1] == other["quantization"][1], name


@pytest.mark.slow
def test_the_file_has_the_ranges_of_the_rule(model):
    pre = model.backbone.default_preprocessing(SIDE, SIDE)
    images, graph = CalibrationImages(noise(8), pre), fold(model, SIDE)
    for text in ("percentile:95", "mse"):
        rule = parse_rule(text)
        wanted = graph_ranges(graph, images.scaled, rule)
        got = tensors(to_tflite(graph, "int8", images, rule=rule))
        for layer, (_, tensor) in list(zip(graph.layers, got, strict=True))[:-1]:  # the L2 norm has a fixed scale
            low, high = wanted[layer.name]
            assert tensor["quantization"][0] == pytest.approx((high - low) / 255, rel=1e-5), (text, layer.name)


def test_onnx_takes_the_same_ranges(model, tmp_path):
    import onnx
    from onnx import numpy_helper

    from export.formats.onnx.convert import graph_to_onnx, quantize_onnx

    pre = model.backbone.default_preprocessing(SIDE, SIDE)
    images, graph = CalibrationImages(noise(8), pre), fold(model, SIDE)
    onnx.save_model(graph_to_onnx(graph), tmp_path / "float.onnx")
    for text in ("percentile:95", "mse"):
        rule = parse_rule(text)
        quantize_onnx(tmp_path / "float.onnx", tmp_path / "int8.onnx", images, rule=rule)
        wanted = graph_ranges(graph, images.scaled, rule)
        found = {
            tensor.name.removesuffix("_scale"): float(numpy_helper.to_array(tensor))
            for tensor in onnx.load_model(tmp_path / "int8.onnx").graph.initializer
            if tensor.name.endswith("_scale") and "weight" not in tensor.name and "bias" not in tensor.name
        }
        assert {"image", "conv1", "conv_pw_13", "pool", "projection"} <= set(found)
        for name, scale in found.items():
            low, high = wanted[name]
            # onnxruntime's values differ in the last digits, which may move one to the next bin.
            assert scale == pytest.approx((high - low) / 255, rel=2e-3), (text, name)
