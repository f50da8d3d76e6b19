"""--repair and --debug-layers through the command line."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree

import numpy as np
import pytest
from export_helpers import SIDE, call, noise, student, write_checkpoint
from test_repair import PRE, benchmark_script

from distill.console import Failure, run_app
from export.bundle import load_bundle
from export.cli import app
from export.formats.tflite.convert import to_tflite
from export.graph.fold import fold
from export.int8.layer_errors import compare_layers
from export.samples.calibration import CalibrationImages, choose_samples


@pytest.fixture(scope="module")
def collapsed(model, pictures, tmp_path_factory):
    data = {"spec": f"folder:{pictures}", "split": "half"}
    images = choose_samples(PRE, data, None, 200, 0).calibration
    other, _ = benchmark_script().rescale_channels(model, images, PRE, 100, 0)
    folder = tmp_path_factory.mktemp("collapsed") / "student"
    write_checkpoint(folder, other, data)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_auto_repairs_a_collapsed_student(collapsed, target: str, tmp_path, capsys):
    words = (collapsed, "--target", target, "--quantize", "int8")
    assert call(*words, "--out", tmp_path / "plain") == 1
    assert "smallest cosine" in capsys.readouterr().err
    assert call(*words, "--repair", "auto", "--qat-steps", 2, "--out", tmp_path / "b", "--json") == 0
    assert json.loads(capsys.readouterr().out)["variants"][0]["repair"].startswith("cle")
    assert load_bundle(tmp_path / "b").manifest.variants[0].repair.startswith("cle")
    assert call("inspect", tmp_path / "b") == 0
    assert "repaired by cle" in " ".join(capsys.readouterr().out.split())
    assert call("verify", tmp_path / "b") == 0


def test_auto_stops_at_none_if_int8_is_good_enough(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("export.attempt.REPAIR_MEAN_COSINE", 0.9)  # a random network is coarser than a trained one
    words = (checkpoint, "--target", "onnx", "--quantize", "int8", "--repair", "auto", "--out", tmp_path / "b")
    assert call(*words, "--tolerance", "int8=0.8", "--json") == 0
    assert json.loads(capsys.readouterr().out)["variants"][0]["repair"] == "none"


def test_auto_is_the_default_and_does_not_train_within_the_tolerance(checkpoint, tmp_path, capsys, monkeypatch):
    """Below the mean cosine that auto aims at, it tries the fast repairs and takes the best."""
    monkeypatch.setattr("export.attempt.REPAIR_MEAN_COSINE", 1.1)
    words = [checkpoint, "--target", "onnx", "--quantize", "int8", "--tolerance", "int8=0.8", "--out", tmp_path / "b"]
    assert run_app(app, [str(word) for word in words]) == 0
    said = capsys.readouterr().err
    tried = [line.partition("building onnx-int8")[2] for line in said.splitlines() if "building onnx-int8" in line]
    assert tried == ["", ", repair cle", ", repair bias", ", repair cle+bias"]
    assert load_bundle(tmp_path / "b").manifest.variants[0].repair in ("none", "cle", "bias", "cle+bias")
    assert "--repair cle+bias+qat may find a better int8" in said
    assert "decoded images" not in said  # all images are decoded for a training only


def test_without_int8_the_default_says_nothing_of_repairs(pictures, tmp_path, capsys):
    data = {"spec": f"folder:{pictures}", "split": "half"}
    write_checkpoint(tmp_path / "resnet", student("timm:test_resnet"), data)
    words = [str(tmp_path / "resnet"), "--target", "onnx", "--quantize", "none", "--out", str(tmp_path / "b")]
    assert run_app(app, words) == 0
    assert "repair" not in capsys.readouterr().err


def test_too_few_images_to_choose_a_repair_by_are_named(checkpoint, tmp_path, capsys):
    words = [
        checkpoint,
        "--target",
        "onnx",
        "--quantize",
        "int8",
        "--calibration-images",
        7,
        "--tolerance",
        "int8=0.5",
    ]
    assert run_app(app, [str(word) for word in (*words, "--out", tmp_path / "b")]) == 0
    said = capsys.readouterr().err
    assert "no repair: 7 calibration images are too few to choose one by" in said and "onnx-int8, repair" not in said
    assert load_bundle(tmp_path / "b").manifest.variants[0].repair == "none"


def test_auto_takes_the_best_if_none_suffices(collapsed, tmp_path, capsys):
    words = (collapsed, "--target", "onnx", "--quantize", "int8", "--repair", "auto", "--out", tmp_path / "b")
    assert call(*words, "--tolerance", "int8=1", "--qat-steps", 2, "--json") == 1
    row = json.loads(capsys.readouterr().out)["variants"][0]
    assert row["state"] == "failed"
    assert row["repair"] in ("cle", "cle+bias", "cle+bias+qat")
    assert row["check"]["mean_cosine"] > 0.95


def test_a_named_repair_needs_a_folded_network(pictures, tmp_path, capsys):
    data = {"spec": f"folder:{pictures}", "split": "half"}
    write_checkpoint(tmp_path / "resnet", student("timm:test_resnet"), data)
    assert call(tmp_path / "resnet", "--target", "onnx", "--repair", "cle", "--out", tmp_path / "b") == 1
    assert "--repair cle works on mobilenet_v1_*, timm:mobilenetv2_* and" in capsys.readouterr().err
    assert call(tmp_path / "resnet", "--repair", "cel", "--out", tmp_path / "b") == 2
    assert "did you mean 'cle'" in capsys.readouterr().err


@pytest.mark.slow
def test_debug_layers_shows_the_layer_that_loses(collapsed, tmp_path, capsys):
    words = (collapsed, "--target", "tflite", "--quantize", "int8", "--tolerance", "int8=0", "--io", "int8,float32")
    assert call(*words, "--debug-layers", tmp_path / "plain", "--out", tmp_path / "a") == 0
    assert "conv_dw_7" in capsys.readouterr().out
    assert call(*words, "--repair", "cle", "--debug-layers", tmp_path / "cle", "--out", tmp_path / "b", "--json") == 0
    json.loads(capsys.readouterr().out)  # the JSON alone, without the table
    tables = []
    for kind in ("plain", "cle"):
        for name in ("tflite-int8", "tflite-int8-io-float32"):
            with open(tmp_path / kind / f"{name}.csv", newline="") as file:
                rows = list(csv.DictReader(file))
            assert [row["name"] for row in rows][:3] == ["conv1", "conv_dw_1", "conv_pw_1"]
            assert len(rows) == 30
            tables.append(np.array([[float(row["snr_db"]), float(row["channel_use"])] for row in rows]))
        xml.etree.ElementTree.parse(tmp_path / kind / "tflite-int8.svg")
        assert (tmp_path / kind / "tflite-int8.png").read_bytes().startswith(b"\x89PNG")
    plain, again, cle, _ = tables
    assert np.allclose(plain, again, atol=0.05)  # the input type does not affect the layers
    assert (cle[:26, 0] > plain[:26, 0]).all()
    assert cle[:, 1].mean() > 2 * plain[:, 1].mean()


@pytest.mark.slow
def test_layers_against_numpy(model):
    """Compute the last layer's numbers from the embeddings."""
    images = CalibrationImages(noise(8, seed=2), PRE)
    graph = fold(model, SIDE)
    content = to_tflite(graph, "int8", images)
    last = compare_layers(content, graph, CalibrationImages(noise(5, seed=3), PRE, marked=False).scaled())[-1]
    from export.bundle.tflite_file import interpreter_for

    exact = graph.run(PRE.scale(noise(5, seed=3)))
    interpreter = interpreter_for(content, delegates=False)
    rows = []
    for image in noise(5, seed=3):
        interpreter.set_tensor(
            interpreter.get_input_details()[0]["index"], (image.astype(int) - 128).astype(np.int8)[None]
        )
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].astype(float))
    levels = np.array(rows)
    snr = 10 * np.log10((exact**2).sum() / ((exact - levels / 128) ** 2).sum())
    assert last.operator == "L2_NORMALIZATION"
    assert np.isclose(last.snr_db, snr, atol=0.01)
    assert np.isclose(last.range_use, np.ptp(levels) / 255)
    assert np.isclose(last.channel_use, np.median(np.ptp(levels, axis=0)) / 255)


@pytest.mark.slow
def test_another_networks_file_is_refused(model):
    images = CalibrationImages(noise(4), PRE)
    content = to_tflite(fold(student(size=0), SIDE), "int8", images)
    with pytest.raises(Failure, match="29 operators do not match 30 layers"):
        compare_layers(content, fold(model, SIDE), images.scaled())
