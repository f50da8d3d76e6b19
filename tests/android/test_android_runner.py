"""The Java runner with the real Python side, on a computer with the engine of module jvm."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import java_build
import numpy as np
import pytest

from benchmark.devices import jobs, power
from benchmark.devices.host import Host
from benchmark.devices.local import Local
from benchmark.devices.python_side import PythonSide
from benchmark.devices.remote import Remote
from benchmark.devices.side import Content, Message
from benchmark.system import machine_facts
from benchmark.timing import Plan
from export.bundle import Bundle

pytestmark = pytest.mark.slow

VARIANTS = ["tflite-int8", "tflite-float32"]


class JavaSide(PythonSide):
    """Runs the Java runner instead of the Python one; Python manages the folder."""

    def program(self) -> Mapping[str, Content]:
        code = java_build.classpath().encode()
        return {hashlib.sha256(code).hexdigest(): code}

    def start(self, command: str, cpus: Sequence[int] = ()) -> Sequence[str]:
        return [
            "java",
            "-Xmx512m",
            "-cp",
            java_build.classpath(),
            "org.distilltophone.jvm.RunnerMain",
            command,
            self.folder,
        ]

    def facts(self, told: Message) -> Message:
        return machine_facts() | {"packages": told["machine"]["packages"]}


@pytest.fixture
def device(tmp_path: Path):
    java_build.classpath()
    remote = Remote("java", JavaSide(Local(), sys.executable, str(tmp_path / "device")))
    yield remote
    remote.close(True)
    assert not (tmp_path / "device").exists()


@pytest.fixture
def pixels(bundle: Bundle) -> np.ndarray:
    return bundle.golden_pixels()


def test_embeds_as_the_host_does(device: Remote, bundle: Bundle, pixels: np.ndarray) -> None:
    batches = [pixels[:3], pixels[3:], pixels[:3]]  # one of them twice
    found = device.embed(bundle, VARIANTS, batches, threads=1)
    expected = Host().embed(bundle, VARIANTS, batches, threads=1)
    np.testing.assert_array_equal(found["tflite-int8"].embeddings, expected["tflite-int8"].embeddings)
    np.testing.assert_allclose(found["tflite-float32"].embeddings, expected["tflite-float32"].embeddings, atol=1e-5)


def test_other_input_tensors_are_refused(device: Remote, bundle: Bundle, pixels: np.ndarray) -> None:
    assert all(bundle.manifest.golden.expected[name].input_sha256 for name in VARIANTS)
    preprocessing = bundle.manifest.preprocessing.model_copy(update={"mean": (127.5,) * 3})
    odd = Bundle(bundle.directory, bundle.manifest.model_copy(update={"preprocessing": preprocessing}))
    for found in device.embed(odd, VARIANTS, [pixels], threads=1).values():
        assert "the input tensors of the golden images are not those of the export" in found.error


def test_plain_kernels_are_those_of_the_host(device: Remote, bundle: Bundle, pixels: np.ndarray) -> None:
    host = Host()
    device.delegate = host.delegate = "none"
    found, expected = (
        device.embed(bundle, VARIANTS, [pixels], threads=1),
        host.embed(bundle, VARIANTS, [pixels], threads=1),
    )
    for name in VARIANTS:
        assert (np.sum(found[name].embeddings * expected[name].embeddings, axis=1) > 0.999).all()
    device.delegate = "nnapi"
    assert "no delegate 'nnapi'" in device.embed(bundle, VARIANTS, [pixels], threads=1)["tflite-int8"].error


def test_times_by_the_plan(device: Remote, bundle: Bundle, pixels: np.ndarray) -> None:
    plan = Plan(seconds=0, min_samples=30, max_samples=2000, warmup_max_runs=40, rest_ms=1)
    timings, conduct = device.measure_latency(bundle, VARIANTS, pixels, plan)
    assert conduct is not None and conduct.rounds == 3 and conduct.threads == 1 and conduct.rest_ms == 1
    for timing in timings.values():
        assert timing.error is None and timing.init_ms > 0 and timing.first_run_ms > 0
        assert len(timing.samples.invoke) == 30 and len(timing.samples.end_to_end) == 6
        assert all(0 < sample < 60e9 for sample in timing.samples.invoke)
        assert 10 <= timing.samples.warmup_runs <= 40
    assert device.describe().packages["tensorflow-lite"]


def test_what_it_cannot_run_is_told(device: Remote, bundle: Bundle, pixels: np.ndarray) -> None:
    foreign = bundle.manifest.variants[0].model_copy(update={"name": "onnx-float32", "format": "onnx"})
    manifest = bundle.manifest.model_copy(update={"variants": (*bundle.manifest.variants, foreign)})
    odd = Bundle(directory=bundle.directory, manifest=manifest)
    found = device.embed(odd, ["onnx-float32", "tflite-int8"], [pixels], threads=1)
    assert "onnx" in found["onnx-float32"].error and found["tflite-int8"].error is None
    timings, _ = device.measure_latency(odd, ["onnx-float32"], pixels, Plan(seconds=0))
    assert "onnx" in timings["onnx-float32"].error


def test_memory_of_a_model(device: Remote, bundle: Bundle) -> None:
    for found in device.peak_memory(bundle, ["tflite-int8"]).values():  # nothing where /proc forbids it
        assert 0 <= found.added < found.process


def test_energy_of_a_model(device: Remote, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a battery that always supplies half an ampere."""
    battery = tmp_path / "supplies" / "battery"
    battery.mkdir(parents=True)
    for file, text in {
        "type": "Battery",
        "status": "Discharging",
        "current_now": "-500000",
        "voltage_now": "4000000",
    }.items():
        (battery / file).write_text(f"{text}\n")
    monkeypatch.setattr(power, "SUPPLIES", str(tmp_path / "supplies"))
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 0.5)
    found = device.energy(bundle, ["tflite-int8"], Plan(), 5)["tflite-int8"]
    assert found.watts == pytest.approx(2.0) and found.seconds >= 5 and found.inferences > 10
    assert found.mj_per_inference == pytest.approx(2e3 * found.seconds / found.inferences)


def test_damage_and_nonsense(tmp_path: Path) -> None:
    for part in ("incoming", "files", "results"):
        (tmp_path / part).mkdir()
    name = hashlib.sha256(b"right").hexdigest()
    (tmp_path / "files" / name).write_bytes(b"wrong")
    job = {"threads": 1, "variants": {"x": {"model": name}}, "chunks": []}
    assert tell(tmp_path, "embed", json.dumps(job)) == [{"damaged": name}]
    assert not (tmp_path / "files" / name).exists()
    for nonsense in ("{", "[]", "{}", json.dumps({**job, "variants": {"x": {"model": "../../etc/passwd"}}})):
        (answer,) = tell(tmp_path, "embed", nonsense)
        assert answer["error"]
    assert "unknown command" in tell(tmp_path, "dance", "{}")[0]["error"]


def tell(folder: Path, command: str, stdin: str) -> list[dict]:
    done = subprocess.run(
        ["java", "-cp", java_build.classpath(), "org.distilltophone.jvm.RunnerMain", command, folder],
        input=stdin,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    return [json.loads(line.partition("@distill-bench ")[2]) for line in done.stdout.splitlines()]


def test_an_engine_that_does_not_load_is_told(tmp_path: Path) -> None:
    # The phone's main class, on a computer without the phone's library.
    path = f"{java_build.classpath()}:{java_build.DEMO / 'tflite/target/classes'}:{java_build.DEMO / 'decoder/target/classes'}"
    command = ["java", "-cp", path, "org.distilltophone.runner.Main", "describe", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "the engine does not load" in json.loads(done.stdout.partition("@distill-bench ")[2])["error"]
