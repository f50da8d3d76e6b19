"""This computer as a device."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from benchmark.devices.base import Device, Embedded, Timing
from benchmark.latency import Plan, Runner, interleave
from benchmark.machine import describe_host
from benchmark.result import LatencyRun, Machine
from export.bundle import Bundle, open_variant

__all__ = ["Host"]


class Host(Device):
    """Runs in this process, with the engines of the ``run`` extra."""

    name: ClassVar[str] = "host"

    def describe(self) -> Machine:
        return describe_host()

    def measure_latency(
        self, bundle: Bundle, variants: Sequence[str], pixels: np.ndarray, plan: Plan
    ) -> tuple[dict[str, Timing], LatencyRun | None]:
        timings: dict[str, Timing] = {}
        runners: dict[str, Runner] = {}
        starts: dict[str, tuple[float, float]] = {}
        for name in variants:
            try:
                # The first opening pays for importing the engine and reading the disk; the
                # second is what every later start of an app would see.
                open_variant(bundle, name, plan.threads)
                begun = time.perf_counter_ns()
                runner = open_variant(bundle, name, plan.threads)
                opened = time.perf_counter_ns()
                runner.prepare(pixels[:1])
                runner.invoke()
                ran = time.perf_counter_ns()
            except Exception as error:  # an unsupported variant is a result
                timings[name] = Timing(error=_reason(error))
                continue
            runners[name] = runner
            starts[name] = ((opened - begun) / 1e6, (ran - opened) / 1e6)
        if not runners:
            return timings, None
        samples, run = interleave(runners, pixels, plan)
        for name in runners:
            init_ms, first_run_ms = starts[name]
            timings[name] = Timing(samples[name], round(init_ms, 3), round(first_run_ms, 3))
        return timings, run

    def embed(
        self, bundle: Bundle, variants: Sequence[str], batches: Iterable[np.ndarray], threads: int
    ) -> dict[str, Embedded]:
        results: dict[str, Embedded] = {}
        runners = {}
        for name in variants:
            try:
                runners[name] = open_variant(bundle, name, threads)
            except Exception as error:
                results[name] = Embedded(error=_reason(error))
        rows: dict[str, list[np.ndarray]] = {name: [] for name in runners}
        for pixels in batches:
            for name in list(runners):
                try:
                    rows[name].append(runners[name].embed(pixels))
                except Exception as error:
                    results[name] = Embedded(error=_reason(error))
                    del runners[name]
        for name in runners:
            embeddings = np.concatenate(rows[name])
            broken = int((~np.isfinite(embeddings).all(axis=1)).sum())
            if broken:
                results[name] = Embedded(error=f"{broken} of {len(embeddings)} embeddings hold NaN or infinity")
            else:
                results[name] = Embedded(embeddings)
        return results


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
