"""Time several models in one process, in turns; shared by these scripts."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from distill.console import progress

__all__ = ["Timed", "cpu_name", "time_in_turns"]


class Timed(Protocol):
    """A model with its input set; ``invoke`` runs it once."""

    @property
    def invoke(self) -> Callable[[], object]: ...


def time_in_turns(models: Mapping[str, Timed], rounds: int, seed: int) -> dict[str, np.ndarray]:
    """Return milliseconds ``[rounds]`` of each model, timed in turns in a new random order every round.

    Each model is run once untimed before each timed run. A warm-up of a tenth of ``rounds``, at least 10 rounds, is
    added and discarded.
    """
    rng = np.random.default_rng(seed)
    names = list(models)
    times: dict[str, list[float]] = {name: [] for name in names}
    warm_up = max(10, rounds // 10)
    with progress("timing", total=rounds + warm_up) as bar:
        for turn in range(rounds + warm_up):
            for name in rng.permutation(names):
                invoke = models[name].invoke
                invoke()  # brings its weights back into the caches
                started = time.perf_counter_ns()
                invoke()
                elapsed = time.perf_counter_ns() - started
                if turn >= warm_up:
                    times[name].append(elapsed / 1e6)
            bar.advance()
    return {name: np.array(values) for name, values in times.items()}


def cpu_name() -> str:
    """Return the processor's name and the vector extensions that matter for int8."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", facts.get("Features", "")).split()
    known = [flag for flag in ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp") if flag in flags]
    family = f"family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"
    return f"{facts.get('model name', platform.machine())}, {family} ({' '.join(known)})"
