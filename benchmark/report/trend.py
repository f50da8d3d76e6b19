"""Render results over time, as lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from benchmark.differences import Measure, measures
from benchmark.history import Series
from benchmark.report.charts import Tick, nice_ticks
from benchmark.report.html import page

__all__ = ["TrendLine", "line", "render_trend"]


@dataclass(frozen=True)
class TrendLine:
    """One measure of one series; positions in SVG units of a box of 100 × 100."""

    measure: Measure
    path: str
    dots: list[tuple[float, float, str]]  # x, y, tooltip
    ticks: list[Tick]
    last: float


def line(entry: Series, measure: Measure) -> TrendLine | None:
    """Draw the values in order of time, evenly spaced; ``None`` if none was measured."""
    found = [
        (index, value, result)
        for index, result in enumerate(entry.results)
        if (value := measure.value(result.variant(entry.variant))) is not None
    ]
    if not found:
        return None
    values = [value for _, value, _ in found]
    # The range is at least 4 % (4 points), so that noise does not look like an event.
    middle = (max(values) + min(values)) / 2
    span = max(1.25 * (max(values) - min(values)), 0.04 * abs(middle) if measure.relative else 4.0, 1e-9)
    low = middle - span / 2
    across = 96 / max(len(entry.results) - 1, 1)
    dots = [
        (
            round(2 + across * index, 2),
            round(100 - 100 * (value - low) / span, 2),
            f"{datetime.fromisoformat(result.created):%Y-%m-%d %H:%M}: {value:.{measure.digits}f} {measure.unit}",
        )
        for index, value, result in found
    ]
    path = "M" + " L".join(f"{x},{y}" for x, y, _ in dots)
    ticks = [Tick(round(100 - 100 * (value - low) / span, 2), f"{value:g}") for value in nice_ticks(low, low + span, 3)]
    return TrendLine(measure, path, dots, ticks, values[-1])


def render_trend(entries: Sequence[Series]) -> str:
    """Render the page; see :func:`benchmark.report.html.page`."""
    drawn = [
        {
            "series": entry,
            "lines": [
                found
                for measure in measures(entry.results[-1])
                if measure.name != "latency p90" and (found := line(entry, measure))
            ],
            "first": entry.results[0].created[:10],
            "last": entry.results[-1].created[:10],
        }
        for entry in entries
    ]
    return page("trend.html", entries=drawn)
