"""Find and draw the Pareto front of many models: Recall@1 against latency and against size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.differences import mismatches
from benchmark.report.charts import Bubble, Drawing, Tick, nice_ticks, place_labels
from benchmark.report.html import page
from benchmark.result import Result

__all__ = ["Panel", "Point", "front", "panel", "points", "render_pareto"]

NAMED = 8  # more labels than this would hide the points


@dataclass(frozen=True)
class Point:
    """One variant of one result."""

    source: str  # name of the result's file
    variant: str
    recall: float  # 0..1
    p50: float | None  # ms; None: withheld
    size_bytes: int
    best: bool  # no other is at least as good in all three and better in one

    @property
    def name(self) -> str:
        return f"{self.source}: {self.variant}"


def front(values: np.ndarray) -> np.ndarray:
    """Return the rows that no other row dominates.

    Args:
        values: float [N, M], less is better in every column.

    Returns:
        bool [N]; equal rows do not dominate each other.
    """
    at_least = (values[:, None, :] <= values[None, :, :]).all(axis=2)
    better = (values[:, None, :] < values[None, :, :]).any(axis=2)
    return ~(at_least & better).any(axis=0)


def points(results: Sequence[tuple[str, Result]]) -> list[Point]:
    """Return all variants with a Recall; a missing latency counts as infinite."""
    rows = [
        (
            source,
            variant.name,
            variant.recall[1],
            variant.latency_ms.p50 if variant.latency_ms else None,
            variant.size_bytes,
        )
        for source, result in results
        for variant in result.variants
        if variant.recall
    ]
    if not rows:
        return []
    values = np.array([(-recall, float("inf") if p50 is None else p50, size) for _, _, recall, p50, size in rows])
    return [Point(*row, best=bool(flag)) for row, flag in zip(rows, front(values), strict=True)]


@dataclass(frozen=True)
class Panel(Drawing):
    """One chart, in SVG units."""

    title: str
    axis: str
    line: str  # SVG path of the front: the best Recall at each cost


def panel(
    found: Sequence[Point], costs: Sequence[float | None], title: str, axis: str, width: int, height: int
) -> Panel | None:
    """Draw Recall@1 against a cost; ``None`` if no model has that cost."""
    shown = [(point, cost) for point, cost in zip(found, costs, strict=True) if cost is not None]
    if not shown:
        return None
    left, right, top, bottom = 46, width - 14, 20, height - 40
    recalls = [point.recall for point, _ in shown]
    span = max(1.3 * (max(recalls) - min(recalls)), 0.04)  # keeps noise from looking like a difference
    high = min((max(recalls) + min(recalls)) / 2 + span / 2, 1.005)
    low = high - span
    end = 1.12 * max(cost for _, cost in shown) or 1.0

    def across(cost: float) -> float:
        return round(left + (right - left) * cost / end, 2)

    def down(recall: float) -> float:
        return round(bottom - (bottom - top) * (recall - low) / (high - low), 2)

    best = front(np.array([(-point.recall, cost) for point, cost in shown]))
    bubbles = [
        Bubble(point.name, "", bool(flag), across(cost), down(point.recall), 6.0 if flag else 4.5)
        for (point, cost), flag in zip(shown, best, strict=True)
    ]
    steps = sorted((bubble.x, bubble.y) for bubble in bubbles if bubble.candidate)
    line = f"M{steps[0][0]},{bottom} V{steps[0][1]} " + " ".join(f"H{x} V{y}" for x, y in steps[1:]) + f" H{right}"
    named = [bubble for bubble in bubbles if bubble.candidate or len(bubbles) <= NAMED]
    place_labels(named, [], left, right, top, bottom)
    digits = 0 if high - low > 0.1 else 1
    return Panel(
        width,
        height,
        left,
        right,
        top,
        bottom,
        bubbles,
        [Tick(across(value), f"{value:g}") for value in nice_ticks(0, end, 6 if width > 500 else 4)],
        [Tick(down(value), f"{100 * value:.{digits}f}") for value in nice_ticks(low, min(high, 1.0), 5)],
        title,
        axis,
        line,
    )


def render_pareto(results: Sequence[tuple[str, Result]]) -> str:
    """Render the page; see :func:`benchmark.report.html.page`."""
    found = points(results)
    panels = [
        {"class": name, "panel": drawn}
        for costs, title, axis in (
            ([point.p50 for point in found], "Recall@1 against latency", "median latency, ms (less is better)"),
            ([point.size_bytes / 1000 for point in found], "Recall@1 against size", "file, kB (less is better)"),
        )
        for name, width, height in (("wide", 980, 430), ("narrow", 360, 330))
        if (drawn := panel(found, costs, title, axis, width, height))
    ]
    ordered = sorted(found, key=lambda point: (not point.best, -point.recall))
    return page("pareto.html", panels=panels, points=ordered, notes=mismatches([result for _, result in results]))
