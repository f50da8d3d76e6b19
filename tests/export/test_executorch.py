"""ExecuTorch programs if the extra is installed, and the error if it is not."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from export_helpers import call, noise

from export.bundle import load_bundle, open_variant
from export.check import reference_embeddings
from export.formats.executorch import missing_executorch
from export.targets import select_targets


def test_it_is_taken_by_name_only():
    assert "executorch-float32" not in [target.name for target in select_targets("all", "all", "all")]
    assert [target.name for target in select_targets("executorch", "none")] == ["executorch-float32"]
    names = [target.name for target in select_targets("all,executorch", "none")]
    assert names == ["tflite-float32", "onnx-float32", "executorch-float32"]


def test_a_missing_extra_is_named(checkpoint, tmp_path, capsys, monkeypatch):
    honest = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "executorch" else honest(name, *a)
    )
    assert call(checkpoint, "--target", "executorch", "--quantize", "none", "--out", tmp_path / "b") == 1
    assert "pip install 'distill-to-phone[executorch]'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
@pytest.mark.skipif(missing_executorch() is not None, reason="the extra executorch is not installed")
def test_the_program_is_the_torch_model(checkpoint, model, tmp_path, capsys):
    words = (checkpoint, "--target", "executorch", "--quantize", "none")
    assert call(*words, "--out", tmp_path / "b") == 0
    assert call("verify", tmp_path / "b") == 0
    bundle = load_bundle(tmp_path / "b")
    variant = bundle.variant("executorch-float32")
    assert variant.file == "executorch-float32.pte"
    assert {operator.name for operator in variant.operators} >= {"DELEGATE"}
    pixels = noise(5, seed=9)
    got = open_variant(bundle, variant.name).embed(pixels)
    assert np.abs(got - reference_embeddings(model, pixels, bundle.manifest.preprocessing)).max() < 1e-5
    path = bundle.path(variant)
    path.write_bytes(path.read_bytes()[:1000])  # truncated: an error, not a crash
    from distill.console import Failure
    from export.bundle.runtime import open_file

    with pytest.raises(Failure, match="the engine refuses it"):
        open_file(path, variant, bundle.manifest.preprocessing)
