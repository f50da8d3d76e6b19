"""What ``--repair`` can name: a table. A new repair is one more row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distill.console import UsageFailure, suggest

if TYPE_CHECKING:
    from export.calibration import CalibrationImages
    from export.graph import FoldedGraph

__all__ = ["AUTO", "METHODS", "Repaired", "methods_of", "repair"]

AUTO = "auto"


def _equalize(graph: FoldedGraph, images: Iterable[np.ndarray]) -> FoldedGraph:
    from export.repair.equalize import equalize  # torch

    return equalize(graph, images)


def _correct_bias(graph: FoldedGraph, images: Iterable[np.ndarray]) -> FoldedGraph:
    from export.repair.bias import correct_bias  # torch

    return correct_bias(graph, images)


_Step = Callable[["FoldedGraph", Iterable[np.ndarray]], "FoldedGraph"]

# From the cheapest on: the order in which ``auto`` tries. First the steps that keep the float function.
METHODS: dict[str, tuple[tuple[_Step, ...], tuple[_Step, ...]]] = {
    "none": ((), ()),
    "cle": ((_equalize,), ()),
    "bias": ((), (_correct_bias,)),
    "cle+bias": ((_equalize,), (_correct_bias,)),
}


@dataclass(frozen=True)
class Repaired:
    """``graph`` is to be quantized; ``exact`` computes the original function and has the same scales."""

    method: str
    graph: FoldedGraph
    exact: FoldedGraph


def methods_of(text: str) -> tuple[str, ...]:
    """The methods to try for a value of ``--repair``, in order.

    Raises:
        UsageFailure: an unknown one.
    """
    if text == AUTO:
        return tuple(METHODS)
    if text not in METHODS:
        raise UsageFailure(f"--repair: unknown '{text}'", suggest(text, [*METHODS, AUTO]))
    return (text,)


def repair(graph: FoldedGraph, method: str, calibration: CalibrationImages) -> Repaired:
    """Apply one method of the table."""
    keeping, changing = METHODS[method]
    exact = graph
    for step in keeping:
        exact = step(exact, calibration.scaled())
    changed = exact
    for step in changing:
        changed = step(changed, calibration.scaled())
    return Repaired(method, changed, exact)
