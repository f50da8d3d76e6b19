"""Stage 3: bundle to report: latency, size and Recall@K against the PyTorch model.

The names below are the public Python interface (``docs/api``). They are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.lazy import lazy_names

if TYPE_CHECKING:
    from benchmark.gates import Limits
    from benchmark.options import BenchmarkOptions
    from benchmark.plan import Plan
    from benchmark.result import Result, read_result, write_result
    from benchmark.run import measure

__all__ = ["BenchmarkOptions", "Limits", "Plan", "Result", "measure", "read_result", "write_result"]

_HOMES = {
    "BenchmarkOptions": "benchmark.options",
    "Limits": "benchmark.gates",
    "Plan": "benchmark.plan",
    "Result": "benchmark.result",
    "measure": "benchmark.run",
    "read_result": "benchmark.result",
    "write_result": "benchmark.result",
}

if not TYPE_CHECKING:  # a type checker reads the imports above
    __getattr__ = lazy_names(__name__, _HOMES)
