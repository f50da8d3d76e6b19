"""An export format in one file of another package: built, checked, packed, verified, embedded; no module changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from extend_export import copy_example, tiny_checkpoint

from distill.console import run_app
from export.bundle import load_bundle, open_variant
from export.bundle.formats import FORMATS
from export.bundle.verify import verify_bundle
from export.check import reference_embeddings
from export.cli import app
from export.option_help import option_help
from export.targets import TARGETS


@contextmanager
def npz_added(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    copy_example("format.py", "npz_format", folder, monkeypatch)
    with FORMATS.added("npz", "npz_format:NPZ"), TARGETS.added("npz-float32", "npz_format:NPZ_FLOAT32"):
        yield


def test_a_format_from_outside_goes_all_the_way(tmp_path, monkeypatch, capsys):
    from distill.models.checkpoint import load_checkpoint

    checkpoint, out = tiny_checkpoint(tmp_path), tmp_path / "bundle"
    command = [str(checkpoint), "--target", "npz,onnx", "--quantize", "none", "--out", str(out), "--json"]
    with npz_added(tmp_path, monkeypatch):
        assert run_app(app, command) == 0
        states = {row["name"]: row["state"] for row in json.loads(capsys.readouterr().out)["variants"]}
        assert states == {"onnx-float32": "passed", "npz-float32": "passed"}
        bundle = load_bundle(out)
        variant = bundle.variant("npz-float32")
        assert variant.file == "npz-float32.npz"
        assert {operator.name: operator.count for operator in variant.operators}["Convolution"] == 27
        assert "| npz-float32 |" in (out / "MODEL_CARD.md").read_text()
        assert all(check.passed for check in verify_bundle(out))
        model, info = load_checkpoint(checkpoint)
        runner, pixels = open_variant(bundle, "npz-float32"), bundle.golden_pixels()
        assert np.abs(runner.embed(pixels) - reference_embeddings(model, pixels, info.preprocessing)).max() < 1e-5
        runner.prepare(pixels[:1])
        runner.invoke()
        assert np.allclose(runner.output(), runner.embed(pixels[:1]), atol=1e-6)
    # Where the format is not installed, the bundle's other variants still run.
    problems = {check.variant: check.problem for check in verify_bundle(out)}
    assert problems["onnx-float32"] == ""
    assert "no engine here runs 'npz'" in problems["npz-float32"]


def test_help_and_errors_name_it(tmp_path, monkeypatch, capsys):
    with npz_added(tmp_path, monkeypatch):
        assert "executorch (only by name), npz, all" in option_help()["target"]
        assert run_app(app, [str(tmp_path), "--target", "npzz", "--out", str(tmp_path / "b")]) == 2
        assert "did you mean 'npz'" in capsys.readouterr().err
