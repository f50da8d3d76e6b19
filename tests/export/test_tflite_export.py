from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from export_helpers import SIDE, SIZE, noise, student

from distill.console import Failure
from distill.data.preprocess import Preprocessing
from export.bundle import load_bundle, open_variant
from export.bundle.tflite_file import interpreter_for
from export.check import cosines, reference_embeddings
from export.formats.tflite.convert import check_input_scale, to_tflite
from export.graph.fold import fold
from export.graph.folded import Convolution, FoldedGraph, Linear
from export.int8.simulation import quantized_weight
from export.samples.calibration import CalibrationImages, choose_samples

PROMISED = {"CONV_2D": 14, "DEPTHWISE_CONV_2D": 13, "MEAN": 1, "FULLY_CONNECTED": 1, "L2_NORMALIZATION": 1}


def counts(variant) -> dict[str, int]:
    return {operator.name: operator.count for operator in variant.operators}


@pytest.mark.slow
def test_float32_is_the_torch_model(tflite_bundle, model):
    bundle = load_bundle(tflite_bundle)
    pixels = noise(20, seed=9)
    reference = reference_embeddings(model, pixels, bundle.manifest.preprocessing)
    assert np.abs(open_variant(bundle, "tflite-float32").embed(pixels) - reference).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tflite-float32", "tflite-int8"])
def test_the_operators_are_those_promised(tflite_bundle, name: str):
    assert counts(load_bundle(tflite_bundle).variant(name)) == PROMISED


@pytest.mark.slow
def test_float16_differs_by_dequantize_only(tflite_bundle, model):
    bundle = load_bundle(tflite_bundle)
    operators = counts(bundle.variant("tflite-float16"))
    assert operators.pop("DEQUANTIZE") > 0
    assert operators == PROMISED
    assert bundle.variant("tflite-float16").size_bytes < 0.6 * bundle.variant("tflite-float32").size_bytes


@pytest.mark.slow
def test_the_int8_input_is_pixel_minus_128(tflite_bundle):
    bundle = load_bundle(tflite_bundle)
    variant = bundle.variant("tflite-int8")
    assert (variant.input.scale, variant.input.zero_point) == (1 / 128, 0)
    assert (variant.input.dtype, variant.output.dtype) == ("int8", "int8")
    assert variant.output.renormalise
    pixels = noise(1, seed=3)
    runner = open_variant(bundle, "tflite-int8")
    assert np.array_equal(runner.tensor(pixels), pixels.astype(np.int16) - 128)
    # The same with the bare interpreter, as in an app.
    interpreter = interpreter_for(bundle.path(variant).read_bytes())
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], (pixels.astype(np.int16) - 128).astype(np.int8))
    interpreter.invoke()
    raw = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).astype(np.float32)
    assert np.allclose(runner.embed(pixels), raw / np.linalg.norm(raw), atol=1e-6)


@pytest.mark.slow
def test_int8_is_near_and_per_channel(tflite_bundle, model):
    bundle = load_bundle(tflite_bundle)
    pixels = noise(20, seed=9)
    reference = reference_embeddings(model, pixels, bundle.manifest.preprocessing)
    near = cosines(reference, open_variant(bundle, "tflite-int8").embed(pixels))
    assert near.min() > 0.85  # random weights and 18 calibration images
    assert near.mean() > 0.93
    assert near.min() < 0.9999999
    interpreter = interpreter_for(bundle.path(bundle.variant("tflite-int8")).read_bytes(), delegates=False)
    channels = {
        len(tensor["quantization_parameters"]["scales"])
        for tensor in interpreter.get_tensor_details()
        if tensor["dtype"] == np.int8
    }
    assert {8, 256} <= channels


@pytest.mark.slow
def test_an_odd_input_size_keeps_same_padding():
    model = student(side=50)
    content = to_tflite(fold(model, 50), "float32")
    interpreter = interpreter_for(content)
    pixels = noise(1, 50)
    preprocessing = model.backbone.default_preprocessing(50, 50)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], preprocessing.scale(pixels))
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert got.shape == (1, SIZE)
    assert np.abs(got - reference_embeddings(model, pixels, preprocessing)).max() < 1e-5


@pytest.mark.slow
def test_dull_calibration_images_do_not_narrow_the_input(model):
    """With grey images only, the two marked corner pixels still give the whole range."""
    preprocessing = model.backbone.default_preprocessing(SIDE, SIDE)
    grey = np.full((3, SIDE, SIDE, 3), 120, np.uint8)
    images = CalibrationImages(grey, preprocessing)
    details = interpreter_for(to_tflite(fold(model, SIDE), "int8", images)).get_input_details()[0]
    assert details["quantization"] == (1 / 128, 0)
    assert (grey == 120).all()  # the caller's pixels are unchanged


@pytest.mark.slow
@pytest.mark.parametrize("border", ["int8", "float32"])
def test_another_input_range_is_refused(model, tmp_path, border: str):
    other = Preprocessing(input_size=SIDE, resize_size=SIDE, mean=(100,) * 3, std=(100,) * 3)
    content = to_tflite(fold(model, SIDE), "int8", CalibrationImages(noise(2), other), input_type=border)
    (tmp_path / "m.tflite").write_bytes(content)
    check_input_scale(tmp_path / "m.tflite", other)
    with pytest.raises(Failure, match=r"scale 0.0\d+ and zero point -28, not 0.0078125 and 0"):
        check_input_scale(tmp_path / "m.tflite", Preprocessing(input_size=SIDE, resize_size=SIDE))


@pytest.mark.slow
@pytest.mark.parametrize(("border", "zero_point"), [("uint8", 128), ("float32", None)])
def test_other_borders_are_the_same_network(tflite_bundle, border: str, zero_point: int | None):
    bundle = load_bundle(tflite_bundle)
    variant = bundle.variant(f"tflite-int8-io-{border}")
    assert (variant.input.dtype, variant.output.dtype) == (border, border)
    assert variant.input.zero_point == zero_point
    ends = counts(variant)
    assert ends.pop("QUANTIZE") + ends.pop("DEQUANTIZE", 0) == 2
    assert ends == PROMISED
    pixels = noise(6, seed=9)
    plain = open_variant(bundle, "tflite-int8").embed(pixels)
    assert np.abs(open_variant(bundle, variant.name).embed(pixels) - plain).max() < 1e-6


@pytest.mark.slow
def test_int8_without_calibration_images_is_refused(model):
    with pytest.raises(Failure, match="int8 needs calibration images"):
        to_tflite(fold(model, SIDE), "int8", None)


@pytest.mark.slow
def test_int16x8_loses_what_its_int8_weights_lose_and_no_more(tflite_bundle, model, pictures):
    """It matches the float network with rounded weights: 16-bit activations add no visible error."""
    bundle = load_bundle(tflite_bundle)
    pre = bundle.manifest.preprocessing
    # Calibration images: on others, a value may lie outside the range.
    data = {"spec": f"folder:{pictures}", "split": "half"}
    pixels = choose_samples(pre, data, None, 200, 0).calibration.pixels[1:13]
    graph = fold(model, SIDE)
    layers = []
    for layer in graph.layers:
        if isinstance(layer, Convolution):
            rounded = quantized_weight(layer).numpy().transpose((2, 3, 0, 1) if layer.depthwise else (2, 3, 1, 0))
            layer = replace(layer, kernel=rounded)
        elif isinstance(layer, Linear):
            layer = replace(layer, weight=quantized_weight(layer).numpy().T)
        layers.append(layer)
    expected = FoldedGraph(SIDE, tuple(layers)).run(pre.scale(pixels))
    got = open_variant(bundle, "tflite-int16x8").embed(pixels)
    near = cosines(expected, got)
    assert np.median(near) > 0.99999
    assert near.min() > 0.99  # rounded weights push a value beyond the float network's range
    assert cosines(reference_embeddings(model, pixels, pre), got).min() < 0.9999
    variant = bundle.variant("tflite-int16x8")
    assert (variant.scheme.weights, variant.scheme.activations) == ("int8", "int16")
    assert (variant.output.dtype, variant.output.unit_norm) == ("float32", True)
    assert counts(variant) == PROMISED | {"QUANTIZE": 1, "DEQUANTIZE": 1}


@pytest.mark.slow
def test_int16_input(tflite_bundle):
    bundle = load_bundle(tflite_bundle)
    variant = bundle.variant("tflite-int16x8-io-int16")
    assert (variant.input.dtype, variant.input.zero_point) == ("int16", 0)
    assert variant.input.scale == pytest.approx(1 / 32767)
    pixels = noise(6, seed=9)
    runner = open_variant(bundle, variant.name)
    values = runner.tensor(pixels)
    assert values.dtype == np.int16
    assert np.array_equal(values, np.rint((pixels.astype(float) - 128) / 128 / variant.input.scale))
    assert np.abs(runner.embed(pixels) - open_variant(bundle, "tflite-int16x8").embed(pixels)).max() < 1e-3
