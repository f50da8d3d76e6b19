"""Compute the geometry of the report's charts. The template draws them, so that it escapes all text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.gates import DROP_GATE
from benchmark.result import Reference, Result, VariantResult, agreement_with

__all__ = [
    "Bar",
    "Bubble",
    "Distribution",
    "Drawing",
    "Interval",
    "Ridge",
    "Scatter",
    "Tick",
    "bars",
    "distribution",
    "intervals",
    "measure_name",
    "nice_ticks",
    "place_labels",
    "scatter",
]

BINS = 72


@dataclass(frozen=True)
class Tick:
    at: float  # percent of the axis, or SVG units
    text: str


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about ``count`` round numbers within [low, high], 1, 2 or 5 times a power of ten apart."""
    span = max(high - low, 1e-12)
    rough = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


# ---- latency distributions: one row per variant, positions in percent of the row's width


@dataclass(frozen=True)
class Ridge:
    name: str
    candidate: bool
    path: str  # closed SVG path in a box 100 wide and 30 high, baseline at 30
    p50: float | None  # positions, percent; None: beyond the axis
    p90: float | None
    p99: float | None
    variant: VariantResult


@dataclass(frozen=True)
class Distribution:
    ridges: list[Ridge]
    ticks: list[Tick]
    samples: int
    beyond: int  # samples right of the axis


def distribution(result: Result) -> Distribution | None:
    """Draw histograms of the raw samples on a common axis from 0."""
    measured = [variant for variant in result.variants if variant.latency_ms]
    if not measured:
        return None
    latencies = [variant.latency_ms for variant in measured if variant.latency_ms]
    # A far tail drawn to scale would squeeze everything else; the figures include it.
    end = min(1.06 * max(latency.p99 for latency in latencies), 1.8 * max(latency.p50 for latency in latencies))
    edges = np.linspace(0, end, BINS + 1)
    ridges = []
    for variant, latency in zip(measured, latencies, strict=True):
        counts, _ = np.histogram(latency.raw, bins=edges)
        heights = 28 * counts / max(counts.max(), 1)
        points = [
            f"{100 * i / BINS:.2f},{30 - h:.2f} {100 * (i + 1) / BINS:.2f},{30 - h:.2f}" for i, h in enumerate(heights)
        ]
        p50, p90, p99 = (
            round(100 * value / end, 3) if value <= end else None for value in (latency.p50, latency.p90, latency.p99)
        )
        ridges.append(
            Ridge(
                variant.name,
                variant.name == result.verdict.candidate,
                f"M0,30 L{' '.join(points)} L100,30 Z",
                p50,
                p90,
                p99,
                variant,
            )
        )
    ticks = [Tick(round(100 * value / end, 3), f"{value:g}") for value in nice_ticks(0, end, 5)]
    beyond = sum(value > end for latency in latencies for value in latency.raw)
    return Distribution(ridges, ticks, sum(latency.samples for latency in latencies), beyond)


# ---- Recall@1 (without labels: agreement with a reference) as bars


def measure_name(result: Result) -> str:
    """Return what the charts show: Recall@1 or, without labels, the agreement with a reference."""
    if result.data.classes is not None:
        return "Recall@1"
    found = [one for v in result.variants for one in v.agreement or () if one.reference == result.agreement_reference]
    return f"agreement@{found[0].main_k} with {found[0].reference}" if found else "Recall@1"


def _measured(result: Result, model: VariantResult | Reference) -> tuple[float, tuple[float, float] | None] | None:
    """Return this figure of a model and its interval; None if it has none."""
    if model.recall:
        return model.recall[1], (model.recall_ci95 or {}).get(1)
    found = agreement_with(model, result.agreement_reference or "")
    return None if found is None else (found.overlap[found.main_k], found.overlap_ci95[found.main_k])


@dataclass(frozen=True)
class Bar:
    name: str
    note: str
    value: float  # 0..1
    interval: tuple[float, float] | None
    kind: str  # "reference", "pytorch", "candidate", "variant"


def bars(result: Result) -> list[Bar]:
    """Return the bars of the references, the model in PyTorch and the variants, in this order."""
    rows = []
    models = [(one, one.name, "reference") for one in result.references]
    models += [(result.pytorch, "This model in PyTorch", "pytorch")] if result.pytorch else []
    for model, name, kind in models:
        if found := _measured(result, model):
            note = f"{model.arch}, {_million(model.parameters)} parameters"
            rows.append(Bar(name, note, *found, kind))
    for variant in result.variants:
        if found := _measured(result, variant):
            kind = "candidate" if variant.name == result.verdict.candidate else "variant"
            rows.append(Bar(variant.name, f"{variant.size_bytes / 1000:,.0f} kB", *found, kind))
    return rows


def _million(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e6:.2f} M"


# ---- drop against PyTorch with its interval, positions in percent of a common axis


@dataclass(frozen=True)
class Interval:
    variant: VariantResult
    candidate: bool
    low: float
    high: float
    at: float


def intervals(result: Result) -> tuple[list[Interval], float, float | None, list[Tick]]:
    """Return (rows, position of zero, position of the gate's limit, ticks); all positions in percent."""
    measured = [variant for variant in result.variants if variant.recall_drop]
    limit = next((gate.limit for gate in result.verdict.gates if gate.name == DROP_GATE), None)
    bounds = [
        100 * bound for v in measured if v.recall_drop for bound in (*v.recall_drop[1].ci95, v.recall_drop[1].value)
    ]
    low, high = min([0.0, *bounds]), max([0.0, *bounds, *([limit] if limit is not None else [])])
    pad = max(0.08 * (high - low), 0.25)
    low, high = low - pad, high + pad

    def place(points: float) -> float:
        return round(100 * (points - low) / (high - low), 3)

    rows = []
    for variant in measured:
        drop = variant.recall_drop[1] if variant.recall_drop else None
        assert drop is not None
        rows.append(
            Interval(
                variant,
                variant.name == result.verdict.candidate,
                place(100 * drop.ci95[0]),
                place(100 * drop.ci95[1]),
                place(100 * drop.value),
            )
        )
    ticks = [Tick(place(value), f"{value:g}") for value in nice_ticks(low, high, 5)]
    return rows, place(0), None if limit is None else place(limit), ticks


# ---- Recall@1 against latency, area by size: SVG units


@dataclass
class Bubble:
    name: str
    note: str
    candidate: bool
    x: float
    y: float
    radius: float
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"
    leader: bool = False


@dataclass(frozen=True)
class Drawing:
    """Frame, discs and ticks of a chart of discs, in SVG units."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    bubbles: list[Bubble]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True)
class Scatter(Drawing):
    pytorch_y: float | None
    limit_y: float | None


def scatter(result: Result, width: int, height: int) -> Scatter | None:
    """Draw Recall@1 (or the agreement) against latency in ``width`` × ``height`` units, with labels that do not overlap."""
    found = {variant.name: _measured(result, variant) for variant in result.variants if variant.latency_ms}
    measured = [variant for variant in result.variants if found.get(variant.name)]
    if not measured:
        return None
    left, right, top, bottom = 46, width - 14, 20, height - 40
    times = [variant.latency_ms.p50 for variant in measured if variant.latency_ms]
    recalls = [value[0] for variant in measured if (value := found[variant.name])]
    torch = _measured(result, result.pytorch) if result.pytorch else None
    pytorch = torch[0] if torch else None
    points = next((gate.limit for gate in result.verdict.gates if gate.name == DROP_GATE), None)
    limit = pytorch - points / 100 if pytorch is not None and points is not None else None
    shown = [value for value in (*recalls, pytorch, limit) if value is not None]
    middle, span = (max(shown) + min(shown)) / 2, max(shown) - min(shown)
    span = max(1.5 * span, 0.04)  # keeps noise from looking like a difference
    low, high = middle - span / 2, middle + span / 2
    if high > 1.005:  # keep the span, but end the axis near 100 %
        low, high = max(0.0, low - (high - 1.005)), 1.005
    slow = 1.18 * max(times)
    largest = max(variant.size_bytes for variant in measured)

    def across(milliseconds: float) -> float:
        return round(left + (right - left) * milliseconds / slow, 2)

    def down(recall: float) -> float:
        return round(bottom - (bottom - top) * (recall - low) / (high - low), 2)

    bubbles = []
    for variant, milliseconds, recall in zip(measured, times, recalls, strict=True):
        radius = max(4.0, 0.055 * min(width, 1.4 * height) * math.sqrt(variant.size_bytes / largest))
        bubbles.append(
            Bubble(
                variant.name,
                f"{variant.size_bytes / 1000:,.0f} kB",
                variant.name == result.verdict.candidate,
                across(milliseconds),
                down(recall),
                round(radius, 2),
            )
        )
    words = [
        (left, line - 20, left + 60, line) for recall in (pytorch,) if recall is not None for line in (down(recall),)
    ]
    words += [
        (left, line, left + 90, line + 18) for recall in (limit,) if recall is not None for line in (down(recall),)
    ]
    place_labels(bubbles, words, left, right, top, bottom)
    bubbles.sort(key=lambda bubble: -bubble.radius)
    digits = 0 if high - low > 0.1 else 1
    return Scatter(
        width,
        height,
        left,
        right,
        top,
        bottom,
        bubbles,
        [Tick(across(value), f"{value:g}") for value in nice_ticks(0, slow, 6 if width > 500 else 4)],
        [Tick(down(value), f"{100 * value:.{digits}f}") for value in nice_ticks(low, min(high, 1.0), 5)],
        down(pytorch) if pytorch is not None else None,
        down(limit) if limit is not None else None,
    )


Box = tuple[float, float, float, float]


def place_labels(
    bubbles: Sequence[Bubble], words: Sequence[Box], left: float, right: float, top: float, bottom: float
) -> None:
    """Place each label in the nearest free spot around its bubble, greedily, the candidate first; avoid ``words``."""
    discs: list[Box] = [(b.x - b.radius, b.y - b.radius, b.x + b.radius, b.y + b.radius) for b in bubbles]
    taken: list[Box] = list(words)
    for bubble in sorted(bubbles, key=lambda b: (not b.candidate, b.radius)):
        wide, high = 7.1 * max(len(bubble.name), len(bubble.note)) + 6, 27.0
        best: tuple[float, Box, str, float] | None = None
        for reach in (6.0, 14, 24, 36, 50, 66, 84, 104):
            for step in range(16):
                angle = math.pi * step / 8
                x = bubble.x + (bubble.radius + reach) * math.cos(angle)
                y = bubble.y + (bubble.radius + reach) * math.sin(angle)
                anchor = "start" if math.cos(angle) > 0.2 else "end" if math.cos(angle) < -0.2 else "middle"
                x0 = x - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
                y0 = y - high / 2 + high / 2 * math.sin(angle)
                box = (x0, y0, x0 + wide, y0 + high)
                outside = box[0] < left or box[2] > right + 8 or box[1] < top - 14 or box[3] > bottom
                cost = reach + 1000.0 * outside + sum(40 * _overlap(box, b) for b in taken)
                cost += sum(20 * _overlap(box, b) for b in discs) + (4 if anchor == "middle" else 0)
                if best is None or cost < best[0]:
                    best = (cost, box, anchor, reach)
        assert best is not None
        _, box, bubble.anchor, reach = best
        taken.append(box)
        bubble.label_x = round({"start": box[0], "middle": (box[0] + box[2]) / 2, "end": box[2]}[bubble.anchor], 2)
        bubble.label_y = round(box[1] + 11, 2)
        bubble.leader = reach > 14


def _overlap(a: Box, b: Box) -> float:
    """Return the shared area, in units of 100 square SVG units."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, wide) * max(0.0, high) / 100
