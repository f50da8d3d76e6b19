"""Rules that choose the range of an activation from its values on calibration images.

- ``minmax``: the smallest and the largest value.
- ``percentile:P``: P % of the values lie within; half of the rest is cut off at each end.
- ``mse``: the range with the least expected squared error. A value that is cut off costs its squared distance to the
  range, any other step²/12, and an exact zero nothing, because it has a level of its own.

A range always holds 0. The values are computed twice: first for their ends, then for a histogram of ``BINS`` bins
between these, so that a percentile is exact to 1/BINS of the range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distill.console import UsageFailure, suggest
from export.graph.folded import INPUT, FoldedGraph, Layer
from export.int8.arithmetic import INT8_STEPS, widened

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BINS", "MINMAX", "Range", "RangeRule", "find_ranges", "graph_ranges", "parse_rule"]

BINS = 8192
_SHARES = np.linspace(0.1, 1.0, 91)  # shares of an end that ``mse`` tries
Range = tuple[float, float]


@dataclass(frozen=True)
class RangeRule:
    """A rule.

    Attributes:
        kind: minmax, percentile or mse.
        percent: share of the values to keep, for percentile.
    """

    kind: str
    percent: float = 100.0

    def __str__(self) -> str:
        return f"{self.kind}:{self.percent:g}" if self.kind == "percentile" else self.kind


MINMAX = RangeRule("minmax")
_KINDS = ("minmax", "percentile", "mse")


def parse_rule(text: str) -> RangeRule:
    """Parse ``minmax``, ``percentile:99.99`` or ``mse``.

    Raises:
        UsageFailure: any other text, or a percentage outside 50..100.
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
    """Return the range of each tensor.

    Args:
        values: returns all batches, each from tensor name to float array; called once for minmax, otherwise twice.
        rule: the rule.
        whole: tensors that keep their smallest and largest value under any rule.

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
    """Return the ranges of the image (``image``) and of every layer's output, by name.

    Args:
        graph: the folded network.
        images: returns the scaled images, float32 ``[1, side, side, 3]``, one by one; called once or twice.
        rule: the rule; the image keeps its smallest and largest value.
    """
    return find_ranges(lambda: _graph_values(graph, images()), rule)


def _graph_values(graph: FoldedGraph, images: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    import torch

    from export.graph.torch_network import batches, run

    with torch.inference_mode():
        for batch in batches(images):
            seen = {INPUT: batch.numpy()}

            def visit(layer: Layer, _: Tensor, after: Tensor, seen: dict[str, np.ndarray] = seen) -> None:
                seen[layer.name] = after.numpy()

            run(graph, batch, visit)
            yield seen


def _histogram(array: np.ndarray, low: float, high: float) -> tuple[np.ndarray, int]:
    """Count the values other than 0 in ``BINS`` bins from ``low`` to ``high``, and the zeros."""
    import torch

    flat = torch.from_numpy(np.ascontiguousarray(array, np.float32)).flatten()
    flat = flat[flat != 0]
    zeros = array.size - len(flat)
    if high <= low or not len(flat):
        return np.zeros(BINS, np.int64), zeros
    # float32 counts exactly up to 2^24. A bin of one batch has fewer values, and sums over batches are int64.
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
    return widened(float(edges[min(first, BINS - 1)]), float(edges[min(last, BINS - 1) + 1]))


def _bin_of_zero(low: float, high: float) -> int:
    return min(int(-low / (high - low) * BINS), BINS - 1) if high > low else 0


def _least_error(counts: np.ndarray, zeros: int, low: float, high: float, percent: float) -> Range:
    """Minimize the error by coordinate descent over both ends: it is smooth, and nearly separable."""
    edges = np.linspace(low, high, BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    occupied = np.flatnonzero(counts)
    middles, weights = middles[occupied], counts[occupied].astype(np.float64)

    def error(bottom: float, top: float) -> float:
        step = (top - bottom) / INT8_STEPS
        cut = np.maximum(bottom - middles, 0) + np.maximum(middles - top, 0)
        kept = weights[cut == 0].sum()
        return float((weights * cut**2).sum() + kept * step**2 / 12)

    bottom, top = low, high
    for _ in range(3):
        top = min((high * share for share in _SHARES), key=lambda end: error(bottom, end)) if high > 0 else high
        bottom = min((low * share for share in _SHARES), key=lambda end: error(end, top)) if low < 0 else low
    return bottom, top
