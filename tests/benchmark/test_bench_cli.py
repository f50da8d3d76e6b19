from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import benchmark_fakes as fakes
import pytest

from benchmark.cli import app
from benchmark.gates import Limits
from distill.console import run_app

FAST = ["--seconds", "0"]


@pytest.fixture(autouse=True)
def no_adb(monkeypatch):
    """Leave attached phones alone, and start no server."""
    which = shutil.which
    monkeypatch.setattr(
        "shutil.which", lambda name, *more, **other: None if name == "adb" else which(name, *more, **other)
    )


def bench(*arguments: object) -> int:
    return run_app(app, [str(argument) for argument in arguments])


def test_a_run_prints_and_writes(bundle_dir, toy_engines, tmp_path, capsys):
    out, page = tmp_path / "new" / "r.json", tmp_path / "r.html"
    assert bench(bundle_dir, *FAST, "--json-out", out, "--html", page) == 0
    printed = capsys.readouterr()
    for word in (*fakes.VARIANTS, "R@1", "p99", "20 images of 4 classes"):
        assert word in printed.out
    value = json.loads(out.read_text())
    assert [variant["name"] for variant in value["variants"]] == list(fakes.VARIANTS)
    assert all(variant["latency_ms"]["samples"] >= 100 for variant in value["variants"])
    assert value["verdict"]["pass"] is True
    assert value["pytorch"] is None and value["variants"][0]["recall_drop"] is None
    assert "--checkpoint" in value["verdict"]["text"]
    assert page.read_text().startswith("<!doctype html>")


def test_a_limit_exceeded_is_exit_code_one_and_the_files_are_there(bundle_dir, toy_engines, tmp_path, capsys):
    out, page = tmp_path / "r.json", tmp_path / "r.html"
    assert bench(bundle_dir, *FAST, "--json-out", out, "--html", page, "--max-size-kb", "1") == 1
    assert "Over the limit: size" in capsys.readouterr().out
    assert json.loads(out.read_text())["verdict"]["pass"] is False and page.exists()
    assert bench(bundle_dir, *FAST, "--max-size-kb", "100000", "--max-latency-ms", "10000") == 0


def test_a_collapsed_int8_is_caught_by_the_gate(bundle_dir, toy_engines, tmp_path, monkeypatch):
    fakes.replace_torch(monkeypatch)
    arguments = [
        bundle_dir,
        *FAST,
        "--checkpoint",
        tmp_path,
        "--max-recall-drop",
        "1",
        "--json-out",
        tmp_path / "r.json",
    ]
    assert bench(*arguments) == 0
    toy_engines["tflite-int8"] = fakes.ToyRunner(noise=1.0)
    assert bench(*arguments) == 1
    int8 = json.loads((tmp_path / "r.json").read_text())["variants"][1]
    assert int8["recall_drop"]["1"]["value"] > 0.1 and int8["flips"]["lost_keys"]


def test_a_bundle_that_preprocesses_otherwise_is_caught(bundle_dir, toy_engines, tmp_path, monkeypatch, capsys):
    fakes.replace_torch(monkeypatch, {"resize_size": 40})
    bench(bundle_dir, *FAST, "--checkpoint", tmp_path, "--json-out", tmp_path / "r.json")
    assert "preprocesses images differently" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["variants"][0]["cosine"]["mean"] < 0.99


def test_a_variant_that_fails_leaves_the_others(bundle_dir, toy_engines, tmp_path, capsys):
    toy_engines["onnx-float32"] = RuntimeError("unsupported")
    assert bench(bundle_dir, *FAST, "--json-out", tmp_path / "r.json") == 0
    failed = json.loads((tmp_path / "r.json").read_text())["variants"][2]
    assert (failed["status"], failed["error"], failed["latency_ms"]) == ("failed", "unsupported", None)
    toy_engines["tflite-int8"] = RuntimeError("unsupported")  # the candidate itself
    assert bench(bundle_dir, *FAST) == 1


def test_unreadable_images_are_counted(bundle_dir, photos, toy_engines, tmp_path):
    (photos / "class07" / "0.png").write_bytes(b"no image")
    (photos / "class04" / "0.png").write_bytes(b"")
    assert bench(bundle_dir, *FAST, "--json-out", tmp_path / "r.json") == 0
    data = json.loads((tmp_path / "r.json").read_text())["data"]
    assert (data["images"], data["skipped"]) == (18, 2)


def test_variants_and_candidate_can_be_chosen(bundle_dir, toy_engines, tmp_path, capsys):
    out = tmp_path / "r.json"
    assert bench(bundle_dir, *FAST, "--variant", "onnx-float32", "--json-out", out) == 0
    value = json.loads(out.read_text())
    assert len(value["variants"]) == 1 and value["verdict"]["candidate"] == "onnx-float32"


def test_trained_classes_cause_a_warning(bundle_dir, toy_engines, tmp_path, monkeypatch, capsys):
    fakes.replace_torch(monkeypatch, trained=["class00", "class01", "class02", "class03"])
    assert bench(bundle_dir, *FAST, "--checkpoint", tmp_path) == 0
    assert "trained on" not in capsys.readouterr().out
    assert bench(bundle_dir, *FAST, "--checkpoint", tmp_path, "--split", "2") == 0
    assert "2 of 6 classes were trained on" in capsys.readouterr().out
    assert bench(bundle_dir, *FAST, "--split", "2") == 0  # the bundle holds no names: its data is opened
    assert "2 of 6 classes were trained on" in capsys.readouterr().out
    assert bench(bundle_dir, *FAST) == 0
    assert "trained on" not in capsys.readouterr().out
    assert bench(bundle_dir, *FAST, "--part", "all") == 0
    assert "all part, which holds classes that the model was trained on" in capsys.readouterr().out


def errors(capsys) -> str:
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--device", "hots"], 2, "did you mean 'host'"),
        (["--device", "adb"], 1, "no adb on this computer"),
        (["--device", "adb:emulator-5554"], 1, "platform tools"),
        (["--device", "adb", "--remote-folder", "here"], 2, "absolute path"),
        (["--delegate", "xnpack"], 2, "did you mean 'xnnpack'"),
        (["--device", "ssh://"], 2, "for example ssh://"),
        (["--device", "emulated-arm64"], 2, "no folder given"),
        (["--device", "emulated-arm64:/nowhere"], 1, "arm64-root.sh"),
        (["--device", "host:0"], 2, "no such device"),
        (["--data", "glphs"], 2, "glyphs"),
        (["--data", "folder:/nowhere/at/all"], 1, "/nowhere/at/all"),
        (["--split", "thirds"], 2, "thirds"),
        (["--part", "tset"], 2, "did you mean 'test'"),
        (["--variant", "tflite-int4"], 2, "tflite-int8"),
        (["--candidate", "tflite-int4"], 2, "tflite-int8"),
        (["--max-recall-drop", "1"], 2, "--checkpoint"),
        (["--checkpoint", "/nowhere"], 1, "/nowhere: no such checkpoint folder"),
        (["--checkpoint", "/"], 1, "/: no checkpoint here (no model.json)"),
        (["--reference", "teacher=/"], 1, "/: no checkpoint here (no model.json)"),
        (["--reference", "=x"], 2, "NAME=DIR"),
        (["--reference", "a=.", "--reference", "a=."], 2, "used twice"),
        (["--threads", "0"], 2, "threads"),
        (["--threads", "100000"], 2, "threads"),
        (["--max-recall-drop", "nan"], 2, "--max-recall-drop nan: not a limit"),
        (["--limit", "1"], 2, "limit"),
        (["--html", "."], 2, "is a folder"),
    ],
)
def test_bad_arguments(bundle_dir, toy_engines, capsys, arguments, code, message):
    assert bench(bundle_dir, *FAST, *arguments) == code
    assert message in errors(capsys).replace("\n", " ")


def test_what_cannot_be_measured_is_found_before_the_latency(bundle_dir, toy_engines, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fakes.ToyRunner, "invoke", lambda *_: pytest.fail("measured first"))
    assert bench(bundle_dir, *FAST, "--data", "glyphs:classes=4", "--from", "files") == 2
    assert "are not files" in errors(capsys)
    one = fakes.make_photos(tmp_path / "one")
    for folder in sorted(path for path in one.iterdir() if path.is_dir())[1:]:
        shutil.rmtree(folder)
    assert bench(bundle_dir, *FAST, "--data", f"folder:{one}?labels=yes", "--part", "all") == 1
    assert "one class" in errors(capsys)


def test_nothing_is_written_into_the_bundle(bundle_dir, toy_engines, capsys):
    assert bench(bundle_dir, *FAST, "--json-out", bundle_dir / "r.json") == 2
    assert f"is inside {bundle_dir}" in errors(capsys).replace("\n", "")


def test_a_missing_or_damaged_bundle(bundle_dir, tmp_path, capsys):
    assert bench(tmp_path / "none", *FAST) == 1
    assert "not a bundle" in errors(capsys)
    (bundle_dir / "tflite-int8.bin").write_bytes(b"short")
    assert bench(bundle_dir, *FAST) == 1
    assert "tflite-int8.bin" in errors(capsys)


def test_a_folder_without_classes(bundle_dir, toy_engines, tmp_path, capsys):
    (tmp_path / "empty" / "class").mkdir(parents=True)
    assert bench(bundle_dir, *FAST, "--data", f"folder:{tmp_path / 'empty'}") == 1
    assert "empty" in errors(capsys)


def test_a_full_disk_costs_the_file_but_not_the_figures(bundle_dir, toy_engines, tmp_path, monkeypatch, capsys):
    def full(path, value):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("distill.files.write_json", full)
    assert bench(bundle_dir, *FAST, "--json-out", tmp_path / "r.json") == 1
    printed = capsys.readouterr()
    assert "tflite-int8" in printed.out and "No space left" in printed.err


def test_show_prints_an_earlier_result(bundle_dir, toy_engines, tmp_path, capsys):
    bench(bundle_dir, *FAST, "--json-out", tmp_path / "r.json")
    first = capsys.readouterr().out
    assert bench("show", tmp_path / "r.json", "--html", tmp_path / "again.html") == 0
    assert capsys.readouterr().out == first
    assert "<img" not in (tmp_path / "again.html").read_text()
    assert bench("show", tmp_path / "none.json") == 1


def test_devices_lists_what_there_is(capsys):
    assert bench("devices") == 0
    assert "host" in capsys.readouterr().out
    assert bench("devices", "--json") == 0
    rows = {row["name"]: row["status"] for row in json.loads(capsys.readouterr().out)}
    assert rows["host"] == "ready" and rows["adb[:serial]"] == "no adb here"


def test_help_has_examples(capsys):
    assert bench("--help") == 0
    assert "distill-bench BUNDLE" in capsys.readouterr().out
    assert bench("run", "--help") == 0
    assert "--max-recall-drop" in capsys.readouterr().out


def test_help_names_what_is_experimental(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert bench("run", "--help") == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (
        "gpu (phones only; experimental, never run on a device)",
        "nnapi (phones only; experimental, never run on a device)",
        "Energy per inference, from the battery's own counter (experimental, never run on a device)",
    ):
        assert words in text


def test_every_device_option_and_limit_is_a_flag(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert bench("run", "--help") == 0
    text = capsys.readouterr().out
    for flag in ("ssh-identity", "ssh-known-hosts", "ssh-config", "remote-python", "remote-folder", "android-runner"):
        assert f"--{flag} " in text
    for name in Limits.model_fields:
        assert f"--{name.replace('_', '-')} " in text


def test_a_run_without_checkpoint_imports_no_training_library(bundle_dir, tmp_path):
    """In a process of its own, with toys in place of the engines."""
    program = textwrap.dedent("""
        import sys
        sys.path.insert(0, sys.argv[1])
        import benchmark, benchmark.cli, benchmark.run, benchmark.report.html
        import benchmark.devices.host, benchmark_fakes
        benchmark.devices.host.open_variant = lambda *a: benchmark_fakes.ToyRunner()
        benchmark.devices.host.Host.peak_memory = lambda *a: {}
        code = benchmark.cli.run_app(benchmark.cli.app, sys.argv[2:])
        heavy = {"torch", "tensorflow", "timm", "sklearn", "faiss", "torchvision", "matplotlib"} & set(sys.modules)
        print("HEAVY", sorted(heavy), "CODE", code)
    """)
    arguments = [bundle_dir, *FAST, "--json-out", tmp_path / "r.json", "--html", tmp_path / "r.html"]
    done = subprocess.run(
        [sys.executable, "-c", program, Path(fakes.__file__).parent, *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert "HEAVY [] CODE 0" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "r.html").exists()
