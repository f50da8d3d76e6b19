"""Duration and order of a latency measurement.

Standard library only: this file is sent to remote devices unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """Duration and order of the measurement.

    Sampling ends when every model has ``max_samples``, or when ``seconds`` have passed and
    every model has at least ``min_samples`` (a slow model may exceed the time).
    """

    threads: int = 1
    seconds: float = 10.0
    min_samples: int = 100
    max_samples: int = 2000
    block: int = 10
    end_to_end: int = 2
    seed: int = 0
    warmup_max_runs: int = 500
    warmup_max_seconds: float = 3.0
    cpus: tuple[int, ...] = ()  # processors to run on; empty: any
    rest_ms: float = 0.0  # pause after every round, against heat; included in ``seconds``
