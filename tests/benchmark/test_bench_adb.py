"""Phones: the real adb client and server against a fake daemon, see adb_daemon.py."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

import adb_daemon
import android_fakes
import benchmark_fakes as fakes
import numpy as np
import pytest
import tiny_models

from benchmark.cli import app
from benchmark.devices import open_device
from benchmark.devices.base import Device, Timing
from benchmark.devices.transport import Died, Lost, Undecodable
from benchmark.timing import Plan
from distill.console import Failure, UsageFailure, run_app
from export.bundle import load_bundle

NAMES = ("tflite-float32", "onnx-float32")
TFLITE = NAMES[:1]
SHORT = Plan(seconds=0, min_samples=20, max_samples=20, warmup_max_runs=20)
THERE = "data/local/tmp/distill-bench"
ARM64 = os.environ.get("ARM64_ROOT", "")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    reason = adb_daemon.why_not()
    if reason:
        pytest.skip(reason)
    found = adb_daemon.AdbServer(tmp_path_factory.mktemp("adb"))
    yield found
    found.close()


@pytest.fixture
def phone(server, tmp_path, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    found = adb_daemon.FakePhone(tmp_path / "phone")
    android_fakes.install(found, android_fakes.board_runner(found, [sys.executable]))
    server.connect(found)
    yield found
    found.close()
    server.adb("disconnect", found.serial)


@pytest.fixture
def options(tmp_path) -> dict:
    return {"android_runner": android_fakes.make_runner(tmp_path / "built")}


@pytest.fixture
def bundle_dir(tmp_path: Path, photos: Path) -> Path:
    models = {"tflite": tiny_models.tflite_model(fakes.SIDE), "onnx": tiny_models.onnx_model(fakes.SIDE)}
    return fakes.make_bundle(tmp_path / "bundle", f"folder:{photos}", NAMES, models=models)


def batches(count: int = 4, size: int = 5) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return list(random.integers(0, 256, (count, size, fakes.SIDE, fakes.SIDE, 3), dtype=np.uint8))


def expected(images: list[np.ndarray]) -> np.ndarray:
    return fakes.ToyRunner().embed(np.concatenate(images))


def reach(phone, options) -> Device:
    return open_device(f"adb:{phone.serial}", **options)


@pytest.mark.slow
@pytest.mark.parametrize("features", ["shell_v2,cmd", "shell_v2,cmd,stat_v2"])
def test_end_to_end(server, phone, options, bundle_dir, tmp_path, features):
    phone.features = features
    server.connect(phone)
    out = tmp_path / "r.json"
    arguments = ["--device", f"adb:{phone.serial}", "--android-runner", str(options["android_runner"]), "--part", "all"]
    assert run_app(app, [str(bundle_dir), *arguments, "--json-out", str(out), "--html", str(tmp_path / "r.html")]) == 0
    value = json.loads(out.read_text())
    machine, (ours, other) = value["machine"], value["variants"]
    assert machine["device"] == f"adb:{phone.serial}" and machine["emulated"] and machine["os"] == "Android 14"
    assert machine["python"] is None and machine["cpu"] == "Google GS101" and machine["packages"]["ai-edge-litert"]
    assert (
        machine["phone"]["abi"] == "arm64-v8a"
        and machine["phone"]["sdk"] == 34
        and machine["phone"]["battery_percent"] == 84
    )
    assert machine["phone"]["fingerprint"].startswith("google/oriole") and machine["phone"]["battery_celsius"] == 28.7
    assert ours["recall"]["1"] > 0.9 and ours["latency_ms"] is None and ours["memory_bytes"] is None
    assert other["status"] == "failed" and "TFLite only" in other["error"]  # a result, not a crash
    assert not (phone.root / THERE).exists()  # nothing is left behind
    assert "withheld: emulated" in (tmp_path / "r.html").read_text() and "Pixel 6" in (tmp_path / "r.html").read_text()
    # A limit on something that was not measured is not kept.
    assert run_app(app, [str(bundle_dir), *arguments, "--max-latency-ms", "1000"]) == 1


def test_embeddings_are_bit_identical(phone, options, bundle_dir):
    images, bundle = batches(), load_bundle(bundle_dir)
    device = reach(phone, options)
    there = device.embed(bundle, NAMES, images, 1)
    here = open_device("host").embed(bundle, TFLITE, images, 1)
    assert np.array_equal(there[NAMES[0]].embeddings, here[NAMES[0]].embeddings)
    assert "TFLite only" in there[NAMES[1]].error
    alone = device.embed(bundle, NAMES[1:], images, 1)
    assert "TFLite only" in alone[NAMES[1]].error
    device.close(True)


@pytest.mark.parametrize("delegate", ["gpu", "nnapi"])
def test_a_delegate_that_is_not_there_is_a_result(phone, options, bundle_dir, delegate):
    device = reach(phone, options | {"delegate": delegate})
    found = device.embed(load_bundle(bundle_dir), NAMES, batches(1), 1)
    assert f"no delegate '{delegate}'" in found[NAMES[0]].error and "TFLite only" in found[NAMES[1]].error
    sent = {path.name for path in phone.root.glob(f"{THERE}/program/*/*")}
    assert ("libtensorflowlite_gpu_jni.so" in sent) == (delegate == "gpu")
    device.close(True)
    (options["android_runner"] / "jni/arm64-v8a/libtensorflowlite_gpu_jni.so").unlink()
    device = reach(phone, options | {"delegate": "gpu"})
    assert "make android" in device.embed(load_bundle(bundle_dir), NAMES, batches(1), 1)[NAMES[0]].error
    device.close(True)


def test_a_driver_that_crashes_the_process_is_a_result(phone, options, bundle_dir):
    program = (phone.root / "system/bin/app_process").read_text().removeprefix("#!/bin/sh\n")
    phone.program("app_process", f'[ "$4" = describe ] || kill -SEGV $$\n{program}')
    device = reach(phone, options | {"delegate": "nnapi"})
    _timings, how = device.measure_latency(load_bundle(bundle_dir), NAMES, batches(1)[0], SHORT)
    found = device.embed(load_bundle(bundle_dir), NAMES, batches(1), 1)
    assert how is None and "with nnapi, our program there was killed (status 139)" in found[NAMES[0]].error
    device.close(True)
    device = reach(phone, options)  # an error with other delegates
    with pytest.raises(Died, match="was killed"):
        device.embed(load_bundle(bundle_dir), TFLITE, batches(1), 1)
    device.close(True)


def test_energy_is_refused_on_the_cable(server, phone, options, bundle_dir, monkeypatch):
    """The shell hides the battery's files, and Android's service reports that USB powers the phone."""
    monkeypatch.setattr("benchmark.devices.power.SUPPLIES", str(phone.root / "none"))
    device, bundle = reach(phone, options), load_bundle(bundle_dir)
    with pytest.raises(Failure, match="is emulated"):
        device.energy(bundle, TFLITE, SHORT, 5)
    android_fakes.install(phone, android_fakes.board_runner(phone, [sys.executable]), ro_boot_qemu="")
    real = reach(phone, options)
    with pytest.raises(Failure, match="status 'Charging'.*over Wi-Fi"):
        real.energy(bundle, TFLITE, SHORT, 5)
    real.close(True)


def photos_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("*.png"))]


def test_images_that_the_phone_decodes(server, phone, options, bundle_dir, photos, monkeypatch):
    """With this computer's Python as the runner; a run resumes after the cable was pulled half way."""
    android_fakes.install(phone, android_fakes.board_runner(phone, [sys.executable]), ro_boot_qemu="")
    files = photos_of(photos)
    some = [files[start : start + 10] for start in range(0, 40, 10)]
    monkeypatch.setattr("benchmark.devices.remote.WINDOW_BYTES", 1)  # one batch per window
    device, bundle = reach(phone, options), load_bundle(bundle_dir)
    phone.cut_after = phone.received + sum(map(len, [*some[0], *some[1], *some[2]]))
    with pytest.raises(Lost):
        device.embed(bundle, TFLITE, some, 1)
    device.close(False)
    server.connect(phone)
    done = {path: path.stat().st_mtime_ns for path in (phone.root / THERE / "results").glob("[!.]*.npy")}
    assert len(done) >= 2 and len(done) % 2 == 0  # embeddings and times
    again = reach(phone, options)
    there = again.embed(bundle, TFLITE, some, 1)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    here = open_device("host")
    assert np.array_equal(there[NAMES[0]].embeddings, here.embed(bundle, TFLITE, some, 1)[NAMES[0]].embeddings)
    assert again.image_ms.shape == here.image_ms.shape == (40, 2) and (again.image_ms > 0).all()
    with pytest.raises(Undecodable) as failure:
        again.embed(bundle, TFLITE, [some[0], [*some[1], b"nonsense"]], 1)
    assert failure.value.number == 20
    phone.disk = phone.stored + 1_000
    with pytest.raises(Failure, match="No space left on device"):
        again.embed(bundle, TFLITE, [files[5:25]], 1)
    phone.disk = None
    again.close(True)


def test_latency_where_the_phone_is_real(server, phone, options, bundle_dir):
    """With this computer's Python as the runner: tests the transfer of the samples, not their size."""
    android_fakes.install(phone, android_fakes.board_runner(phone, [sys.executable]), ro_boot_qemu="")
    device, bundle = reach(phone, options), load_bundle(bundle_dir)
    timings, how = device.measure_latency(bundle, NAMES, batches(1)[0], SHORT)
    assert (
        not device.emulated and len(timings[NAMES[0]].samples.invoke) == 20 and "TFLite only" in timings[NAMES[1]].error
    )
    assert how.vitals_before.celsius == {"BIG": 41.0, "VIRTUAL-SKIN": 30.125} and how.vitals_after.thermal_status == 0
    assert set(device.peak_memory(bundle, NAMES)) <= {NAMES[0]}
    with pytest.raises(Failure, match="are not among those") as failure:
        device.measure_latency(bundle, TFLITE, batches(1)[0], Plan(cpus=(998,)))
    assert "--cpus" in failure.value.cure
    if shutil.which("taskset"):
        one = min(os.sched_getaffinity(0))
        _, pinned = device.measure_latency(bundle, TFLITE, batches(1)[0], Plan(**{**asdict(SHORT), "cpus": (one,)}))
        assert pinned.cpus == [one]
    device.close(True)


def test_a_cable_pulled_while_sending(server, phone, options, bundle_dir):
    bundle, images = load_bundle(bundle_dir), batches(6, 200)
    device = reach(phone, options)
    phone.cut_after = phone.received + 300_000
    with pytest.raises(Lost, match="connection was lost") as failure:
        device.embed(bundle, TFLITE, images, 1)
    device.close(False)
    assert "run the same command again" in failure.value.cure
    server.connect(phone)
    again = reach(phone, options)
    assert np.allclose(again.embed(bundle, TFLITE, images, 1)[NAMES[0]].embeddings, expected(images), atol=1e-5)
    again.close(True)


@pytest.mark.slow
def test_a_run_resumes_after_a_cable_pulled_while_computing(server, phone, options, bundle_dir, monkeypatch):
    monkeypatch.setattr("benchmark.devices.remote.WINDOW_BYTES", 1_000_000)
    bundle, images = load_bundle(bundle_dir), batches(8, 600)  # windows of two batches
    device, results = reach(phone, options), phone.root / THERE / "results"
    phone.pull_cable_when(lambda: len(list(results.glob("[!.]*.npy"))) >= 3)
    with pytest.raises(Lost, match="was at work|connection was lost"):
        device.embed(bundle, TFLITE, images, 1)
    device.close(False)
    server.connect(phone)
    done = {path: path.stat().st_mtime_ns for path in results.glob("[!.]*.npy")}
    assert 3 <= len(done) < 8
    before = phone.received
    again = reach(phone, options)
    there = again.embed(bundle, TFLITE, images, 1)
    assert np.allclose(there[NAMES[0]].embeddings, expected(images), atol=1e-5)
    assert {path: path.stat().st_mtime_ns for path in done} == done  # not computed again
    assert phone.received - before < 0.8 * sum(batch.nbytes for batch in images)  # nor sent again
    again.close(True)


def test_files_damaged_on_the_device_are_sent_again(phone, options, bundle_dir):
    bundle, images = load_bundle(bundle_dir), batches(2)
    device = reach(phone, options)
    device.embed(bundle, TFLITE, images, 1)
    model = phone.root / THERE / "files" / bundle.variant(NAMES[0]).sha256
    model.chmod(0o644)
    model.write_bytes(b"rotten" + model.read_bytes()[6:])
    (phone.root / THERE / "incoming" / ("0" * 64)).write_bytes(b"cut off on the way")
    more = batches(3)
    assert np.allclose(device.embed(bundle, TFLITE, more, 1)[NAMES[0]].embeddings, expected(more), atol=1e-5)
    assert not list((phone.root / THERE / "incoming").iterdir())
    device.close(True)


def test_a_full_disk(phone, options, bundle_dir):
    device = reach(phone, options)
    phone.disk = phone.stored + 2_000
    with pytest.raises(Failure, match="No space left on device") as failure:
        device.embed(load_bundle(bundle_dir), TFLITE, batches(6, 50), 1)
    assert not isinstance(failure.value, Lost) and "free some space" in failure.value.cure
    device.close(True)
    phone.disk = None
    # Too little space according to df is an error before anything is sent.
    phone.program(
        "df",
        "echo Filesystem 1024-blocks Used Available Capacity Mounted on; echo /dev/block/dm-5 112000000 111980000 20000 100% /data",
    )
    device = reach(phone, options)
    with pytest.raises(Failure, match=r"MB to send, .* MB free"):
        device.embed(load_bundle(bundle_dir), TFLITE, batches(2, 3000), 1)
    device.close(True)


def test_a_wrong_processor_and_an_unbuilt_runner(phone, options, tmp_path):
    android_fakes.install(phone, android_fakes.board_runner(phone, [sys.executable]), ro_product_cpu_abi="x86")
    with pytest.raises(Failure, match="its processor is x86, and our runner is built for arm64-v8a"):
        reach(phone, options)
    with pytest.raises(Failure, match="runner.jar") as failure:
        reach(phone, {"android_runner": tmp_path / "nothing"})
    assert "--android-runner" in failure.value.cure


def test_a_program_that_dies_there(phone, options, bundle_dir):
    phone.program("app_process", "echo 'Aborted: cannot link executable' >&2; exit 134")
    with pytest.raises(Failure, match="was killed|ended with status 134"):
        reach(phone, options)
    phone.program("app_process", "exit 0")
    with pytest.raises(Failure, match="printed nothing"):
        reach(phone, options)


def wait_for(server, phone, state: str) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and f"{phone.serial}\t{state}" not in server.adb("devices"):
        time.sleep(0.1)


def test_refused_connections(server, phone, options, capsys):
    server.adb("disconnect", phone.serial)
    with pytest.raises(UsageFailure, match="sees no such device") as failure:
        reach(phone, options)
    assert f"adb connect {phone.serial}" in failure.value.cure
    with pytest.raises(Failure, match="adb sees no device"):
        open_device("adb", **options)
    phone.authorized = False
    server.connect(phone)
    # adb asks again every few seconds, and reports "authorizing" meanwhile.
    until = time.monotonic() + 60
    while True:
        wait_for(server, phone, "unauthorized")
        with pytest.raises(Failure, match="is (unauthorized|authorizing)") as failure:
            open_device("adb", **options)
        assert run_app(app, ["devices", "--json"]) == 0
        row = {row["name"]: row for row in json.loads(capsys.readouterr().out)}[f"adb:{phone.serial}"]
        if "is unauthorized" in str(failure.value) and row["status"] == "unauthorized":
            break
        assert row["status"] in ("unauthorized", "authorizing") and time.monotonic() < until
    assert "allow USB debugging" in failure.value.cure and "allow" in row["what"]


def test_a_phone_lost_after_it_was_opened(server, phone, options, bundle_dir):
    device = reach(phone, options)
    phone.pull_cable()
    with pytest.raises(Lost):
        device.embed(load_bundle(bundle_dir), TFLITE, batches(1), 1)
    device.close(False)


def test_an_old_phone(server, phone, options):
    phone.features = "cmd"
    server.connect(phone)
    with pytest.raises(Failure, match="no exit status") as failure:
        reach(phone, options)
    assert "Android 7" in failure.value.cure


def test_folders(phone, options):
    for folder in ("relative/path", "/data/local/tmp/a;b"):
        with pytest.raises(UsageFailure, match="remote-folder"):
            reach(phone, options | {"remote_folder": folder})
    (phone.root / "data/local/tmp/file").write_text("")
    with pytest.raises(Failure, match="(?i)not a directory|file exists"):
        reach(phone, options | {"remote_folder": "/data/local/tmp/file/x"})


def test_cleaning_keeps_foreign_files(phone, options, bundle_dir):
    (phone.root / THERE).mkdir()
    (phone.root / THERE / "diary").write_text("mine")
    device = reach(phone, options)
    device.embed(load_bundle(bundle_dir), TFLITE, batches(1), 1)
    device.close(True)
    assert [path.name for path in (phone.root / THERE).iterdir()] == ["diary"]


@pytest.mark.slow
@pytest.mark.skipif(not ARM64, reason="ARM64_ROOT is not set: sh scripts/arm64-root.sh FOLDER makes one")
def test_through_qemu_it_is_an_arm64_that_embeds(phone, options, bundle_dir):
    from benchmark.devices.emulated import arm64_python

    command, environment = arm64_python(Path(ARM64))
    android_fakes.install(phone, android_fakes.board_runner(phone, command), environment)
    device, bundle, images = reach(phone, options), load_bundle(bundle_dir), batches(2)
    there = device.embed(bundle, TFLITE, images, 1)[NAMES[0]].embeddings
    here = open_device("host").embed(bundle, TFLITE, images, 1)[NAMES[0]].embeddings
    assert device.emulated and np.allclose(there, here, atol=1e-6)
    timings, how = device.measure_latency(bundle, TFLITE, images[0], SHORT)
    assert timings == {NAMES[0]: Timing()} and how is None
    device.close(True)


@pytest.mark.slow
def test_the_java_runner_answers(phone, options, bundle_dir, monkeypatch):
    """The code that a phone runs, except for the engine, on this computer's JVM."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "android"))
    java_build = pytest.importorskip("java_build")
    words = ["java", "-Xmx512m", "-cp", java_build.classpath(), "org.distilltophone.jvm.RunnerMain"]
    android_fakes.install(phone, words, {"HOME": str(phone.root)}, ro_boot_qemu="")
    device, bundle, images = reach(phone, options), load_bundle(bundle_dir), batches(2)
    assert device.describe().packages["tensorflow-lite"]
    there = device.embed(bundle, NAMES, images, 1)
    assert (
        np.allclose(there[NAMES[0]].embeddings, expected(images), atol=1e-5) and "TFLite only" in there[NAMES[1]].error
    )
    timings, how = device.measure_latency(bundle, NAMES, images[0], SHORT)
    assert len(timings[NAMES[0]].samples.invoke) == 20 and how.vitals_after.thermal_status == 0
    for memory in device.peak_memory(bundle, TFLITE).values():
        assert 0 <= memory.added < memory.process
    device.close(True)
    assert not (phone.root / THERE).exists()
    plain = reach(phone, options | {"delegate": "none"})
    found = plain.embed(bundle, TFLITE, images, 1)[NAMES[0]]
    assert np.allclose(found.embeddings, expected(images), atol=1e-5)
    assert plain.measure_latency(bundle, TFLITE, images[0], SHORT)[0][NAMES[0]].samples
    plain.close(True)
    other = reach(phone, options | {"delegate": "gpu"})
    assert "no delegate 'gpu'" in other.embed(bundle, TFLITE, images, 1)[NAMES[0]].error
    timings, how = other.measure_latency(bundle, TFLITE, images[0], SHORT)
    assert "no delegate 'gpu'" in timings[NAMES[0]].error and how is None
    other.close(True)


@pytest.mark.slow
def test_the_java_runner_decodes_too(phone, options, bundle_dir, photos, tmp_path, monkeypatch, capsys):
    """From encoded files to Recall, flips and the time per image, as in an app, in one command."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "android"))
    java_build, kinds = pytest.importorskip("java_build"), pytest.importorskip("image_kinds")
    words = ["java", "-Xmx512m", "-cp", java_build.classpath(), "org.distilltophone.jvm.RunnerMain"]
    android_fakes.install(phone, words, {"HOME": str(phone.root)}, ro_boot_qemu="")
    for name in kinds.EXACT:
        (photos / "class00" / name).write_bytes(kinds.kinds()[name])
    fakes.replace_torch(monkeypatch)
    out = tmp_path / "r.json"
    arguments = [
        str(bundle_dir),
        "--from",
        "files",
        "--part",
        "all",
        "--seconds",
        "0",
        "--no-memory",
        "--checkpoint",
        str(tmp_path),
    ]
    arguments += ["--variant", NAMES[0], "--min-cosine", "0.9999", "--json-out", str(out)]
    there = ["--device", f"adb:{phone.serial}", "--android-runner", str(options["android_runner"])]
    assert run_app(app, [*arguments, *there, "--html", str(tmp_path / "r.html")]) == 0, capsys.readouterr()
    value = json.loads(out.read_text())
    (variant,) = value["variants"]
    assert (
        variant["cosine"]["min"] > 0.9999 and variant["flips"]["lost"] == 0 and variant["latency_ms"]["samples"] == 100
    )
    assert (
        value["data"]["decoded_by"] == "device"
        and value["data"]["images"] == value["decoding"]["decode_ms"]["samples"] == 50
    )
    assert (
        value["machine"]["packages"]["ImageIO"].startswith("Java")
        and "Time per image" in (tmp_path / "r.html").read_text()
    )
    (photos / "class01" / "cmyk.jpg").write_bytes(kinds.kinds()["cmyk.jpg"])
    capsys.readouterr()
    assert run_app(app, [*arguments, *there]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "class01/cmyk.jpg" in said and "a CMYK JPEG" in said and "--from pixels" in said
