"""Compare two results: what changed, and what got worse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmark.result import Result, VariantResult, agreement_with

__all__ = ["Change", "Measure", "Tolerances", "differences", "measures", "mismatches"]


@dataclass(frozen=True)
class Tolerances:
    """Changes beyond which a measure counts as worse: points for Recall@1, percent of the earlier value otherwise."""

    recall_loss: float = 0.5
    slowdown: float = 5.0  # less is drift
    growth: float = 1.0


@dataclass(frozen=True)
class Measure:
    """One column: how to read it, and whether its change is a difference (points) or a ratio (percent)."""

    name: str
    unit: str
    value: Callable[[VariantResult], float | None]
    relative: bool
    better: Literal["more", "less"]
    gate: Literal["recall_loss", "slowdown", "growth"]  # field of Tolerances
    digits: int


def _agreement(variant: VariantResult) -> float | None:
    found = agreement_with(variant, "PyTorch")
    return None if found is None else 100 * found.overlap[found.main_k]


_RECALL = Measure("Recall@1", "%", lambda v: 100 * v.recall[1] if v.recall else None, False, "more", "recall_loss", 2)
_AGREEMENT = Measure("agreement@10", "%", _agreement, False, "more", "recall_loss", 2)
_COSTS = (
    Measure("latency p50", "ms", lambda v: v.latency_ms.p50 if v.latency_ms else None, True, "less", "slowdown", 3),
    Measure("latency p90", "ms", lambda v: v.latency_ms.p90 if v.latency_ms else None, True, "less", "slowdown", 3),
    Measure("size", "kB", lambda v: v.size_bytes / 1000, True, "less", "growth", 1),
)


def measures(result: Result) -> tuple[Measure, ...]:
    """Return what is compared: Recall@1 or, without labels, agreement@10 with PyTorch; and the costs."""
    return (_AGREEMENT if result.data.classes is None else _RECALL, *_COSTS)


@dataclass(frozen=True)
class Change:
    """One measure of one variant in an earlier and a later result.

    Attributes:
        change: Points for Recall@1 and agreement@10, otherwise percent; ``None`` where one side was not measured.
        worse: Worse by more than the tolerance, or no longer measured.
        better: Better by more than the tolerance.
    """

    variant: str
    measure: Measure
    before: float | None
    after: float | None
    change: float | None
    worse: bool
    better: bool

    def as_json(self) -> dict[str, Any]:
        """Return plain values; a change from zero has no number."""
        return {
            "variant": self.variant,
            "measure": self.measure.name,
            "unit": self.measure.unit,
            "before": self.before,
            "after": self.after,
            "change": self.change if self.change is None or math.isfinite(self.change) else None,
            "change_unit": "percent" if self.measure.relative else "points",
            "worse": self.worse,
            "better": self.better,
        }


def differences(before: Result, after: Result, tolerances: Tolerances | None = None) -> list[Change]:
    """Compare every measure of every variant in ``before``; a variant that is gone or failed is worse."""
    tolerances = tolerances or Tolerances()
    later = {variant.name: variant for variant in after.variants}
    return [
        _change(variant, later.get(variant.name), measure, tolerances)
        for variant in before.variants
        for measure in measures(before)
    ]


def _change(before: VariantResult, after: VariantResult | None, measure: Measure, tolerances: Tolerances) -> Change:
    old = measure.value(before)
    new = measure.value(after) if after is not None else None
    if old is None or new is None:
        return Change(before.name, measure, old, new, None, worse=old is not None, better=False)
    change = new - old
    if measure.relative:
        change = 100 * change / old if old else (0.0 if new == old else float("inf"))
    loss = -change if measure.better == "more" else change
    limit = getattr(tolerances, measure.gate) + 1e-9  # tolerate rounding: 0.5 points are not more than 0.5 points
    return Change(before.name, measure, old, new, change, worse=loss > limit, better=loss < -limit)


def mismatches(results: Sequence[Result]) -> list[str]:
    """Return reasons why the figures of these results may not be comparable."""
    found = []
    for what, values in (
        ("the images differ: Recall cannot be compared", [result.data.fingerprint for result in results]),
        (
            "devices differ: latencies cannot be compared",
            [(r.machine.device, r.machine.cpu, r.machine.cores) for r in results],
        ),
        ("numbers of threads differ", [r.machine.latency.threads for r in results if r.machine.latency]),
        ("delegates differ", [result.machine.delegate for result in results]),
        (
            "engine versions differ",
            [tuple(r.machine.packages.get(p) for p in ("ai-edge-litert", "onnxruntime")) for r in results],
        ),
        ("CPU governors differ", [result.machine.governor for result in results]),
    ):
        if len(set(values)) > 1:
            found.append(what)
    drifted = sum(result.machine.latency.drift_flagged for result in results if result.machine.latency)
    if drifted:
        found.append(
            f"the machine drifted by more than 5 % in {drifted} of {len(results)} results: latencies are doubtful"
        )
    return found
