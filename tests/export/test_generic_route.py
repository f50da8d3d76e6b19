"""TFLite for networks that cannot be folded, and the same network by both routes."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from export_helpers import SIDE, call, noise, student, write_checkpoint

from distill.console import Failure
from export.bundle import load_bundle, open_variant
from export.bundle.tflite_file import interpreter_for
from export.check import cosines
from export.formats.tflite.convert import to_tflite
from export.formats.tflite.generic import add_norm, convert_module, missing_generic, quantize_generic
from export.graph.fold import fold
from export.samples.calibration import CalibrationImages

needs_generic = pytest.mark.skipif(
    missing_generic() is not None, reason="the extra generic (litert-torch, ai-edge-quantizer) is not installed"
)


@pytest.fixture
def without_extra(monkeypatch):
    honest = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "litert_torch" else honest(name, *a)
    )


@pytest.fixture(scope="module")
def resnet(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resnet") / "student"
    write_checkpoint(folder, student("timm:test_resnet"), {"spec": f"folder:{pictures}", "split": "half"})
    return folder


def test_a_missing_extra_is_named(without_extra, resnet, tmp_path, capsys):
    assert call(resnet, "--target", "tflite", "--out", tmp_path / "b") == 1
    error = capsys.readouterr().err
    assert "litert-torch is not installed" in error
    assert "pip install 'distill-to-phone[generic]'" in " ".join(error.split())
    assert "--target onnx" in error
    assert not (tmp_path / "b").exists()
    with pytest.raises(Failure, match="litert-torch is not installed"):
        convert_module(student("timm:test_resnet"), SIDE)


def test_a_platform_without_wheels_is_named(without_extra, monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    failure = missing_generic()
    assert failure is not None and "not for Linux aarch64" in failure.cure and "--target onnx" in failure.cure


@pytest.mark.slow
def test_all_goes_on_without_the_extra(without_extra, resnet, tmp_path, capsys):
    assert call(resnet, "--out", tmp_path / "b") == 0
    assert [v.name for v in load_bundle(tmp_path / "b").manifest.variants] == ["onnx-float32", "onnx-int8"]
    assert "left out: tflite-float32, tflite-int8" in " ".join(capsys.readouterr().err.split())


def test_what_only_folded_networks_have_is_said(resnet, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("export.formats.tflite.generic.missing_generic", lambda: None)
    assert call(resnet, "--target", "tflite", "--quantize", "float16", "--out", tmp_path / "b") == 1
    assert "tflite-float16 is for mobilenet_v1_*, timm:mobilenetv2_* and" in " ".join(capsys.readouterr().err.split())


def embed(content: bytes, images: list[np.ndarray]) -> np.ndarray:
    interpreter = interpreter_for(content)
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    rows = []
    for image in images:
        if entry["dtype"] == np.int8:
            scale, zero = entry["quantization"]
            image = np.clip(np.rint(image / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(entry["index"], image)
        interpreter.invoke()
        row = interpreter.get_tensor(end["index"])[0].astype(np.float64)
        scale, zero = end["quantization"]
        rows.append((row - zero) * scale if end["dtype"] == np.int8 else row)
    return np.array(rows)


@needs_generic
@pytest.mark.slow
def test_both_routes_give_the_same_network(model):
    """MobileNetV1 folded here and converted by litert-torch: equal in float, close in int8."""
    pre = model.backbone.default_preprocessing(SIDE, SIDE)
    graph, calibration = fold(model, SIDE), CalibrationImages(noise(12), pre)
    images = list(CalibrationImages(noise(12), pre, marked=False).scaled())[1:]
    raw = convert_module(model, SIDE)
    generic, folded = embed(add_norm(raw), images), embed(to_tflite(graph, "float32"), images)
    assert np.abs(generic - folded).max() < 1e-5
    assert np.abs(folded - graph.run(np.concatenate(images))).max() < 1e-5
    names = [op["op_name"] for op in interpreter_for(add_norm(raw), delegates=False)._get_ops_details()]
    assert names.count("L2_NORMALIZATION") == 1
    assert len(names) == 31  # ours and one TRANSPOSE

    content, recipe = quantize_generic(raw, calibration)
    rounded = embed(add_norm(content), images)
    ours = embed(to_tflite(graph, "int8", calibration), images)
    assert np.allclose(np.linalg.norm(rounded, axis=1), 1, atol=1e-6)  # the norm is float
    details = interpreter_for(add_norm(content), delegates=False).get_input_details()[0]
    assert (details["dtype"], details["quantization"]) == (np.int8, (1 / 128, 0))
    assert json.loads(json.dumps(recipe)) == recipe
    # Two quantizers of one scheme are equally close to the float network.
    losses = [1 - cosines(generic, rows).mean() for rows in (rounded, ours)]
    assert max(losses) < 0.06
    assert losses[0] < 1.5 * losses[1] + 0.002


@needs_generic
@pytest.mark.slow
def test_a_timm_student_through_the_command_line(resnet, tmp_path, capsys):
    words = (resnet, "--target", "tflite", "--quantize", "none,int8", "--io", "int8,float32", "--tolerance", "int8=0.8")
    assert call(*words, "--out", tmp_path / "b") == 0
    assert call("verify", tmp_path / "b") == 0
    bundle = load_bundle(tmp_path / "b")
    names = [variant.name for variant in bundle.manifest.variants]
    assert names == ["tflite-float32", "tflite-int8", "tflite-int8-io-float32"]
    pixels = noise(4, seed=2)
    exact = open_variant(bundle, "tflite-float32").embed(pixels)
    one, other = (open_variant(bundle, name).embed(pixels) for name in names[1:])
    assert cosines(exact, one).min() > 0.8
    assert (
        cosines(one, other).min() > 0.995
    )  # mean 127.5 turns every pixel into a half, which the two round differently
    int8 = bundle.variant("tflite-int8")
    assert (int8.input.dtype, int8.output.dtype, int8.output.unit_norm) == ("int8", "float32", True)
    assert int8.recipe[0]["algorithm_key"] == "min_max_uniform_quantize"
    assert (int8.producer.split()[0], int8.calibration_range) == ("litert-torch", "minmax")
