"""Measure the latency of several models in turns, after a warm-up, and record the machine's drift.

Why in turns: on a shared or throttling machine the speed changes over seconds. Models measured one
after another see different speeds; measured in turns, in a new random order every round, they see
the same ones, and ratios between them are reliable even where times are not.

One turn of a model is one untimed inference (the other models have just evicted it from the
caches, which does not happen in an app with one model), then ``Plan.block`` timed inferences with
the input already set, then ``Plan.end_to_end`` timed pairs of setting the input and inferring.

Standard library and NumPy only: this file is sent to remote devices unchanged.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol

import numpy as np

from benchmark.plan import Plan
from benchmark.system import vital_signs

__all__ = [
    "DRIFT_LIMIT",
    "Conduct",
    "LatencySamples",
    "Plan",
    "Runner",
    "interleave",
    "no_garbage",
    "timer_overhead_ns",
    "warm_up",
]

DRIFT_LIMIT = 0.05
Clock = Callable[[], int]  # nanoseconds, monotonic


class Runner(Protocol):
    """Interface of a model that can be timed: a ``VariantRunner`` of ``export.bundle``, or a PyTorch model."""

    def prepare(self, pixels: np.ndarray) -> None:
        """Set the input from one image, uint8 [1, H, W, 3]."""

    def invoke(self) -> None:
        """Run the model on the input set last."""


@dataclass
class LatencySamples:
    """Times of one model in the order taken, nanoseconds."""

    invoke: list[int] = field(default_factory=list)
    end_to_end: list[int] = field(default_factory=list)
    warmup_runs: int = 0
    warmup_stable: bool = False


@dataclass
class Conduct:
    """Conditions of the measurement: the fields of ``LatencyRun`` in ``benchmark/result.py``, see there."""

    threads: int
    seed: int
    rounds: int
    seconds: float
    timer_overhead_ns: float
    drift_variant: str
    drift: float
    drift_flagged: bool
    load_before: float | None = None
    load_after: float | None = None
    cpus: list[int] | None = None
    rest_ms: float = 0.0
    vitals_before: dict[str, Any] | None = None
    vitals_after: dict[str, Any] | None = None


def timer_overhead_ns(clock: Clock = time.perf_counter_ns, repeats: int = 10_000) -> float:
    """Return the median time of an empty measurement, taken with the same statement as the loop's."""
    times = []
    for _ in range(repeats):
        start = clock()
        times.append(clock() - start)
    return float(np.median(times))


@contextmanager
def no_garbage() -> Iterator[None]:
    """Collect garbage now and not inside the block, where it would be timed as the model's."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _block(runner: Runner, count: int, into: list[int], clock: Clock) -> None:
    invoke = runner.invoke
    for _ in range(count):
        start = clock()
        invoke()
        into.append(clock() - start)


def warm_up(runner: Runner, plan: Plan, clock: Clock = time.perf_counter_ns) -> tuple[int, bool]:
    """Infer until the medians of two successive groups of 10 runs differ by less than 2 %.

    Returns:
        (number of runs, whether the time settled within ``plan.warmup_max_runs`` and ``..._seconds``).
    """
    begun = clock()
    before: float | None = None
    runs = 0
    while runs < plan.warmup_max_runs and clock() - begun < plan.warmup_max_seconds * 1e9:
        times: list[int] = []
        _block(runner, 10, times, clock)
        runs += 10
        median = float(np.median(times))
        if before is not None and abs(median - before) < 0.02 * before:
            return runs, True
        before = median
    return runs, False


def _turn(runner: Runner, pixels: np.ndarray, samples: LatencySamples, plan: Plan, clock: Clock) -> None:
    runner.prepare(pixels)
    runner.invoke()
    _block(runner, plan.block, samples.invoke, clock)
    for _ in range(plan.end_to_end):
        start = clock()
        runner.prepare(pixels)
        runner.invoke()
        samples.end_to_end.append(clock() - start)


def _control(runner: Runner, plan: Plan, clock: Clock) -> float:
    """Return the median of at least 5 blocks and 0.25 s, so that one hiccup does not decide it."""
    runner.invoke()
    times: list[int] = []
    begun = clock()
    while len(times) < 5 * plan.block or clock() - begun < 250e6:
        _block(runner, plan.block, times, clock)
    return float(np.median(times))


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def interleave(
    runners: Mapping[str, Runner],
    pixels: np.ndarray,
    plan: Plan,
    clock: Clock = time.perf_counter_ns,
    show: Callable[[float], None] = lambda share: None,
) -> tuple[dict[str, LatencySamples], Conduct]:
    """Time all ``runners`` in turns.

    Args:
        runners: Name to model. The first one is measured alone before and after the rounds;
            the ratio of the two medians is the drift.
        pixels: uint8 [N, H, W, 3], N >= 1; each round uses the next image.
        plan: See :class:`Plan`.
        clock: Nanoseconds; replaced in tests.
        show: Called between turns with the share done, 0..1.

    Returns:
        The samples of each runner, and the conditions of the measurement.
    """
    if not runners:
        raise ValueError("no runner to time")
    rng = np.random.default_rng(plan.seed)
    names = list(runners)
    samples = {name: LatencySamples() for name in names}
    load_before, vitals_before = _load(), vital_signs()
    overhead = timer_overhead_ns(clock)
    for name in names:
        runners[name].prepare(pixels[:1])
        samples[name].warmup_runs, samples[name].warmup_stable = warm_up(runners[name], plan, clock)

    first = names[0]
    with no_garbage():
        before = _control(runners[first], plan, clock)
        begun = clock()
        rounds = 0
        while True:
            image = pixels[rounds % len(pixels)][None]
            for position in rng.permutation(len(names)):
                name = names[position]
                _turn(runners[name], image, samples[name], plan, clock)
            rounds += 1
            if plan.rest_ms:
                time.sleep(plan.rest_ms / 1000)
            taken = rounds * plan.block
            elapsed = (clock() - begun) / 1e9
            show(max(taken / plan.max_samples, min(elapsed / max(plan.seconds, 1e-9), taken / plan.min_samples)))
            if taken >= plan.max_samples or (elapsed >= plan.seconds and taken >= plan.min_samples):
                break
        after = _control(runners[first], plan, clock)
    drift = after / before - 1 if before else 0.0
    return samples, Conduct(
        threads=plan.threads,
        seed=plan.seed,
        rounds=rounds,
        seconds=round(elapsed, 3),
        timer_overhead_ns=overhead,
        drift_variant=first,
        drift=round(drift, 4),
        drift_flagged=abs(drift) > DRIFT_LIMIT,
        load_before=load_before,
        load_after=_load(),
        cpus=list(plan.cpus) or None,
        rest_ms=plan.rest_ms,
        vitals_before=vitals_before,
        vitals_after=vital_signs(),
    )
