"""The ssh device end to end: a real sshd on loopback, the real client, real engines."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import benchmark_fakes as fakes
import numpy as np
import pytest
import ssh_server
import tiny_models

from benchmark.cli import app
from benchmark.devices import open_device
from benchmark.devices.ssh import parse_address
from benchmark.devices.transport import Lost
from benchmark.system import reset_peak_memory
from benchmark.timing import Plan
from distill.console import Failure, UsageFailure, run_app
from export.bundle import load_bundle

# Packages that a board lacks.
ABSENT = ("pydantic", "typer", "rich", "PIL", "torch", "tensorflow", "onnx", "jinja2", "matplotlib")
NAMES = ("tflite-float32", "onnx-float32")
SHORT = Plan(seconds=0, min_samples=20, max_samples=20, warmup_max_runs=20)


def fake_python(folder: Path, absent: tuple[str, ...] = ABSENT) -> Path:
    """Make a Python without some packages."""
    (folder / "absent").mkdir(parents=True)
    (folder / "absent" / "sitecustomize.py").write_text(
        "import sys\nfrom importlib.abc import MetaPathFinder\n\n\nclass Absent(MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {absent!r}:\n            raise ModuleNotFoundError(name)\n\n\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "absent"} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory):
    reason = ssh_server.why_not()
    if reason:
        pytest.skip(reason)
    server = ssh_server.Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def board_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_python(tmp_path_factory.mktemp("board"))


@pytest.fixture
def bundle_dir(tmp_path: Path, photos: Path) -> Path:
    models = {"tflite": tiny_models.tflite_model(fakes.SIDE), "onnx": tiny_models.onnx_model(fakes.SIDE)}
    return fakes.make_bundle(tmp_path / "bundle", f"folder:{photos}", NAMES, models=models)


@pytest.fixture
def options(sshd, board_python, tmp_path) -> dict:
    return {
        "ssh_identity": sshd.identity,
        "ssh_known_hosts": sshd.known_hosts,
        "ssh_config": sshd.config,
        "remote_python": str(board_python),
        "remote_folder": str(tmp_path / "on the board"),
    }


@pytest.fixture
def board(tmp_path) -> Path:
    """Our folder on the board."""
    return tmp_path / "on the board"


def batches(count: int = 6, size: int = 5) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return list(random.integers(0, 256, (count, size, fakes.SIDE, fakes.SIDE, 3), dtype=np.uint8))


def expected(images: list[np.ndarray]) -> np.ndarray:
    return fakes.ToyRunner().embed(np.concatenate(images))


def test_end_to_end_it_is_what_the_host_measures(sshd, board_python, board, bundle_dir, tmp_path):
    results = {}
    arguments = [str(bundle_dir), "--seconds", "0", "--part", "all"]
    reach = ["--device", sshd.url, *sshd.options(), "--remote-python", str(board_python), "--remote-folder", str(board)]
    for where, more in (("host", []), ("board", reach)):
        out = tmp_path / f"{where}.json"
        assert run_app(app, [*arguments, *more, "--json-out", str(out)]) == 0
        results[where] = json.loads(out.read_text())
    assert results["board"]["machine"]["device"] == sshd.url
    assert results["board"]["machine"]["cpu"] == results["host"]["machine"]["cpu"]
    assert results["board"]["machine"]["packages"]["numpy"] and not results["board"]["machine"]["emulated"]
    for there, here in zip(results["board"]["variants"], results["host"]["variants"], strict=True):
        assert there["status"] == "ok" and there["latency_ms"]["samples"] >= 100
        assert there["init_ms"] > 0 and there["end_to_end_ms"]["p50"] >= there["latency_ms"]["min"] > 0
        if reset_peak_memory():  # otherwise this system does not report it
            assert there["memory_bytes"] > 0 and there["process_memory_bytes"] > 2e7
        assert there["recall"] == here["recall"] and there["map_at_r"] == here["map_at_r"]
    assert not board.exists()  # nothing is left behind


def test_embeddings_are_bit_identical(sshd, options, bundle_dir):
    images = batches()
    images.append(images[0])  # the same batch again
    bundle = load_bundle(bundle_dir)
    device = open_device(sshd.url, **options)
    there = device.embed(bundle, NAMES, images, 1)
    here = open_device("host").embed(bundle, NAMES, images, 1)
    device.close(True)
    for name in NAMES:
        assert np.array_equal(there[name].embeddings, here[name].embeddings)
        assert np.allclose(there[name].embeddings, expected(images), atol=1e-5)


def test_large_sets_are_sent_in_windows(sshd, options, bundle_dir, board, monkeypatch):
    monkeypatch.setattr("benchmark.devices.remote.WINDOW_BYTES", 9_000)  # two batches of 5
    images = batches()
    device = open_device(sshd.url, **options)
    there = device.embed(load_bundle(bundle_dir), NAMES, images, 1)
    assert np.allclose(there[NAMES[0]].embeddings, expected(images), atol=1e-5)
    stored = {path.name for path in (board / "files").iterdir()}
    assert len(stored) <= 5  # program, two models, their tables: the pixels are gone
    device.close(True)


def test_a_cable_pulled_while_sending(sshd, options, bundle_dir):
    bundle, images = load_bundle(bundle_dir), batches(6, 200)
    device = open_device(sshd.url, **options)
    sshd.cable.cut_after = sshd.cable.sent + 400_000
    with pytest.raises(Lost, match="connection was lost") as failure:
        device.embed(bundle, NAMES, images, 1)
    device.close(False)
    assert "run the same command again" in failure.value.cure
    sshd.cable.plug()
    again = open_device(sshd.url, **options)
    assert np.allclose(again.embed(bundle, NAMES, images, 1)[NAMES[0]].embeddings, expected(images), atol=1e-5)
    again.close(True)


def test_a_run_resumes_after_a_cable_pulled_while_computing(sshd, options, bundle_dir, board, monkeypatch):
    monkeypatch.setattr("benchmark.devices.remote.WINDOW_BYTES", 1_000_000)
    bundle, images = load_bundle(bundle_dir), batches(8, 600)  # windows of two batches
    device = open_device(sshd.url, **options)
    results = board / "results"
    sshd.cable.pull_when(lambda: len(list(results.glob("*.npy"))) >= 5)
    with pytest.raises(Lost, match="was at work|connection was lost"):
        device.embed(bundle, NAMES, images, 1)
    device.close(False)
    sshd.cable.plug()
    done = {path: path.stat().st_mtime_ns for path in results.glob("[!.]*.npy")}
    assert 5 <= len(done) < 16
    before = sshd.cable.sent
    again = open_device(sshd.url, **options)
    there = again.embed(bundle, NAMES, images, 1)
    assert np.allclose(there[NAMES[1]].embeddings, expected(images), atol=1e-5)
    assert {path: path.stat().st_mtime_ns for path in done} == done  # not computed again
    assert len(list(results.glob("*.npy"))) == 16
    assert sshd.cable.sent - before < 0.8 * sum(batch.nbytes for batch in images)  # nor sent again
    again.close(True)


def test_files_damaged_on_the_device_are_sent_again(sshd, options, bundle_dir, board):
    bundle, images = load_bundle(bundle_dir), batches(2)
    device = open_device(sshd.url, **options)
    device.embed(bundle, NAMES, images, 1)
    model = board / "files" / bundle.variant(NAMES[0]).sha256
    model.write_bytes(b"rotten" + model.read_bytes()[6:])
    more = batches(3)
    assert np.allclose(device.embed(bundle, NAMES, more, 1)[NAMES[0]].embeddings, expected(more), atol=1e-5)
    device.close(True)


@pytest.mark.parametrize("times", [1, 9])
def test_results_damaged_in_transfer_are_fetched_again(sshd, options, bundle_dir, times, monkeypatch):
    from benchmark.devices.ssh import Ssh

    pull, left = Ssh.pull, [times]

    def damaging(self, files):
        pull(self, files)
        if left[0]:
            left[0] -= 1
            path = next(iter(files.values()))
            path.write_bytes(path.read_bytes()[:-1])

    monkeypatch.setattr(Ssh, "pull", damaging)
    device, images = open_device(sshd.url, **options), batches(2)
    if times == 1:
        there = device.embed(load_bundle(bundle_dir), NAMES, images, 1)
        assert np.allclose(there[NAMES[0]].embeddings, expected(images), atol=1e-5)
    else:
        with pytest.raises(Failure, match="results arrive damaged"):
            device.embed(load_bundle(bundle_dir), NAMES, images, 1)
    device.close(True)


def test_files_that_arrive_damaged_are_not_taken(sshd, options, bundle_dir, board, monkeypatch):
    from benchmark.devices.ssh import Ssh

    push = Ssh.push

    def damaging(self, files):
        for path in files.values():
            if path.parent.name.startswith("bench-"):  # a temporary copy, not the bundle's own file
                path.write_bytes(path.read_bytes() + b"!")
        push(self, files)

    device = open_device(sshd.url, **options)
    monkeypatch.setattr(Ssh, "push", damaging)
    with pytest.raises(Failure, match="arrive damaged"):
        device.embed(load_bundle(bundle_dir), NAMES, batches(1), 1)
    assert not list((board / "incoming").iterdir())
    device.close(True)


def test_a_full_disk_is_found_before_anything_is_sent(sshd, options, bundle_dir, monkeypatch):
    device = open_device(sshd.url, **options)
    monkeypatch.setattr("benchmark.devices.session.MARGIN_BYTES", 2**60)
    with pytest.raises(Failure, match=r"MB to send, .* MB free") as failure:
        device.embed(load_bundle(bundle_dir), NAMES, batches(1), 1)
    assert "--remote-folder" in failure.value.cure
    device.close(True)


def test_latency_has_samples_and_progress_but_is_never_taken_from_before(sshd, options, bundle_dir):
    device = open_device(sshd.url, **options)
    bundle, pixels = load_bundle(bundle_dir), batches(1, 3)[0]
    first, how = device.measure_latency(bundle, NAMES, pixels, SHORT)
    second, _ = device.measure_latency(bundle, NAMES, pixels, SHORT)
    device.close(True)
    assert how.threads == 1 and how.timer_overhead_ns > 0 and how.drift_variant == NAMES[0]
    for name in NAMES:
        assert len(first[name].samples.invoke) == 20 and first[name].samples.invoke != second[name].samples.invoke


def test_an_engine_that_is_missing_there_costs_its_variants_only(sshd, options, bundle_dir, tmp_path):
    lame = options | {"remote_python": str(fake_python(tmp_path / "lame", (*ABSENT, "onnxruntime")))}
    device, bundle = open_device(sshd.url, **lame), load_bundle(bundle_dir)
    there = device.embed(bundle, NAMES, batches(2), 1)
    timings, how = device.measure_latency(bundle, NAMES, batches(1)[0], SHORT)
    assert there["tflite-float32"].embeddings is not None and how is not None
    assert "onnxruntime is not installed" in there["onnx-float32"].error
    assert "onnxruntime is not installed" in timings["onnx-float32"].error
    with pytest.raises(Failure, match="has no onnxruntime") as failure:
        device.embed(bundle, NAMES[1:], batches(1), 1)
    assert "pip install" in failure.value.cure
    device.close(True)


def refuse(sshd, options: dict, match: str, url: str | None = None) -> Failure:
    with pytest.raises(Failure, match=match) as failure:
        open_device(url or sshd.url, **options)
    return failure.value


def test_refused_connections(sshd, options, tmp_path):
    assert "ssh-copy-id" in refuse(sshd, options | {"ssh_identity": sshd.stranger}, "Permission denied").cure
    (tmp_path / "nobody").write_text("")
    unknown = options | {"ssh_known_hosts": tmp_path / "nobody"}
    assert "--ssh-known-hosts" in refuse(sshd, unknown, "Host key verification failed").cure
    assert "port" in refuse(sshd, options, "Connection refused", "ssh://127.0.0.1:1").cure
    refuse(sshd, options | {"ssh_identity": tmp_path / "none"}, "no such file")


def test_unsuitable_pythons(sshd, options, tmp_path):
    assert "--remote-python" in refuse(sshd, options | {"remote_python": "python99"}, "no python99 there").cure
    poor = options | {"remote_python": str(fake_python(tmp_path / "poor", (*ABSENT, "numpy")))}
    assert "pip install numpy" in refuse(sshd, poor, "has no numpy").cure
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\necho hello\necho \'@distill-bench {"python": [3, 6, 9], "packages": []}\'\n')
    old.chmod(0o755)
    assert "3.9" in refuse(sshd, options | {"remote_python": str(old)}, "is Python 3.6.9").cure
    assert "--remote-python" in refuse(sshd, options | {"remote_python": "/bin/cat"}, "cat").cure


def test_a_folder_that_cannot_be_made(sshd, options, tmp_path):
    (tmp_path / "file").write_text("")
    refuse(sshd, options | {"remote_folder": str(tmp_path / "file" / "x")}, "Not a directory|File exists")
    with pytest.raises(UsageFailure, match="remote-folder"):
        open_device(sshd.url, **(options | {"remote_folder": "a;b"}))


def test_cleaning_keeps_foreign_files(sshd, options, board, bundle_dir):
    board.mkdir()
    (board / "diary").write_text("mine")
    device = open_device(sshd.url, **options)
    device.embed(load_bundle(bundle_dir), NAMES, batches(1), 1)
    device.close(True)
    assert [path.name for path in board.iterdir()] == ["diary"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://pi@board", ("board", "pi", None)),
        ("ssh://board.local:2222", ("board.local", None, 2222)),
        ("ssh://a.b@192.168.0.7:22/", ("192.168.0.7", "a.b", 22)),
        ("ssh://[fe80::1]", ("fe80::1", None, None)),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "ssh:board",
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://u@-x",
        "ssh://a:b@c",
        "ssh://h/path",
        "ssh://h:port",
        "ssh://h:99999",
        "ssh://h?x=1",
        "ssh://h h",
        "ssh://-x@h",
        "ssh://[::1",
    ],
)
def test_invalid_addresses(text):
    with pytest.raises(UsageFailure, match="--device"):
        parse_address(text)


def test_no_client_is_left_running(sshd, options, board, bundle_dir):
    """No client outlives the device, and its socket is gone."""
    device = open_device(sshd.url, **options)
    folder = device._side.transport._folder
    assert (folder / "c").exists() and len(os.fsencode(folder / "c")) < 90
    device.close(True)
    assert not folder.exists() and not board.exists()
