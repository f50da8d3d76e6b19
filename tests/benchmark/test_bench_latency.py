from __future__ import annotations

import gc
import itertools
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_models
from benchmark_fakes import FakeClock, TimedRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmark.result import Latency
from benchmark.timing import Plan, interleave, no_garbage, timer_overhead_ns, warm_up
from export.bundle.engines.onnx import OnnxRunner

PIXELS = np.zeros((3, 8, 8, 3), np.uint8)


def test_percentiles_by_hand():
    latency = Latency.of([1_000_000 * n for n in range(1, 11)])  # 1 to 10 ms
    assert latency.p50 == pytest.approx(5.5)
    assert latency.p90 == pytest.approx(9.1)  # 0.9 * 9 = 8.1 steps above the first
    assert latency.p99 == pytest.approx(9.91)
    assert (latency.mean, latency.min, latency.samples) == (5.5, 1.0, 10)
    assert latency.raw == [float(n) for n in range(1, 11)]


@given(st.lists(st.integers(100, 10**10), min_size=1, max_size=200))
def test_percentiles_are_numpys_and_in_order(nanoseconds):
    latency = Latency.of(nanoseconds)
    expected = np.percentile(np.array(nanoseconds) / 1e6, [50, 90, 99])
    assert np.allclose([latency.p50, latency.p90, latency.p99], expected, atol=1e-4)
    assert latency.min <= latency.p50 <= latency.p90 <= latency.p99 <= max(latency.raw)


def test_no_samples_is_an_error():
    with pytest.raises(ValueError):
        Latency.of([])


def run(plan: Plan, **milliseconds):
    clock, log = FakeClock(), []
    runners = {name: TimedRunner(clock, value, log, name) for name, value in milliseconds.items()}
    samples, how = interleave(runners, PIXELS, plan, clock)
    return samples, how, log, clock


def test_each_variant_gets_its_own_times():
    samples, how, _, _ = run(Plan(seconds=1, min_samples=20), a=2.0, b=5.0)
    assert set(samples["a"].invoke) == {2_000_000}
    assert set(samples["b"].invoke) == {5_000_000}
    assert set(samples["a"].end_to_end) == {3_000_000}  # the fake takes 1 ms to prepare
    assert not how.drift_flagged and how.drift == 0


def turns(log: list[str]) -> list[str]:
    """Return the order of the turns."""
    prepared = [line.split()[1] for line in log if line.startswith("prepare")]
    return prepared


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_every_round_visits_every_variant_once_in_an_order_that_changes(seed):
    names = ["a", "b", "c", "d"]
    plan = Plan(seconds=0, min_samples=200, max_samples=200, block=10, end_to_end=0, seed=seed)
    _, how, log, _ = run(plan, **dict.fromkeys(names, 1.0))
    order = turns(log)[len(names) :]  # the first ones are warm-ups
    rounds = [order[start : start + 4] for start in range(0, len(order), 4)]
    assert how.rounds == len(rounds) == 20
    assert all(sorted(one) == names for one in rounds)
    assert len({tuple(one) for one in rounds}) > 5


def test_the_order_depends_on_the_seed_only():
    plan = Plan(seconds=0, min_samples=100, max_samples=100)
    logs = [run(plan, a=1.0, b=1.0, c=1.0)[2] for _ in range(2)]
    other = run(Plan(seconds=0, min_samples=100, max_samples=100, seed=5), a=1.0, b=1.0, c=1.0)[2]
    assert logs[0] == logs[1] != other


def test_a_turn_starts_with_an_untimed_inference():
    """The first inference after another model's turn is slow (cold caches) and must not be timed."""
    clock = FakeClock()
    cold = {"a": False, "b": False}

    def time_of(name, other):
        def milliseconds():
            slow, cold[name], cold[other] = cold[name], False, True
            return 50.0 if slow else 1.0

        return milliseconds

    runners = {"a": TimedRunner(clock, time_of("a", "b")), "b": TimedRunner(clock, time_of("b", "a"))}
    samples, _ = interleave(runners, PIXELS, Plan(seconds=0, min_samples=50, max_samples=50), clock)
    assert max(samples["a"].invoke + samples["b"].invoke) == 1_000_000


def test_slow_models_get_their_minimum_and_fast_ones_stop_at_the_maximum():
    samples, _, _, _ = run(Plan(seconds=0.5, min_samples=30, max_samples=1000), slow=100.0)
    assert len(samples["slow"].invoke) == 30
    samples, how, _, _ = run(Plan(seconds=1000, min_samples=30, max_samples=70), fast=0.01)
    assert len(samples["fast"].invoke) == 70
    assert how.seconds < 1


def test_the_time_budget_ends_the_run():
    samples, how, _, _ = run(Plan(seconds=2, min_samples=10, max_samples=10**6), a=1.0, b=1.0)
    assert 2 <= how.seconds < 2.2
    assert len(samples["a"].invoke) == len(samples["b"].invoke) > 500


@pytest.mark.parametrize(("growth", "flagged"), [(1.0, False), (1.04, False), (1.10, True), (0.90, True)])
def test_drift_of_the_first_variant_is_flagged_above_five_percent(growth, flagged):
    clock = FakeClock()

    def milliseconds():
        return 1.0 if clock.now < 1e9 else growth  # the machine changes speed after a second

    runners = {"first": TimedRunner(clock, milliseconds), "second": TimedRunner(clock, 1.0)}
    _, how = interleave(runners, PIXELS, Plan(seconds=3, min_samples=10, max_samples=10**6), clock)
    assert how.drift_variant == "first"
    assert how.drift == pytest.approx(growth - 1, abs=1e-4)
    assert how.drift_flagged is flagged


def test_warm_up_ends_when_two_groups_agree():
    clock = FakeClock()
    times = itertools.chain([9.0] * 10, [5.0] * 10, [3.0] * 10, itertools.repeat(2.0))
    runner = TimedRunner(clock, lambda: next(times))
    assert warm_up(runner, Plan(), clock) == (50, True)  # 9, 5, 3, 2, 2


def test_warm_up_gives_up_on_a_machine_that_never_settles():
    clock = FakeClock()
    times = itertools.cycle([1.0] * 10 + [2.0] * 10)
    runner = TimedRunner(clock, lambda: next(times))
    assert warm_up(runner, Plan(warmup_max_runs=100), clock) == (100, False)


def test_garbage_collection_is_off_inside_and_as_before_outside():
    assert gc.isenabled()
    with pytest.raises(RuntimeError), no_garbage():
        assert not gc.isenabled()
        raise RuntimeError
    assert gc.isenabled()
    gc.disable()
    try:
        with no_garbage():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_garbage_collector_is_off_while_times_are_taken():
    seen = []
    clock = FakeClock()
    runner = TimedRunner(clock, lambda: (seen.append(gc.isenabled()), 1.0)[1])
    interleave({"a": runner}, PIXELS, Plan(seconds=0, min_samples=10, max_samples=10), clock)
    assert seen[0] and not any(seen[-50:]) and gc.isenabled()


def test_the_timer_costs_microseconds_at_most():
    assert 0 < timer_overhead_ns() < 5_000


def test_images_take_turns():
    clock = FakeClock()
    seen = []

    class Looks(TimedRunner):
        def prepare(self, pixels):
            assert pixels.shape == (1, 8, 8, 3)
            seen.append(int(pixels[0, 0, 0, 0]))
            super().prepare(pixels)

    pixels = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    interleave({"a": Looks(clock, 1.0)}, pixels, Plan(seconds=0, min_samples=60, max_samples=60, end_to_end=0), clock)
    assert set(seen) == {0, 1, 2}


def test_onnxruntime_leaves_the_processors_to_the_next_variant(tmp_path):
    """Its threads spin during an inference, and not for milliseconds after it, in another variant's turn."""
    side = 256
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_models.onnx_model(side))
    shared = {"dtype": "float32", "scale": None, "zero_point": None}
    spec = SimpleNamespace(
        shape=[1, 3, side, side], layout="NCHW", hwc=(side, side, 3), dynamic_batch=False, **shared
    )  # fmt: skip
    output = SimpleNamespace(shape=[1, 3 * (side // 4) ** 2], **shared)
    table = np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, axis=1)
    runner = OnnxRunner(path, spec, output, table, threads=2)
    options = runner._session.get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
    runner.prepare(np.zeros((1, side, side, 3), np.uint8))
    used = []
    for _ in range(30):
        runner.invoke()
        before = time.process_time()
        time.sleep(0.01)
        used.append(time.process_time() - before)
    assert np.median(used) < 0.001  # of 0.01 s; 0.003 and more with threads that spin on
