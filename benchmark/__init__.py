"""Stage 3: bundle to report: latency, size and Recall@K against the PyTorch model.

The names below are the public Python interface (``docs/api``). They are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.gates import Limits
    from benchmark.result import Result, read_result, write_result
    from benchmark.run import BenchmarkOptions, measure
    from benchmark.timing import Plan

__all__ = ["BenchmarkOptions", "Limits", "Plan", "Result", "measure", "read_result", "write_result"]

_HOMES = {
    "BenchmarkOptions": "benchmark.run",
    "Limits": "benchmark.gates",
    "Plan": "benchmark.timing",
    "Result": "benchmark.result",
    "measure": "benchmark.run",
    "read_result": "benchmark.result",
    "write_result": "benchmark.result",
}

if not TYPE_CHECKING:  # a type checker reads the imports above

    def __getattr__(name):
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
