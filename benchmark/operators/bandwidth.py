"""How fast this machine moves memory: measured with as many bytes as an operator moves, for those of small models never leave the
caches, and a stream through main memory would tell nothing of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

__all__ = ["LADDER", "bandwidth_at", "measured_bandwidth"]

# Bytes read and written together, 32 KiB to 128 MiB; of less the call itself would be most of the time.
LADDER = tuple(2**power for power in range(15, 28, 2))
SECONDS = 0.2  # for each
STRETCH_BYTES = 2**22  # that are moved between two looks at the clock


def measured_bandwidth(threads: int, ladder: Sequence[int] = LADDER, seconds: float = SECONDS) -> dict[int, float]:
    """Bytes a second, read and written together, of copies by ``threads`` threads at once; the fastest of many, for a roof is
    what is possible.

    Args:
        ladder: bytes that the threads together go over again and again.

    Returns:
        by rung of the ladder.
    """
    return {rung: _together(max(rung // threads, ladder[0]), threads, seconds) for rung in ladder}


def _together(each: int, threads: int, seconds: float) -> float:
    """The sum of what the threads reach, each with a working set of ``each`` bytes."""
    rates: list[float] = []
    ready = threading.Barrier(threads)

    def work() -> None:
        half = each // 2
        source, target = np.ones(half, np.uint8), np.zeros(half, np.uint8)
        # A large working set is gone through piece by piece: in a stretch too long the thread loses its processor.
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
            if runs >= len(pieces):  # the first round brings the pages
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
    """Bytes a second for an operator that moves ``moved``: by the logarithm between the rungs, beyond them that of the last one."""
    rungs = sorted(measured)
    return float(np.interp(np.log(max(moved, 1)), np.log(rungs), [measured[rung] for rung in rungs]))
