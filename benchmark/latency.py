"""Latency as a result: percentiles of the samples, and a bar while they are taken (see ``benchmark.timing``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmark import timing
from benchmark.result import Latency, LatencyRun
from benchmark.timing import Plan, Runner, Samples
from distill.console import console, note

__all__ = ["interleave", "still_bar", "summarise"]


def summarise(nanoseconds: list[int]) -> Latency:
    """Percentiles (numpy's default, linear interpolation between order statistics), mean and minimum.

    Raises:
        ValueError: no samples.
    """
    if not nanoseconds:
        raise ValueError("no latency samples")
    raw = np.round(np.asarray(nanoseconds, dtype=np.float64) / 1e6, 4)
    p50, p90, p99 = np.percentile(raw, [50, 90, 99])
    return Latency(p50=p50, p90=p90, p99=p99, mean=raw.mean(), min=raw.min(), samples=len(raw), raw=raw.tolist())


@contextmanager
def still_bar(label: str) -> Iterator[Callable[[float], None]]:
    """A progress bar that draws only when called, between turns: the usual one draws from a
    thread of its own, in the middle of whatever is being timed."""
    if not console.is_terminal:
        note(f"{label} …")
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, auto_refresh=False, disable=not console.is_terminal) as bars:
        task = bars.add_task(label, total=1.0)
        shown = time.monotonic()

        def show(share: float) -> None:
            nonlocal shown
            if time.monotonic() - shown > 0.5 or share >= 1:
                bars.update(task, completed=min(share, 1.0))
                bars.refresh()
                shown = time.monotonic()

        yield show


def interleave(
    runners: Mapping[str, Runner],
    pixels: np.ndarray,
    plan: Plan,
    clock: timing.Clock = time.perf_counter_ns,
    label: str = "latency",
) -> tuple[dict[str, Samples], LatencyRun]:
    """:func:`benchmark.timing.interleave` with a bar."""
    with still_bar(label) as show:
        samples, conduct = timing.interleave(runners, pixels, plan, clock, show)
    return samples, LatencyRun(**asdict(conduct))
