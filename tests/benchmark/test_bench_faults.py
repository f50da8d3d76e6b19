"""Faults that shipped in real apps, planted one at a time: each must fail a gate; a healthy model must pass.

Engines and files are real; PyTorch is a toy that computes the same network.
"""

from __future__ import annotations

import json
from pathlib import Path

import benchmark_fakes as fakes
import numpy as np
import pytest
import tiny_models

from benchmark.cli import app
from distill.console import run_app

GATES = """
candidate = "onnx-float32"
max_recall_drop = 2
min_cosine = 0.99
max_asymmetric_drop = 2
"""


def judge(
    tmp_path: Path, model: bytes, monkeypatch, change=None, photos: Path | None = None
) -> tuple[int, dict, dict[str, bool]]:
    """Return (exit code, the candidate's result, limit -> kept) of a bundle with this ONNX file."""
    photos = photos or fakes.make_photos(tmp_path / "photos", classes=12)
    bundle = fakes.make_bundle(tmp_path / "bundle", f"folder:{photos}", ("onnx-float32",), models={"onnx": model})
    if change:
        manifest = json.loads((bundle / "bundle.json").read_text())
        change(manifest)
        (bundle / "bundle.json").write_text(json.dumps(manifest))
    (tmp_path / "gates.toml").write_text(GATES)
    (tmp_path / "student").mkdir()
    fakes.replace_torch(monkeypatch)
    code = run_app(app, [
        str(bundle), "--part", "all", "--seconds", "0", "--checkpoint", str(tmp_path / "student"),
        "--gates", str(tmp_path / "gates.toml"), "--json-out", str(tmp_path / "r.json"),
    ])  # fmt: skip
    value = json.loads((tmp_path / "r.json").read_text())
    return code, value["variants"][0], {gate["name"]: gate["pass"] for gate in value["verdict"]["gates"]}


def test_a_healthy_model_passes(tmp_path, monkeypatch):
    code, variant, kept = judge(tmp_path, tiny_models.onnx_model(fakes.SIDE), monkeypatch)
    assert code == 0 and all(kept.values()) and len(kept) == 3
    assert variant["cosine"]["min"] > 0.99999 and variant["recall"]["1"] > 0.9


def test_bgr_for_rgb(tmp_path, monkeypatch):
    """Recall among the variant's own embeddings misses it: every image is wrong in the same way."""
    code, variant, kept = judge(tmp_path, tiny_models.onnx_model(fakes.SIDE, channels=(2, 1, 0)), monkeypatch)
    assert code == 1 and variant["status"] == "ok"
    assert kept == {
        "drop of Recall@1": True,
        "mean cosine to PyTorch": False,
        "drop on the float model's gallery": False,
    }
    assert variant["asymmetric"][0]["recall_drop"]["value"] > 0.2


def test_a_wrong_resize(tmp_path, monkeypatch):
    def enlarge(manifest):
        manifest["preprocessing"]["resize_size"] = 2 * fakes.SIDE  # and crops the middle

    code, _variant, kept = judge(tmp_path, tiny_models.onnx_model(fakes.SIDE), monkeypatch, enlarge)
    assert code == 1 and not kept["mean cosine to PyTorch"] and not kept["drop on the float model's gallery"]


@pytest.mark.parametrize(("mean", "std"), [(0.0, 255.0), (0.0, 1.0)])
def test_a_wrong_scaling(tmp_path, monkeypatch, mean, std):
    def rescale(manifest):
        manifest["preprocessing"] |= {"mean": [mean] * 3, "std": [std] * 3}

    code, _, kept = judge(tmp_path, tiny_models.onnx_model(fakes.SIDE), monkeypatch, rescale)
    assert code == 1 and not kept["mean cosine to PyTorch"]


def test_collapsed_embeddings(tmp_path, monkeypatch):
    """Like an int8 model calibrated on black images: all embeddings are equal."""
    code, variant, kept = judge(tmp_path, tiny_models.onnx_model(fakes.SIDE, factor=0.0), monkeypatch)
    assert code == 1 and not any(kept.values())
    assert variant["recall_drop"]["1"]["value"] > 0.5 and variant["recall_drop"]["1"]["ci95"][0] > 0.3


def test_nearly_collapsed_embeddings_still_rank_but_do_not_agree(tmp_path, monkeypatch):
    code, _variant, kept = judge(tmp_path, tiny_models.onnx_model(fakes.SIDE, factor=0.05), monkeypatch)
    assert code == 1 and not kept["mean cosine to PyTorch"]


def test_embeddings_in_another_order(tmp_path, monkeypatch):
    """Embeddings in another order than the images, by an off-by-one in a loop on the device."""
    from benchmark.devices.work import Embedders

    embed = Embedders.embed
    monkeypatch.setattr(
        Embedders,
        "embed",
        lambda self, pixels, names=None: {k: np.roll(v, 1, axis=0) for k, v in embed(self, pixels, names).items()},
    )
    code, _variant, kept = judge(tmp_path, tiny_models.onnx_model(fakes.SIDE), monkeypatch)
    assert code == 1 and not any(kept.values())
