"""A second export reuses the files of the first, and no file that was built from anything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from export_helpers import call, student, write_checkpoint

from export.bundle import load_bundle
from export.cache import MOST_ENTRIES, BuildCache


def export(checkpoint: Path, out: Path, *more: object) -> int:
    return call(checkpoint, "--target", "onnx", "--out", out, "--overwrite", *more)


@pytest.fixture
def built(monkeypatch) -> list[str]:
    """Names of the builders that ran, in order."""
    from export.formats.onnx import convert as onnx_route

    ran: list[str] = []
    honest_graph, honest_int8 = onnx_route.graph_to_onnx, onnx_route.quantize_onnx
    monkeypatch.setattr(onnx_route, "graph_to_onnx", lambda *a: ran.append("float32") or honest_graph(*a))
    monkeypatch.setattr(onnx_route, "quantize_onnx", lambda *a: ran.append("int8") or honest_int8(*a))
    return ran


def test_the_second_export_builds_nothing(checkpoint, tmp_path, built, capsys):
    assert export(checkpoint, tmp_path / "a") == 0
    assert built == ["float32", "int8"]
    assert export(checkpoint, tmp_path / "b") == 0
    assert built == ["float32", "int8"]
    assert "onnx-int8: reused from the cache" in capsys.readouterr().err
    one, two = (load_bundle(tmp_path / name).manifest.variants for name in "ab")
    assert one == two  # the check ran again, with the same result
    assert one[0].check is not None


@pytest.mark.parametrize(
    "more", [("--seed", 1), ("--calibration-images", 9), ("--repair", "cle"), ("--no-cache",)], ids=lambda m: m[0]
)
def test_whatever_matters_is_in_the_key(checkpoint, tmp_path, built, more):
    assert export(checkpoint, tmp_path / "b", "--quantize", "int8") == 0
    count = built.count("int8")
    assert export(checkpoint, tmp_path / "b", "--quantize", "int8", *more) == 0
    assert built.count("int8") == count + 1


def test_float32_depends_on_neither_repair_nor_calibration(checkpoint, tmp_path, built):
    assert export(checkpoint, tmp_path / "b", "--quantize", "none") == 0
    assert export(checkpoint, tmp_path / "b", "--quantize", "none", "--repair", "cle", "--seed", 3) == 0
    assert built == ["float32"]


def test_another_checkpoint_is_another_key(checkpoint, pictures, tmp_path, built):
    assert export(checkpoint, tmp_path / "b", "--quantize", "none") == 0
    write_checkpoint(tmp_path / "other", student(seed=5), {"spec": f"folder:{pictures}", "split": "half"})
    assert export(tmp_path / "other", tmp_path / "b", "--quantize", "none") == 0
    assert built == ["float32", "float32"]


@pytest.mark.parametrize("name", ["PACKAGES", "code_hash"])
def test_other_tools_are_another_key(checkpoint, tmp_path, built, monkeypatch, name: str):
    assert export(checkpoint, tmp_path / "b", "--quantize", "none") == 0
    monkeypatch.setattr(f"export.pipeline.{name}", {"PACKAGES": ("pydantic",), "code_hash": lambda: "other"}[name])
    assert export(checkpoint, tmp_path / "b", "--quantize", "none") == 0
    assert built == ["float32", "float32"]


@pytest.mark.parametrize("file", ["onnx-float32.onnx", "variant.json"])
def test_a_damaged_entry_is_built_anew(checkpoint, tmp_path, built, file: str):
    assert export(checkpoint, tmp_path / "b", "--quantize", "none") == 0
    (entry,) = (tmp_path / "cache").iterdir()
    (entry / file).write_bytes((entry / file).read_bytes()[:-7])
    assert export(checkpoint, tmp_path / "b", "--quantize", "none") == 0
    assert built == ["float32", "float32"]
    assert export(checkpoint, tmp_path / "b", "--quantize", "none") == 0
    assert built == ["float32", "float32"]  # repaired


def test_what_failed_is_not_kept(checkpoint, tmp_path, built):
    for _ in range(2):
        assert export(checkpoint, tmp_path / "b", "--quantize", "int8", "--tolerance", "int8=1") == 1
    assert built.count("int8") == 2
    assert not (tmp_path / "cache").exists()


def test_auto_remembers_its_choice(checkpoint, tmp_path, built):
    words = (checkpoint, tmp_path / "b", "--quantize", "int8", "--repair", "auto", "--qat-steps", "2")
    assert export(*words) == 0
    chosen, count = load_bundle(tmp_path / "b").manifest.variants[0].repair, len(built)
    assert export(*words) == 0
    assert load_bundle(tmp_path / "b").manifest.variants[0].repair == chosen
    assert len(built) == count
    assert export(*words, "--tolerance", "int8=0.5") == 0
    assert len(built) > count  # the choice depends on the tolerance


def test_a_cache_that_cannot_be_written_does_no_harm(checkpoint, tmp_path, built):
    (tmp_path / "file").write_bytes(b"")
    assert export(checkpoint, tmp_path / "b", "--quantize", "none", "--cache-dir", tmp_path / "file") == 0


def test_the_oldest_entries_go(made_bundle, tmp_path):
    bundle = load_bundle(made_bundle)
    variant = bundle.manifest.variants[0]
    cache = BuildCache(tmp_path / "cache", {})
    for number in range(MOST_ENTRIES + 3):
        cache.keep({"n": number}, bundle.path(variant), variant)
    assert len(list((tmp_path / "cache").iterdir())) == MOST_ENTRIES
    assert cache.take({"n": MOST_ENTRIES + 2}, tmp_path / "out" / variant.file) is not None
    assert cache.take({"n": 0}, tmp_path / "out" / variant.file) is None


def test_entries_are_plain_json(checkpoint, tmp_path, built):
    assert export(checkpoint, tmp_path / "b", "--quantize", "none") == 0
    (entry,) = (tmp_path / "cache").iterdir()
    facts = json.loads((entry / "variant.json").read_text())
    assert facts["name"] == "onnx-float32"
    assert "check" not in facts
