"""A quantization scheme in one file of another package, through the command line; no module changed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from extend_export import ROOT, copy_example, tiny_checkpoint

from distill.console import Failure, run_app
from export.bundle import load_bundle, open_variant
from export.check import cosines
from export.cli import app
from export.graph.fold import fold
from export.graph.folded import Convolution, Linear
from export.targets import TARGETS, all_targets


def test_a_scheme_from_outside_goes_all_the_way(tmp_path, monkeypatch, capsys):
    from distill.models.checkpoint import load_checkpoint

    path, checkpoint = copy_example("scheme.py", "onnx_float16", tmp_path, monkeypatch), tiny_checkpoint(tmp_path)
    words = [str(checkpoint), "--target", "onnx", "--quantize", "none,float16", "--tolerance", "float16=0.999"]

    def export(name: str, *more: str) -> str:
        assert run_app(app, [*words, *more, "--out", str(tmp_path / name)]) == 0
        return capsys.readouterr().err

    with TARGETS.added("onnx-float16", "onnx_float16:ONNX_FLOAT16"):
        export("b")
        bundle = load_bundle(tmp_path / "b")
        full, half = bundle.variant("onnx-float32"), bundle.variant("onnx-float16")
        assert half.size_bytes < 0.6 * full.size_bytes
        assert half.scheme.weights == "float16"
        assert "float16, float32" in (tmp_path / "b" / "MODEL_CARD.md").read_text()
        assert run_app(app, ["verify", str(tmp_path / "b")]) == 0
        # The reference: the folded network with rounded weights, in float64.
        model, info = load_checkpoint(checkpoint)
        graph = fold(model, info.preprocessing.input_size)
        graph = replace(graph, layers=tuple(map(rounded, graph.layers)))
        pixels = bundle.golden_pixels()
        wanted, got = graph.run(info.preprocessing.scale(pixels)), open_variant(bundle, half.name).embed(pixels)
        assert np.abs(wanted - got).max() < 1e-5
        assert cosines(got, open_variant(bundle, full.name).embed(pixels)).min() < 1 - 1e-9  # it is rounded
        # The build cache knows the file of a builder that is not ours.
        assert "onnx-float16: reused from the cache" in export("c")
        path.write_text(path.read_text() + "# changed\n")
        assert "building onnx-float16" in export("d", "--quantize", "float16")


def rounded(layer):
    half = lambda values: values.astype(np.float16).astype(np.float32) if values.size >= 64 else values  # noqa: E731
    if isinstance(layer, Convolution):
        return replace(layer, kernel=half(layer.kernel), bias=half(layer.bias))
    return replace(layer, weight=half(layer.weight), bias=half(layer.bias)) if isinstance(layer, Linear) else layer


def test_an_installed_package_adds_one_by_an_entry_point(tmp_path, monkeypatch):
    copy_example("scheme.py", "onnx_float16", tmp_path, monkeypatch)
    folder = tmp_path / "float16-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: float16\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[distill_to_phone.targets]\nonnx-float16 = onnx_float16:ONNX_FLOAT16\n")
    done = subprocess.run(
        [sys.executable, "-c", "from export.targets import *; print([t.name for t in select_targets('onnx', 'all')])"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['onnx-float32', 'onnx-int8', 'onnx-float16']"


def test_a_row_under_a_foreign_name_is_refused(tmp_path, monkeypatch):
    copy_example("scheme.py", "onnx_float16", tmp_path, monkeypatch)
    with (
        TARGETS.added("onnx-half", "onnx_float16:ONNX_FLOAT16"),
        pytest.raises(Failure, match="'onnx-float16' is registered as 'onnx-half'"),
    ):
        all_targets()
