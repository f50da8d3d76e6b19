"""Render the page of ``distill-bench operators --html``: every operator and the machine's roofs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.report.charts import Bubble, Drawing, Tick, place_labels
from benchmark.report.html import page, write_page

__all__ = ["Roofline", "draw", "render_operators", "write_page"]

NAMED = 6  # labels, for the operators that take longest


@dataclass(frozen=True)
class Roofline(Drawing):
    """A chart with logarithmic axes, in SVG units; ``roofs``: SVG paths by number type and memory."""

    roofs: dict[str, str]


def draw(value: Mapping[str, Any], width: int, height: int) -> Roofline | None:
    """Draw multiply-accumulates per second against multiply-accumulates per byte; ``None`` if nothing multiplies.

    Args:
        value: See :func:`benchmark.operators.roofline.as_json`.
    """
    shown = [row for row in value["operators"] if row["macs"] and row["bytes"] and row["ms"] > 0]
    if not shown:
        return None
    left, right, top, bottom = 52, width - 14, 22, height - 40
    rates = {int(rung): rate for rung, rate in value["bytes_per_second"].items()}
    peaks = value["peak_macs_per_second"]
    xs = [row["macs"] / row["bytes"] for row in shown]
    ys = [1e3 * row["macs"] / row["ms"] for row in shown]
    near, far = max(rates.values()), rates[max(rates)]
    x_low, x_high = _decades(min(xs), max(*xs, max(peaks.values()) / far))
    y_low, y_high = _decades(min(ys), max(*ys, *peaks.values()))

    def across(x: float) -> float:
        return round(left + (right - left) * (math.log10(x) - x_low) / (x_high - x_low), 2)

    def down(y: float) -> float:
        inside = min(max(math.log10(y), y_low), y_high)
        return round(bottom - (bottom - top) * (inside - y_low) / (y_high - y_low), 2)

    def roof(peak: float, rate: float) -> str:
        start = max(10.0**x_low, 10.0**y_low / rate)
        ridge = min(max(peak / rate, start), 10.0**x_high)
        return f"M{across(start)},{down(start * rate)} L{across(ridge)},{down(min(peak, ridge * rate))} H{right}"

    bubbles = [
        Bubble(
            f"{row['operator']} {'×'.join(map(str, row['output'][1:]))}",
            "",
            False,
            across(x),
            down(y),
            3 + 14 * math.sqrt(max(row["share"], 0)),
        )
        for row, x, y in zip(shown, xs, ys, strict=True)
    ]
    longest = sorted(zip(shown, bubbles, strict=True), key=lambda pair: -pair[0]["ms"])
    place_labels([bubble for _, bubble in longest[:NAMED]], [], left, right, top, bottom)
    return Roofline(
        width,
        height,
        left,
        right,
        top,
        bottom,
        bubbles,
        [Tick(across(10.0**power), f"{10.0**power:g}") for power in range(x_low, x_high + 1)],
        [Tick(down(10.0**power), f"{10.0 ** (power - 9):g}") for power in range(y_low, y_high + 1)],
        {
            f"{kind}, {where}": roof(peak, rate)
            for kind, peak in peaks.items()
            for where, rate in (("caches", near), ("main memory", far))
        },
    )


def _decades(low: float, high: float) -> tuple[int, int]:
    """Return the exponents of the powers of ten around a range, at least one apart."""
    first = math.floor(math.log10(low))
    return first, max(math.ceil(math.log10(high)), first + 1)


def render_operators(value: Mapping[str, Any]) -> str:
    """Render the page; see :func:`benchmark.report.html.page`."""
    charts = [
        {"class": name, "chart": drawn}
        for name, wide, high in (("wide", 980, 460), ("narrow", 360, 360))
        if (drawn := draw(value, wide, high))
    ]
    return page("operators.html", value=value, charts=charts)
