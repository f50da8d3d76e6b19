"""arm64 under qemu: errors without it; everything if ARM64_ROOT is a folder made by scripts/arm64-root.sh."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import benchmark_fakes as fakes
import numpy as np
import pytest
import tiny_models

from benchmark.cli import app
from benchmark.devices import open_device
from benchmark.devices.base import Timing
from benchmark.timing import Plan
from distill.console import Failure, run_app
from export.bundle import load_bundle

ROOT = os.environ.get("ARM64_ROOT", "")
emulator = pytest.mark.skipif(not ROOT, reason="ARM64_ROOT is not set: sh scripts/arm64-root.sh FOLDER makes one")


@pytest.fixture
def real_bundle(tmp_path: Path, photos: Path) -> Path:
    models = {"tflite": tiny_models.tflite_model(fakes.SIDE), "onnx": tiny_models.onnx_model(fakes.SIDE)}
    return fakes.make_bundle(tmp_path / "real", f"folder:{photos}", ("tflite-float32",), models=models)


def make_root(folder: Path, qemu: str) -> Path:
    for path, text in ((folder / "usr/bin/python3.11", "#!/bin/sh\n"), (folder / "qemu-aarch64-static", qemu)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return folder


def test_an_emulator_that_does_not_run_it_is_an_error_not_a_result(tmp_path):
    root = make_root(tmp_path / "root", "#!/bin/sh\necho 'Invalid ELF image for this architecture' >&2\nexit 255\n")
    with pytest.raises(Failure, match="Invalid ELF image"):
        open_device(f"emulated-arm64:{root}", remote_folder=str(tmp_path / "files"))


def test_a_missing_emulator_is_an_error_with_a_cure(tmp_path, monkeypatch):
    root = make_root(tmp_path / "root", "")
    (root / "qemu-aarch64-static").unlink()
    monkeypatch.setattr("benchmark.devices.emulated.shutil.which", lambda name: None)
    with pytest.raises(Failure, match="no qemu-aarch64-static") as failure:
        open_device(f"emulated-arm64:{root}")
    assert "arm64-root.sh" in failure.value.cure


def test_what_an_emulated_device_reports(real_bundle, tmp_path):
    """With this computer's Python in place of qemu: -L ROOT PYTHON are the first words."""
    root = make_root(
        tmp_path / "root", f'#!/bin/sh\nshift 3\nunset PYTHONHOME PYTHONPATH\nexec {sys.executable} "$@"\n'
    )
    device = open_device(f"emulated-arm64:{root}", remote_folder=str(tmp_path / "files"))
    machine = device.describe()
    assert device.emulated and machine.emulated and machine.device == "emulated-arm64"
    assert machine.cpu.startswith("arm64, emulated by qemu on ") and machine.governor is machine.max_mhz is None
    bundle, images = load_bundle(real_bundle), np.zeros((2, 16, 16, 3), np.uint8)
    assert device.measure_latency(bundle, ("tflite-float32",), images, Plan()) == ({"tflite-float32": Timing()}, None)
    assert device.peak_memory(bundle, ("tflite-float32",)) == {}
    device.close(True)
    assert not (tmp_path / "files").exists()


@emulator
@pytest.mark.slow
def test_arm64_embeds_like_this_computer_and_shows_no_time(real_bundle, tmp_path):
    out = tmp_path / "r.json"
    arguments = [
        "--device",
        f"emulated-arm64:{ROOT}",
        "--remote-folder",
        str(tmp_path / "files"),
        "--json-out",
        str(out),
    ]
    assert run_app(app, [str(real_bundle), *arguments]) == 0
    value = json.loads(out.read_text())
    machine, (variant,) = value["machine"], value["variants"]
    assert machine["emulated"] and machine["device"] == "emulated-arm64" and machine["latency"] is None
    assert "aarch64" in machine["os"] and variant["status"] == "ok"
    for name in ("latency_ms", "end_to_end_ms", "init_ms", "memory_bytes"):
        assert variant[name] is None
    assert variant["recall"]["1"] > 0.9
    assert (
        run_app(app, [str(real_bundle), *arguments, "--max-latency-ms", "1000"]) == 1
    )  # a limit on what was not measured is not kept


@emulator
@pytest.mark.slow
def test_arm64_embeddings(real_bundle, tmp_path):
    device = open_device(f"emulated-arm64:{ROOT}", remote_folder=str(tmp_path / "files"))
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    there = device.embed(load_bundle(real_bundle), ("tflite-float32",), [images], 1)["tflite-float32"]
    device.close(True)
    assert np.allclose(there.embeddings, fakes.ToyRunner().embed(images), atol=1e-5)
    assert not (tmp_path / "files").exists()
