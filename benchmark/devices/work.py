"""What every device does with the variants of a bundle: open, time in turns, embed.

Standard library and NumPy only: this file is sent to remote devices unchanged, so that boards and
this computer measure with the same code.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable

import numpy as np

from benchmark.system import memory_bytes, pinned, reset_peak_memory
from benchmark.timing import Conduct, LatencySamples, Plan, interleave

__all__ = [
    "Embedded",
    "Embedders",
    "Memory",
    "Openers",
    "Timing",
    "checking_inputs",
    "joined",
    "measure_memory",
    "reason",
    "time_variants",
]

OTHER_INPUTS = "the input tensors of the golden images are not those of the export (run distill-export verify)"

Openers = Mapping[str, Callable[[], Any]]  # variant -> a new VariantRunner


@dataclass(frozen=True)
class Timing:
    """Latency of one variant, or the ``error`` that prevented it."""

    samples: LatencySamples | None = None
    init_ms: float | None = None
    first_run_ms: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Embedded:
    """Embeddings of one variant, float32 [N, D], unit rows, in the order of the images."""

    embeddings: np.ndarray | None = None
    error: str | None = None


def reason(error: Exception) -> str:
    """Return the first line of an error."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def time_variants(
    openers: Openers, pixels: np.ndarray, plan: Plan, show: Callable[[float], None] = lambda share: None
) -> tuple[dict[str, Timing], Conduct | None]:
    """Open every variant and time those that open, see :mod:`benchmark.timing`.

    Args:
        pixels: uint8 [N, H, W, 3], preprocessed, N >= 1.

    Returns:
        The timing of every variant, and the conditions of the run (``None``: nothing could be timed).

    Raises:
        OSError: there are no such processors as ``plan.cpus``.
    """
    with pinned(plan.cpus):  # before the engines start their threads, which inherit the affinity
        return _time_variants(openers, pixels, plan, show)


def _time_variants(
    openers: Openers, pixels: np.ndarray, plan: Plan, show: Callable[[float], None]
) -> tuple[dict[str, Timing], Conduct | None]:
    timings: dict[str, Timing] = {}
    runners: dict[str, Any] = {}
    starts: dict[str, tuple[float, float]] = {}
    for name, open_runner in openers.items():
        try:
            # The first opening includes importing the engine and reading the disk; the
            # second is what every later start of an app takes.
            open_runner()
            begun = time.perf_counter_ns()
            runner = open_runner()
            opened = time.perf_counter_ns()
            runner.prepare(pixels[:1])
            runner.invoke()
            ran = time.perf_counter_ns()
        except Exception as error:  # a variant that fails is a result
            timings[name] = Timing(error=reason(error))
            continue
        runners[name] = runner
        starts[name] = ((opened - begun) / 1e6, (ran - opened) / 1e6)
    if not runners:
        return timings, None
    samples, conduct = interleave(runners, pixels, plan, show=show)
    for name in runners:
        init_ms, first_run_ms = starts[name]
        timings[name] = Timing(samples[name], round(init_ms, 3), round(first_run_ms, 3))
    return timings, conduct


@dataclass(frozen=True)
class Memory:
    """Peak resident memory, bytes.

    Attributes:
        added: Above that of the process with the engine loaded.
        process: Of the whole process.
    """

    added: int
    process: int


def measure_memory(open_runner: Callable[[], Any], load_engine: Callable[[], Any]) -> Memory | None:
    """Measure the memory of one model. Call it in a fresh process, or earlier work is counted too.

    Args:
        load_engine: Imports the engine, whose memory is not counted.

    Returns:
        ``None`` where the system does not report it.
    """
    load_engine()
    if not reset_peak_memory():  # memory that the import used and freed would be counted too
        return None
    before = memory_bytes()
    runner = open_runner()
    runner.prepare(np.zeros((1, *runner.input_spec.hwc), np.uint8))
    for _ in range(3):
        runner.invoke()
    after = memory_bytes()
    return Memory(max(after[1] - before[0], 0), after[1]) if before and after else None


def checking_inputs(openers: Openers, pixels: np.ndarray, hashes: Mapping[str, Sequence[str]]) -> Openers:
    """Return openers that also compare the input tensors of a bundle's golden images with those of its export.

    Args:
        pixels: the golden images, uint8 [N, H, W, 3].
        hashes: SHA-256 of each image's input tensor, by variant; a variant without any is not checked.

    Returns:
        Openers that raise ``ValueError`` if one differs.
    """

    def opening(name: str, open_runner: Callable[[], Any]) -> Any:
        runner = open_runner()
        if name in hashes and list(runner.input_sha256(pixels)) != list(hashes[name]):
            raise ValueError(OTHER_INPUTS)
        return runner

    return {name: partial(opening, name, open_runner) for name, open_runner in openers.items()}


class Embedders:
    """Open variants that embed batch after batch. One that fails is dropped; ``errors`` has the reason."""

    def __init__(self, openers: Openers) -> None:
        self.errors: dict[str, str] = {}
        self._runners: dict[str, Any] = {}
        for name, open_runner in openers.items():
            try:
                self._runners[name] = open_runner()
            except Exception as error:
                self.errors[name] = reason(error)

    def embed(self, pixels: np.ndarray, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Embed one batch with those of ``names`` (default: all) that still work: float32 [B, D] by variant.

        Args:
            pixels: uint8 [B, H, W, 3], preprocessed.
        """
        rows = {}
        for name in list(self._runners if names is None else names):
            if name in self._runners:
                try:
                    rows[name] = self._runners[name].embed(pixels)
                except Exception as error:
                    self.errors[name] = reason(error)
                    del self._runners[name]
        return rows


def joined(rows: list[np.ndarray]) -> Embedded:
    """Concatenate the batches of one variant; NaN or infinity is an error."""
    embeddings = np.concatenate(rows)
    broken = int((~np.isfinite(embeddings).all(axis=1)).sum())
    if broken:
        return Embedded(error=f"{broken} of {len(embeddings)} embeddings hold NaN or infinity")
    return Embedded(embeddings)
