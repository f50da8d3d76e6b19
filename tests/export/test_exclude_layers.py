"""Layers kept in float, by name and by sensitivity."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from export_helpers import SIDE, call, noise

from distill.console import UsageFailure
from export.bundle import load_bundle, open_variant
from export.bundle.tflite_file import interpreter_for
from export.check import cosines
from export.formats.tflite.convert import to_tflite
from export.graph.fold import fold
from export.graph.folded import FoldedGraph
from export.int8.sensitivity import Exclusion, chosen_layers, parse_exclusion, sensitivities
from export.samples.calibration import CalibrationImages


@pytest.fixture
def images(model) -> CalibrationImages:
    return CalibrationImages(noise(8), model.backbone.default_preprocessing(SIDE, SIDE))


def test_the_most_sensitive_layer_is_found(model, images):
    graph = fold(model, SIDE)
    before = sensitivities(graph, images.scaled())
    assert set(before) == {layer.name for layer in graph.layers if layer.name not in ("pool", "l2")}
    assert all(0 <= loss < 0.1 for loss in before.values())
    layers = list(graph.layers)
    place = next(n for n, layer in enumerate(layers) if layer.name == "projection")
    weight = layers[place].weight.copy()
    weight[7] *= 1000  # one feature determines the scale of every output channel ...
    layers[place] = replace(layers[place], weight=weight)
    before_pool = layers[place - 2]  # ... and the layer before divides it: the same function
    kernel, bias = before_pool.kernel.copy(), before_pool.bias.copy()
    kernel[..., 7] /= 1000
    bias[7] /= 1000
    layers[place - 2] = replace(before_pool, kernel=kernel, bias=bias)
    changed = FoldedGraph(SIDE, tuple(layers))
    after = sensitivities(changed, images.scaled())
    assert max(after, key=after.get) == "projection"
    assert chosen_layers(Exclusion(worst=1), changed, images.scaled()) == ("projection",)


def test_names_and_numbers_are_combined(model, images):
    graph = fold(model, SIDE)
    chosen = chosen_layers(parse_exclusion("2,conv1,pool"), graph, images.scaled())
    losses = sensitivities(graph, images.scaled())
    worst = sorted(losses, key=lambda name: -losses[name])[:2]
    assert set(chosen) == {"conv1", "pool", *worst}
    assert chosen[0] == "conv1"  # in the order of the network
    with pytest.raises(UsageFailure, match="no layer 'conv_dw_l'"):
        chosen_layers(parse_exclusion("conv_dw_l"), graph, images.scaled())
    with pytest.raises(UsageFailure, match="the network has 30 layers"):
        chosen_layers(parse_exclusion("1000000000000"), graph, images.scaled())


@pytest.mark.parametrize("text", ["-1", "1,2", ",", " "])
def test_malformed_texts_are_refused(text: str):
    with pytest.raises(UsageFailure, match="write a number"):
        parse_exclusion(text)


@pytest.mark.slow
def test_the_named_layer_is_float_in_the_file(model, images):
    graph = fold(model, SIDE)
    content = to_tflite(graph, "int8", images, in_float=("conv_pw_13", "projection"))
    interpreter = interpreter_for(content, delegates=False)
    details = {t["index"]: t for t in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    inner = [op for op in operators if op["op_name"] not in ("QUANTIZE", "DEQUANTIZE")]
    kinds = [details[op["outputs"][0]]["dtype"].__name__ for op in inner]
    floats = [layer.name for layer, kind in zip(graph.layers, kinds, strict=True) if kind == "float32"]
    assert floats == ["conv_pw_13", "projection"]
    weights = next(op for op in operators if op["op_name"] == "FULLY_CONNECTED")["inputs"][1]
    assert np.allclose(interpreter.get_tensor(weights), graph.layers[-2].weight.T)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_through_the_command_line(checkpoint, target: str, tmp_path, capsys):
    words = (checkpoint, "--target", target, "--quantize", "int8", "--tolerance", "int8=0.8", "--no-cache")
    assert call(*words, "--out", tmp_path / "all") == 0
    capsys.readouterr()
    more = ("--exclude-layers", "1,projection", "--calibration-range", "percentile:99.99")
    assert call(*words, *more, "--out", tmp_path / "some", "--json") == 0
    row = json.loads(capsys.readouterr().out)["variants"][0]
    assert len(row["in_float"]) == 2
    assert "projection" in row["in_float"]
    assert row["calibration_range"] == "percentile:99.99"
    plain = load_bundle(tmp_path / "all").manifest.variants[0]
    assert (plain.in_float, plain.calibration_range) == ((), "minmax")
    assert row["size_bytes"] > plain.size_bytes
    assert call("inspect", tmp_path / "some") == 0
    assert "ranges by percentile:99.99, in float: " in " ".join(capsys.readouterr().out.split())
    card = (tmp_path / "some" / "MODEL_CARD.md").read_text().replace("\\", "")
    assert f"- {target}-int8: ranges by percentile:99.99; in float: {', '.join(row['in_float'])}" in card
    assert "ranges by" not in (tmp_path / "all" / "MODEL_CARD.md").read_text()  # defaults are not mentioned


@pytest.mark.slow
def test_the_first_layer_may_be_float_too(checkpoint, tmp_path):
    words = (checkpoint, "--target", "tflite", "--quantize", "int8", "--io", "int8,float32", "--tolerance", "int8=0.8")
    assert call(*words, "--exclude-layers", "conv1", "--debug-layers", tmp_path / "l", "--out", tmp_path / "b") == 0
    bundle = load_bundle(tmp_path / "b")
    pixels = noise(3, seed=4)
    rows = [open_variant(bundle, variant.name).embed(pixels) for variant in bundle.manifest.variants]
    assert cosines(*rows).min() > 0.999
    with open(tmp_path / "l" / "tflite-int8.csv", newline="") as file:
        first, second = list(csv.DictReader(file))[:2]
    assert (first["name"], float(first["range_use"])) == ("conv1", 1.0)
    assert float(first["snr_db"]) > 60  # float
    assert float(second["snr_db"]) < 60


def test_malformed_options_are_usage_errors(checkpoint, tmp_path, capsys):
    words = (checkpoint, "--target", "onnx", "--quantize", "int8", "--out", tmp_path / "b")
    assert call(*words, "--exclude-layers", "conv_pw_14") == 2
    assert "no layer 'conv_pw_14'" in capsys.readouterr().err
    assert call(*words, "--calibration-range", "percentil:99") == 2
    assert "did you mean 'percentile'" in capsys.readouterr().err
