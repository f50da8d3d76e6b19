from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from export_helpers import call, edit, student, write_checkpoint

from distill.console import UsageFailure, run_app
from export.bundle import load_bundle
from export.check import parse_tolerances
from export.cli import app
from export.job import Job
from export.targets import all_targets, select_targets

ROWS = {(row.format, row.quantize): row for row in all_targets() if row.io_auto and not row.optional}
# A format and a scheme, both of the table, that no row combines.
ABSENT = next((form, scheme) for form, _ in ROWS for _, scheme in ROWS if (form, scheme) not in ROWS)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "cache")


def test_layers_go_to_a_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    arguments = [str(tmp_path / "none"), "--out", str(tmp_path / "o"), "--debug-layers", str(tmp_path / "file")]
    assert run_app(app, arguments) == 1
    assert f"{tmp_path / 'file'}: not a folder" in capsys.readouterr().err.replace("\n", "")


def test_inspect_prints_what_an_app_needs(made_bundle, capsys):
    assert call("inspect", made_bundle) == 0
    text = capsys.readouterr().out
    for words in ("64 x 64 RGB", "pillow_bilinear", "(pixel - 128) / 128", "16 values", "mobilenet_v1_025", "CC0-1.0",
                  "27 Conv", "18 images", "onnx-int8", "passed"):  # fmt: skip
        assert words in " ".join(text.split()), words


def test_inspect_as_json_is_the_manifest(made_bundle, capsys):
    assert call("inspect", made_bundle, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((made_bundle / "bundle.json").read_text())
    calibration = shown["provenance"]["calibration"]
    assert calibration["count"] == len(calibration["keys"]) == len(calibration["pixels_sha256"]) == 18


def test_verify_passes_here(made_bundle, capsys):
    assert call("verify", made_bundle, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["passed"]
    assert [row["variant"] for row in result["variants"]] == ["onnx-float32", "onnx-int8"]
    assert all(row["min_cosine"] > 0.99999 for row in result["variants"])


def test_verify_finds_a_corrupted_file(bundle, capsys):
    path = bundle / "onnx-float32.onnx"
    path.write_bytes(path.read_bytes()[:-9] + b"corrupted")
    assert call("verify", bundle) == 1
    assert "its content changed" in capsys.readouterr().err


def test_verify_finds_embeddings_that_differ(bundle, capsys):
    """The hashes match, the embeddings do not, as on another runtime or processor."""
    import hashlib

    path = bundle / "golden" / "onnx-int8.f32"
    rows = np.fromfile(path, "<f4")
    path.write_bytes(rows[::-1].tobytes())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(bundle, lambda content: content["golden"]["expected"]["onnx-int8"].update(sha256=digest))
    assert call("verify", bundle) == 1
    captured = capsys.readouterr()
    assert "onnx-int8: smallest cosine to the golden embeddings" in captured.err
    assert "onnx-float32" in captured.out  # the others are still reported


@pytest.mark.slow
def test_verify_compares_tflite_operators(tflite_bundle, tmp_path, capsys):
    import shutil

    spoiled = shutil.copytree(tflite_bundle, tmp_path / "spoiled")
    assert call("verify", spoiled) == 0
    edit(spoiled, lambda content: content["variants"][0]["operators"].pop())
    assert call("verify", spoiled) == 1
    assert "operators in the file are not those" in capsys.readouterr().err


def test_a_second_export_is_refused_unless_asked_for(checkpoint, bundle, capsys):
    words = (checkpoint, "--target", "onnx", "--quantize", "none", "--out", bundle)
    before = (bundle / "bundle.json").read_text()
    assert call(*words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (bundle / "bundle.json").read_text() == before
    assert call(*words, "--overwrite", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["passed"]
    assert result["bundle"] == str(bundle)
    assert [v["name"] for v in result["variants"]] == ["onnx-float32"]
    assert [v.name for v in load_bundle(bundle).manifest.variants] == ["onnx-float32"]
    assert not (bundle / "onnx-int8.onnx").exists()


def test_what_is_not_a_bundle_is_never_replaced(checkpoint, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "precious.jpg").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for out in ("photos", "file", "link"):
        assert call(checkpoint, "--target", "onnx", "--out", tmp_path / out, "--overwrite") == 2
        assert "exists and is not a bundle" in capsys.readouterr().err
    assert call(checkpoint, "--target", "onnx", "--out", checkpoint, "--overwrite") == 2
    assert (tmp_path / "photos" / "precious.jpg").exists()


def spoil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the builders other weights than those of PyTorch's reference."""
    honest = Job.graph.func

    def dishonest(job):
        other = copy.deepcopy(job.model)
        with torch.no_grad():
            other.backbone.blocks[0].pointwise.weight.mul_(-1)
        return honest(Job(other, job.preprocessing, job.calibration, job.scratch))

    monkeypatch.setattr(Job, "graph", property(dishonest))


def test_wrong_numbers_fail_the_command(checkpoint, tmp_path, capsys, monkeypatch):
    spoil(monkeypatch)
    out = tmp_path / "bundle"
    assert call(checkpoint, "--target", "onnx", "--quantize", "none", "--out", out) == 1
    captured = capsys.readouterr()
    assert "onnx-float32 failed: largest difference" in captured.err
    assert "above 0.0001" in captured.err
    assert "failed" in captured.out
    assert leftovers(tmp_path) == ["bundle.failed"]  # for inspection; no bundle at OUT
    failed = load_bundle(tmp_path / "bundle.failed")
    assert not failed.manifest.variants[0].check.passed
    assert call("verify", tmp_path / "bundle.failed") == 1
    monkeypatch.undo()
    assert call(checkpoint, "--target", "onnx", "--quantize", "none", "--out", out) == 0
    assert leftovers(tmp_path) == ["bundle"]


def test_one_bad_variant_leaves_the_report_of_the_others(checkpoint, tmp_path, capsys):
    out = tmp_path / "bundle"
    words = (checkpoint, "--target", "onnx", "--tolerance", "int8=1", "--out", out, "--json")
    assert call(*words) == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert {v["name"]: v["state"] for v in result["variants"]} == {"onnx-float32": "passed", "onnx-int8": "failed"}
    assert not result["passed"]
    assert "widen --tolerance" in captured.err
    assert not out.exists()


def test_a_builder_that_breaks_is_a_state_of_its_own(checkpoint, tmp_path, capsys, monkeypatch):
    from distill.console import Failure

    def broken(*_: object, **__: object) -> None:
        raise Failure("the converter gave up", "report it")

    monkeypatch.setattr("export.formats.onnx.convert.quantize_onnx", broken)
    assert call(checkpoint, "--target", "onnx", "--out", tmp_path / "b", "--json") == 1
    captured = capsys.readouterr()
    states = {v["name"]: v["state"] for v in json.loads(captured.out)["variants"]}
    assert states == {"onnx-float32": "passed", "onnx-int8": "broken"}
    assert "onnx-int8 broken: the converter gave up" in captured.err
    assert leftovers(tmp_path) == ["b.failed"]


def test_an_exception_of_a_library_does_not_stop_the_others(checkpoint, tmp_path, capsys, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise TypeError("unheard of\nsecond line")

    monkeypatch.setattr("export.formats.onnx.convert.quantize_onnx", broken)
    assert call(checkpoint, "--target", "onnx", "--out", tmp_path / "b", "--json") == 1
    rows = {v["name"]: v for v in json.loads(capsys.readouterr().out)["variants"]}
    assert rows["onnx-float32"]["state"] == "passed"
    assert rows["onnx-int8"]["problem"].startswith("TypeError: unheard of (run again with --debug")


def test_a_student_that_gives_nan_is_refused(pictures, tmp_path, capsys):
    model = student()
    model.linear.weight.data[:] = 3e38  # finite, but its products are not
    write_checkpoint(tmp_path / "nan", model, {"spec": f"folder:{pictures}", "split": "half"})
    assert call(tmp_path / "nan", "--target", "onnx", "--out", tmp_path / "b") == 1
    assert "not finite" in capsys.readouterr().err


def test_ctrl_c_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.pipeline._write_golden", interrupted)
    assert call(checkpoint, "--target", "onnx", "--quantize", "none", "--out", tmp_path / "b") == 130
    assert leftovers(tmp_path) == []


def test_a_full_disk_leaves_nothing(checkpoint, tmp_path, monkeypatch, capsys):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("export.pipeline.shutil.copyfile", full)
    assert call(checkpoint, "--target", "onnx", "--quantize", "none", "--out", tmp_path / "b") == 1
    assert "free some space" in capsys.readouterr().err
    assert leftovers(tmp_path) == []


def test_embeddings_that_are_not_finite_fail(checkpoint, tmp_path, monkeypatch, capsys):
    from export.bundle.runtime import VariantRunner

    honest = VariantRunner.embed
    monkeypatch.setattr(VariantRunner, "embed", lambda self, pixels: honest(self, pixels) * np.nan)
    assert call(checkpoint, "--target", "onnx", "--quantize", "none", "--out", tmp_path / "b") == 1
    assert "onnx-float32 failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "tflight"], "did you mean 'tflite'"),
        (["--quantize", "int4"], "did you mean 'int8'"),
        (["--target", ABSENT[0], "--quantize", ABSENT[1]], f"no target is {ABSENT[0]} {ABSENT[1]}"),
        (["--target", ","], "--target is empty"),
        (["--io", "int9"], "did you mean 'int8'"),
        (["--target", "onnx", "--io", "uint8"], "--io uint8: no choice for onnx none,int8"),
        (["--tolerance", "int8"], "write NAME=COSINE"),
        (["--tolerance", "int8=2"], "write NAME=COSINE"),
        (["--tolerance", "itn8=0.9"], "did you mean 'int8'"),
        (["--calibration-images", "0"], "calibration-images"),
    ],
)
def test_wrong_usage(checkpoint, tmp_path, words, message: str, capsys):
    assert call(checkpoint, *words, "--out", tmp_path / "b") == 2
    assert message in capsys.readouterr().err
    assert leftovers(tmp_path) == []


def test_a_checkpoint_that_is_none(tmp_path, capsys):
    assert call(tmp_path / "nowhere", "--out", tmp_path / "b") == 1
    assert "nowhere" in capsys.readouterr().err


def test_selection_is_the_table(capfd):
    everything = select_targets("all", "all", "all")
    assert everything == [target for target in all_targets() if not target.optional]
    assert " ".join(ABSENT) in capfd.readouterr().err
    assert [t.name for t in select_targets("onnx,tflite", "int8,none")] == [
        "tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8",
    ]  # fmt: skip
    assert select_targets("all", ABSENT[1]) == [row for row in ROWS.values() if row.quantize == ABSENT[1]]
    assert [t.name for t in select_targets("tflite,onnx", "int8", "uint8,float32")] == [
        "tflite-int8-io-uint8", "tflite-int8-io-float32", "onnx-int8",
    ]  # fmt: skip
    assert [t.name for t in select_targets("tflite", "int8,int16x8")] == ["tflite-int8", "tflite-int16x8"]
    assert [t.name for t in select_targets("tflite", "int8,int16x8", "int16")] == [
        "tflite-int8", "tflite-int16x8-io-int16",
    ]  # fmt: skip
    assert [t.name for t in select_targets("tflite", "int16x8", "auto,int16")] == [
        "tflite-int16x8", "tflite-int16x8-io-int16",
    ]  # fmt: skip
    with pytest.raises(UsageFailure, match=f"no target is {' '.join(ABSENT)}"):
        select_targets(f"tflite,{ABSENT[0]}", ABSENT[1])


def test_tolerances_name_a_variant_or_a_precision():
    limits = parse_tolerances(["int8=0.8", "onnx-int8=0.7"], ["int8", "onnx-int8"])
    assert limits["int8"].min_cosine == 0.8
    assert limits["onnx-int8"].min_cosine == 0.7
    assert limits["int8"].mean_cosine is None
