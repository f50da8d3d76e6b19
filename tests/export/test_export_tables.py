"""Tables in 80 columns, and JSON in a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from fits import check_fits, narrow

from distill.console import run_app
from export.attempt import TargetResult
from export.bundle import load_bundle
from export.bundle.golden_files import FileCheck
from export.bundle.verify import VariantCheck
from export.cli import app
from export.int8.layer_errors import LayerError
from export.pipeline import Export
from export.show import print_checks, print_export, write_layers
from export.targets import all_targets

LONG = "executorch-int8-uint8"  # longer than any name that we export
HEADINGS = ("variant", "size, kB", "ops", "max diff", "min cos", "mean cos", "state")


def call(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


def test_a_bundle(made_bundle, monkeypatch, capsys, tmp_path):
    narrow(monkeypatch)
    assert call("inspect", made_bundle, "--json-out", tmp_path / "r.json") == 0
    check_fits(capsys.readouterr().out, *HEADINGS, "onnx-int8", long=("tflite-", "onnx-", "takes"))
    assert json.loads((tmp_path / "r.json").read_text()) == load_bundle(made_bundle).manifest.model_dump(mode="json")
    assert call("inspect", made_bundle, "--json-out", Path(made_bundle) / "r.json") == 2


def test_an_export(made_bundle, monkeypatch, capsys):
    narrow(monkeypatch)
    variant = load_bundle(made_bundle).manifest.variants[0].model_copy(update={"size_bytes": 123_456_789})
    target = next(each for each in all_targets() if each.name == "tflite-int8")
    rows = (replace(target, format="executorch", quantize="int8"), target)
    layers = tuple(LayerError(f"blocks.12.{'very_' * 8}long_name.conv", "CONV_2D", -0.5, -10.0, 1, 1, 1) for _ in "ab")
    results = tuple(TargetResult(row, variant, None, layers=layers) for row in rows)
    print_export(Export(results, None))
    check_fits(capsys.readouterr().out, *HEADINGS, "executorch-int8", "123456.8", "passed")


def test_the_layers_of_a_target(monkeypatch, capsys, tmp_path):
    narrow(monkeypatch)
    target = next(each for each in all_targets() if each.name == "tflite-int8")
    name = f"blocks.12.{'very_' * 12}long_name.conv"
    layer = LayerError(name, "CONV_2D", -0.123456, -10.0, 1.0, 1.0, 1.0)
    write_layers(Export((TargetResult(target, None, None, layers=(layer,)),), None), tmp_path, quiet=False)
    check_fits(capsys.readouterr().out, "layer", "min cos", "SNR, dB", "range", "channel", "low", "-0.1235", "100%")


def test_the_checks_of_verify(monkeypatch, capsys):
    narrow(monkeypatch)
    check = VariantCheck(
        problem="", variant=LONG, min_cosine=0.999999, max_abs_diff=1.2e-07, limit=0.99999, same_inputs=True
    )
    files = [
        FileCheck(problem="", file=f"golden/{'a-long-name-' * 5}.png", decoded=True, resized=False, max_level_diff=255)
    ]
    print_checks(files, [check])
    out = capsys.readouterr().out
    check_fits(out, "golden file", "decoded", "resized", "levels off", "min cos", "limit", "max diff", "state", LONG)
