"""Memory, heat and processors, which are recorded with a latency."""

from __future__ import annotations

import os
import sys

import benchmark_fakes as fakes
import numpy as np
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st

from benchmark import system
from benchmark.cli import app
from benchmark.devices import open_device
from benchmark.devices.host import describe_host
from benchmark.devices.local import Local
from benchmark.devices.python_side import PythonSide
from benchmark.devices.remote import Remote
from benchmark.devices.work import measure_memory
from benchmark.gates import Limits, judge
from benchmark.result import LatencyRun, VariantResult, Vitals
from benchmark.timing import Plan, interleave
from distill.console import Failure, run_app
from export.bundle import load_bundle

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc or affinity, which Linux has")
counts_memory = pytest.mark.skipif(
    not system.reset_peak_memory() or system.memory_bytes() is None,
    reason="needs /proc/self/clear_refs, to count from now on",
)
NAMES = ("tflite-float32", "onnx-float32")


@pytest.fixture
def real_bundle(tmp_path, photos):
    models = {"tflite": tiny_models.tflite_model(fakes.SIDE), "onnx": tiny_models.onnx_model(fakes.SIDE)}
    return fakes.make_bundle(tmp_path / "real", f"folder:{photos}", NAMES, models=models)


@given(st.sets(st.integers(0, 999), min_size=1))
def test_sets_of_processors_are_read_as_linux_writes_them(cpus):
    parts, rest = [], sorted(cpus)
    while rest:
        length = next((n for n in range(1, len(rest)) if rest[n] != rest[0] + n), len(rest))
        parts.append(f"{rest[0]}-{rest[length - 1]}" if length > 1 else f"{rest[0]}")
        rest = rest[length:]
    assert system.cpu_set(",".join(parts)) == tuple(sorted(cpus))


@pytest.mark.parametrize("text", ["", "a", "1,", "3-1", "-1", "1-", "0-99999999999", "1.5", "²"])
def test_invalid_sets_of_processors(text, real_bundle, capsys):
    with pytest.raises(ValueError):
        system.cpu_set(text)
    assert run_app(app, [str(real_bundle), f"--cpus={text}"]) == 2
    assert "0,4-7" in capsys.readouterr().err


@linux
def test_pinning_holds_inside_and_ends(real_bundle):
    before = os.sched_getaffinity(0)
    one = min(before)
    with system.pinned((one,)):
        assert os.sched_getaffinity(0) == {one}
    assert os.sched_getaffinity(0) == before
    plan = Plan(seconds=0, min_samples=10, max_samples=10, warmup_max_runs=20, cpus=(one,))
    _, run = open_device("host").measure_latency(
        load_bundle(real_bundle), NAMES, np.zeros((1, 16, 16, 3), np.uint8), plan
    )
    assert run.cpus == [one] and os.sched_getaffinity(0) == before
    with pytest.raises(Failure, match=r"processors \[998\] are not among those here"):
        open_device("host").measure_latency(
            load_bundle(real_bundle), NAMES, np.zeros((1, 16, 16, 3), np.uint8), Plan(cpus=(998,))
        )


@counts_memory
def test_memory_that_a_model_takes_is_counted_and_freed_memory_before_it_is_not():
    class Runner:
        input_spec = type("Spec", (), {"hwc": (2, 2, 3)})

        def __init__(self) -> None:
            self.kept = np.ones(64 * 2**20, np.uint8)

        def prepare(self, pixels):
            pass

        def invoke(self):
            pass

    found = measure_memory(Runner, lambda: np.ones(256 * 2**20, np.uint8).sum())
    assert 60e6 < found.added < 100e6 < found.process


@counts_memory
def test_memory_of_real_variants_in_processes_of_their_own(real_bundle):
    found = open_device("host").peak_memory(load_bundle(real_bundle), NAMES)
    assert set(found) == set(NAMES)
    for memory in found.values():
        assert 0 < memory.added < 100e6 and memory.process > 2e7


@pytest.mark.parametrize("where", ["host", "remote"])
def test_a_delegate_that_is_not_there_is_a_result(real_bundle, tmp_path, where):
    bundle = load_bundle(real_bundle)
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    device = (
        open_device("host")
        if where == "host"
        else Remote("local", PythonSide(Local(), sys.executable, str(tmp_path / "there")))
    )
    found = {}
    for device.delegate in ("xnnpack", "none", "gpu"):
        found[device.delegate] = device.embed(bundle, NAMES, [images], 1)
        assert found[device.delegate][NAMES[1]].error is None  # ONNX has no delegates
    assert np.allclose(found["none"][NAMES[0]].embeddings, found["xnnpack"][NAMES[0]].embeddings, atol=1e-6)
    assert "no delegate 'gpu'" in found["gpu"][NAMES[0]].error
    timings, run = device.measure_latency(
        bundle, NAMES, images, Plan(seconds=0, min_samples=10, max_samples=10, warmup_max_runs=20)
    )
    assert "no delegate 'gpu'" in timings[NAMES[0]].error and timings[NAMES[1]].samples and run
    device.close(True)


def test_a_variant_that_does_not_load_has_no_memory(bundle_dir):
    assert open_device("host").peak_memory(load_bundle(bundle_dir), ("onnx-float32",)) == {}


def test_vital_signs_of_a_board(tmp_path, monkeypatch):
    files = {
        "devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "devices/system/cpu/cpu1/cpufreq/scaling_governor": "ondemand\n",
        "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "600000\n",
        "devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1500000\n",
        "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
        "devices/system/cpu/cpufreq/nothing": "x",
        "class/thermal/thermal_zone0/temp": "48312\n",
        "class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "class/thermal/thermal_zone1/temp": "broken\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(system, "SYS", str(tmp_path))
    signs = system.vital_signs()
    assert signs == {
        "governors": ["ondemand"],
        "mhz": [600.0, 1500.0],
        "celsius": {"0 cpu-thermal": 48.312},
        "throttled": 3,
    }
    assert Vitals(**signs)
    monkeypatch.setattr(system, "SYS", str(tmp_path / "none"))
    assert system.vital_signs() == {"governors": [], "mhz": [], "celsius": {}, "throttled": None}


def warnings(before: Vitals | None, after: Vitals | None) -> str:
    machine, found = describe_host(), VariantResult(name="a", size_bytes=1)
    machine.latency = LatencyRun(
        threads=1,
        seed=0,
        rounds=1,
        seconds=1,
        timer_overhead_ns=1,
        drift_variant="a",
        drift=0,
        drift_flagged=False,
        vitals_before=before,
        vitals_after=after,
    )
    return " ".join(judge(found, [found], None, machine, Limits()).warnings)


def test_heat_causes_a_warning():
    cool = Vitals(governors=["performance"], celsius={"0": 40.0, "1": 30.0}, throttled=2)
    assert warnings(cool, cool) == warnings(None, None) == warnings(cool, Vitals(governors=["performance"])) == ""
    assert "12 °C warmer" in warnings(cool, cool.model_copy(update={"celsius": {"0": 40.0, "1": 42.0}}))
    assert "by heat 3 times" in warnings(cool, cool.model_copy(update={"throttled": 5}))
    assert "from performance to powersave" in warnings(cool, cool.model_copy(update={"governors": ["powersave"]}))


def test_rest_after_every_round_is_not_in_the_times(monkeypatch):
    slept = []
    clock = fakes.FakeClock()
    monkeypatch.setattr(
        "benchmark.timing.time.sleep", lambda seconds: (slept.append(seconds), setattr(clock, "now", clock.now + 10**9))
    )
    plan = Plan(seconds=0, min_samples=50, max_samples=50, rest_ms=7)
    runners = {"a": fakes.TimedRunner(clock, 2.0)}
    samples, run = interleave(runners, np.zeros((1, 8, 8, 3), np.uint8), plan, clock)
    assert slept == [0.007] * run.rounds and run.rest_ms == 7 and set(samples["a"].invoke) == {2_000_000}


def test_a_limit_of_memory():
    found = VariantResult(name="a", size_bytes=1, memory_bytes=5_000_000, recall={1: 0.5})
    for limit, passed in ((5, True), (4.9, False)):
        assert judge(found, [found], None, describe_host(), Limits(max_memory_mb=limit)).passed is passed
    unknown = found.model_copy(update={"memory_bytes": None})
    assert not judge(unknown, [unknown], None, describe_host(), Limits(max_memory_mb=5)).passed


def test_the_remote_device_without_a_network(real_bundle, tmp_path):
    """Everything but ssh, for systems without sshd: same runner, same checks."""
    device = Remote("local", PythonSide(Local(), sys.executable, str(tmp_path / "there")))
    bundle, random = load_bundle(real_bundle), np.random.default_rng(0)
    images = list(random.integers(0, 256, (3, 4, 16, 16, 3), dtype=np.uint8))
    there, here = device.embed(bundle, NAMES, images, 1), open_device("host").embed(bundle, NAMES, images, 1)
    assert all(np.array_equal(there[name].embeddings, here[name].embeddings) for name in NAMES)
    plan = Plan(seconds=0, min_samples=10, max_samples=10, warmup_max_runs=20)
    timings, run = device.measure_latency(bundle, NAMES, images[0], plan)
    assert len(timings[NAMES[0]].samples.invoke) == 10 and run.rounds == 1
    with pytest.raises(Failure, match="processors"):
        device.measure_latency(bundle, NAMES, images[0], Plan(cpus=(998,)))
    device.close(True)
    assert not (tmp_path / "there").exists()
