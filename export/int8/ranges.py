"""Which values an activation's int8 levels shall span: a rule over what occurs on calibration images.

- ``minmax``: the smallest and the largest value.
- ``percentile:P``: P % of the values lie within, half of the rest is cut at each end.
- ``mse``: the range with the least expected squared error: what is cut costs its squared distance, what
  is kept step²/12, exact zeros nothing (they have a level of their own).

A range always holds 0. Values come twice: first for their ends, then for a histogram of ``BINS`` bins between
these, so that a percentile is exact to 1/BINS of the range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distill.console import UsageFailure, suggest
from export.graph.folded import INPUT

if TYPE_CHECKING:
    from export.graph.folded import FoldedGraph

__all__ = ["BINS", "MINMAX", "Range", "RangeRule", "find_ranges", "graph_ranges", "parse_rule"]

BINS = 8192
_LEVELS = 255  # steps of int8
_SHARES = np.linspace(0.1, 1.0, 91)  # how much of an end ``mse`` may keep
Range = tuple[float, float]


@dataclass(frozen=True)
class RangeRule:
    """``kind``: minmax, percentile or mse; ``percent``: of values kept, for percentile."""

    kind: str
    percent: float = 100.0

    def __str__(self) -> str:
        return f"{self.kind}:{self.percent:g}" if self.kind == "percentile" else self.kind


MINMAX = RangeRule("minmax")
_KINDS = ("minmax", "percentile", "mse")


def parse_rule(text: str) -> RangeRule:
    """``minmax``, ``percentile:99.99`` or ``mse``.

    Raises:
        UsageFailure: anything else, or a percentage outside 50..100.
    """
    kind, colon, number = text.strip().partition(":")
    if kind not in _KINDS:
        raise UsageFailure(f"--calibration-range: unknown '{kind}'", suggest(kind, list(_KINDS)))
    if kind != "percentile":
        if colon:
            raise UsageFailure(f"--calibration-range {text}: {kind} takes no number", f"write {kind}")
        return RangeRule(kind)
    try:
        percent = float(number)
    except ValueError:
        percent = math.nan
    if not 50 <= percent <= 100:
        raise UsageFailure(
            f"--calibration-range {text}", "write percentile:P with P from 50 to 100, e.g. percentile:99.99"
        )
    return RangeRule(kind, percent)


Values = Callable[[], Iterable[Mapping[str, np.ndarray]]]


def find_ranges(values: Values, rule: RangeRule, whole: tuple[str, ...] = (INPUT,)) -> dict[str, Range]:
    """The range of each tensor.

    Args:
        values: called once for minmax and twice for others; each time all batches, name to float array.
        rule: how to choose.
        whole: tensors that keep their smallest and largest value whatever the rule.

    Returns:
        ``(low, high)`` with ``low <= 0 <= high`` by name, in the order of first appearance.
    """
    ends: dict[str, Range] = {}
    for batch in values():
        for name, array in batch.items():
            low, high = ends.get(name, (0.0, 0.0))
            ends[name] = min(low, float(array.min())), max(high, float(array.max()))
    if rule.kind == "minmax":
        return ends
    counts = {name: np.zeros(BINS, np.int64) for name in ends if name not in whole}
    zeros = dict.fromkeys(counts, 0)
    for batch in values():
        for name in counts.keys() & batch.keys():
            found, exact = _histogram(batch[name], *ends[name])
            counts[name] += found
            zeros[name] += exact
    choose = _percentile if rule.kind == "percentile" else _least_error
    return ends | {name: choose(counts[name], zeros[name], *ends[name], rule.percent) for name in counts}


def graph_ranges(graph: FoldedGraph, images: Callable[[], Iterable[np.ndarray]], rule: RangeRule) -> dict[str, Range]:
    """Ranges of the image and of every layer's output, by layer name; the image is ``image``.

    Args:
        graph: the folded network.
        images: called once or twice: scaled images, float32 ``[1, side, side, 3]``, one by one.
        rule: how to choose; the image keeps its smallest and largest value.
    """
    return find_ranges(lambda: _graph_values(graph, images()), rule)


def _graph_values(graph: FoldedGraph, images: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    import torch

    from export.graph.torch_network import batches, run

    with torch.inference_mode():
        for batch in batches(images):
            seen = {INPUT: batch.numpy()}
            run(graph, batch, lambda layer, _, after, seen=seen: seen.update({layer.name: after.numpy()}))
            yield seen


def _histogram(array: np.ndarray, low: float, high: float) -> tuple[np.ndarray, int]:
    """Values other than 0 in ``BINS`` bins from ``low`` to ``high``, and the number of zeros."""
    import torch

    flat = torch.from_numpy(np.ascontiguousarray(array, np.float32)).flatten()
    flat = flat[flat != 0]
    zeros = array.size - len(flat)
    if high <= low or not len(flat):
        return np.zeros(BINS, np.int64), zeros
    # Of 2^24 values or more float32 would lose count: a batch has fewer in one bin, sums are int64.
    return torch.histc(flat, BINS, low, high).long().numpy(), zeros


def _percentile(counts: np.ndarray, zeros: int, low: float, high: float, percent: float) -> Range:
    total = int(counts.sum()) + zeros
    cut = total * (1 - percent / 100) / 2
    edges = np.linspace(low, high, BINS + 1)
    with_zeros = counts.copy()
    if zeros:
        with_zeros[_bin_of_zero(low, high)] += zeros
    below = np.cumsum(with_zeros)
    first = int(np.searchsorted(below, cut, side="right"))  # bins before it hold at most `cut` values
    last = int(np.searchsorted(below, total - cut, side="left"))
    return min(float(edges[min(first, BINS - 1)]), 0.0), max(float(edges[min(last, BINS - 1) + 1]), 0.0)


def _bin_of_zero(low: float, high: float) -> int:
    return min(int(-low / (high - low) * BINS), BINS - 1) if high > low else 0


def _least_error(counts: np.ndarray, zeros: int, low: float, high: float, percent: float) -> Range:
    """Coordinate descent over both ends: the error is smooth, and each end matters by itself."""
    edges = np.linspace(low, high, BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    occupied = np.flatnonzero(counts)
    middles, weights = middles[occupied], counts[occupied].astype(np.float64)

    def error(bottom: float, top: float) -> float:
        step = (top - bottom) / _LEVELS
        cut = np.maximum(bottom - middles, 0) + np.maximum(middles - top, 0)
        kept = weights[cut == 0].sum()
        return float((weights * cut**2).sum() + kept * step**2 / 12)

    bottom, top = low, high
    for _ in range(3):
        top = min((high * share for share in _SHARES), key=lambda end: error(bottom, end)) if high > 0 else high
        bottom = min((low * share for share in _SHARES), key=lambda end: error(end, top)) if low < 0 else low
    return bottom, top
