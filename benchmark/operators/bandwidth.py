"""Measure memory bandwidth by working set.

The tensors of small models stay in the caches, for which the bandwidth of main memory would say nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

__all__ = ["LADDER", "bandwidth_at", "measured_bandwidth"]

# Bytes read and written together, 32 KiB to 128 MiB; with less, the call itself would dominate.
LADDER = tuple(2**power for power in range(15, 28, 2))
SECONDS = 0.2  # per working set
STRETCH_BYTES = 2**22  # moved between two readings of the clock


def measured_bandwidth(threads: int, ladder: Sequence[int] = LADDER, seconds: float = SECONDS) -> dict[int, float]:
    """Measure the rate of copies by ``threads`` threads at once, the fastest of many.

    Args:
        ladder: Working sets in bytes, of all threads together.

    Returns:
        Bytes per second, read and written together, by working set.
    """
    return {rung: _together(max(rung // threads, ladder[0]), threads, seconds) for rung in ladder}


def _together(each: int, threads: int, seconds: float) -> float:
    """Return the sum of the threads' rates, each with a working set of ``each`` bytes."""
    rates: list[float] = []
    ready = threading.Barrier(threads)

    def work() -> None:
        half = each // 2
        source, target = np.ones(half, np.uint8), np.zeros(half, np.uint8)
        # Copy a large working set piece by piece: a thread loses its processor during a long copy.
        piece = min(half, STRETCH_BYTES // 2)
        pieces = [
            (target[start : start + piece], source[start : start + piece])
            for start in range(0, half - piece + 1, piece)
        ]
        repeats, copy, clock = STRETCH_BYTES // (2 * piece), np.copyto, time.perf_counter
        ready.wait()
        best, runs, until = float("inf"), 0, clock() + seconds
        while runs < 5 * len(pieces) or clock() < until:
            into, rest = pieces[runs % len(pieces)]
            begun = clock()
            for _ in range(repeats):
                copy(into, rest)
            if runs >= len(pieces):  # the first round maps the pages
                best = min(best, clock() - begun)
            runs += 1
        rates.append(2 * piece * repeats / best)

    others = [threading.Thread(target=work) for _ in range(threads - 1)]
    for other in others:
        other.start()
    work()
    for other in others:
        other.join()
    return sum(rates)


def bandwidth_at(moved: int, measured: dict[int, float]) -> float:
    """Return bytes per second for an operator that moves ``moved`` bytes, interpolated over the logarithm of the size."""
    rungs = sorted(measured)
    return float(np.interp(np.log(max(moved, 1)), np.log(rungs), [measured[rung] for rung in rungs]))
