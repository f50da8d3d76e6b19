"""Limits that a release must keep, and the verdict they give on one variant, the candidate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.result import Gate, LatencyRun, Machine, Reference, VariantResult, GateReport
from benchmark.text import percent, points
from distill.console import UsageFailure, suggest

__all__ = ["DROP_GATE", "RULES", "Limits", "choose_candidate", "judge"]

DROP_GATE = "drop of Recall@1"

HEATED = 10.0  # degrees Celsius
LOW_BATTERY = 20  # percent

# What goes on the phone by default: the first of these that the bundle has.
PREFERRED = ("tflite-int8", "tflite-float16", "tflite-float32")


@dataclass(frozen=True)
class Limits:
    """``None``: no such gate."""

    max_latency_ms: float | None = None  # of the 90th percentile, as MLPerf Mobile counts
    max_size_kb: float | None = None  # 1 kB = 1000 bytes
    max_memory_mb: float | None = None  # 1 MB = 1e6 bytes, what the model adds to the loaded engine
    max_recall_drop: float | None = None  # points (hundredths) of Recall@1 below PyTorch
    min_recall: float | None = None  # percent, Recall@1
    min_cosine: float | None = None  # mean over the images, against PyTorch
    max_asymmetric_drop: float | None = (
        None  # points of Recall@1, queries of the candidate on the gallery of its float model
    )

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not math.isfinite(value):
                raise UsageFailure(f"--{name.replace('_', '-')} {value}: not a limit", "give a number, e.g. 1")


@dataclass(frozen=True)
class Rule:
    """How one limit is held against a variant."""

    limit: str  # field of Limits
    name: str
    unit: str
    value: Callable[[VariantResult], float | None]  # in that unit; None: not measured
    kind: Literal["max", "min"] = "max"


RULES = (
    Rule("max_latency_ms", "latency p90", "ms", lambda v: v.latency_ms.p90 if v.latency_ms else None),
    Rule("max_size_kb", "size", "kB", lambda v: v.size_bytes / 1000),
    Rule("max_memory_mb", "peak memory", "MB", lambda v: v.memory_bytes / 1e6 if v.memory_bytes is not None else None),
    Rule("max_recall_drop", DROP_GATE, "points", lambda v: 100 * v.recall_drop[1].value if v.recall_drop else None),
    Rule("min_recall", "Recall@1", "%", lambda v: 100 * v.recall[1] if v.recall else None, "min"),
    Rule("min_cosine", "mean cosine to PyTorch", "", lambda v: v.cosine.mean if v.cosine else None, "min"),
    Rule(
        "max_asymmetric_drop",
        "drop on the float model's gallery",
        "points",
        lambda v: 100 * v.asymmetric[0].recall_drop.value if v.asymmetric else None,
    ),
)


def choose_candidate(names: Sequence[str], wanted: str | None = None) -> str:
    """The variant that the gates judge.

    Raises:
        UsageFailure: ``wanted`` is not in the bundle.
    """
    if wanted is not None:
        if wanted not in names:
            raise UsageFailure(f"--candidate {wanted}: no such variant in the bundle", suggest(wanted, names))
        return wanted
    return next((name for name in PREFERRED if name in names), names[0])


def judge(
    candidate: VariantResult,
    variants: Sequence[VariantResult],
    pytorch: Reference | None,
    machine: Machine,
    limits: Limits,
    warnings: Sequence[str] = (),
) -> GateReport:
    """Hold the candidate against the limits.

    The recall gate compares the measured drop itself; its interval is in the text, so a limit
    inside the interval is visible as undecided. A gate whose value is missing fails.
    """
    gates = list(_gates(candidate, limits))
    passed = candidate.status == "ok" and all(gate.passed for gate in gates)
    warnings = [*warnings, *_warnings(variants, machine)]
    drop = candidate.recall_drop[1] if candidate.recall_drop else None
    if drop and limits.max_recall_drop is not None and drop.ci95[0] < limits.max_recall_drop / 100 < drop.ci95[1]:
        warnings.append(
            f"the limit of {limits.max_recall_drop:g} points lies inside the 95 % interval of the drop: "
            "more test images would decide it"
        )
    return GateReport(
        passed=passed,
        candidate=candidate.name,
        gates=gates,
        warnings=warnings,
        text=_sentence(candidate, pytorch, gates, passed),
    )


def _gates(candidate: VariantResult, limits: Limits) -> list[Gate]:
    gates = []
    for rule in RULES:
        limit, value = getattr(limits, rule.limit), rule.value(candidate)
        if limit is not None:
            kept = value is not None and (value <= limit if rule.kind == "max" else value >= limit)
            gates.append(Gate(name=rule.name, limit=limit, value=value, unit=rule.unit, kind=rule.kind, passed=kept))
    return gates


def _warnings(variants: Sequence[VariantResult], machine: Machine) -> list[str]:
    found = [f"{variant.name} failed: {variant.error}" for variant in variants if variant.status == "failed"]
    run = machine.latency
    if run and run.drift_flagged:
        found.append(
            f"{run.drift_variant} was {abs(run.drift):.0%} {'slower' if run.drift > 0 else 'faster'} "
            "at the end than at the start: the machine was busy or throttled, trust ratios more than times"
        )
    found += _heat(run) if run else []
    charge = machine.phone.battery_percent if machine.phone else None
    if charge is not None and charge < LOW_BATTERY and not machine.emulated:
        found.append(f"battery at {charge} %: phones slow down when it is low")
    unstable = [v.name for v in variants if v.warmup_stable is False]
    if unstable:
        found.append(f"warm-up did not settle for {', '.join(unstable)}: the machine was busy")
    thin = [v.name for v in variants if v.latency_ms and v.latency_ms.samples < 100]
    if thin:
        found.append(f"p99 rests on fewer than 100 samples for {', '.join(thin)}")
    return found


def _heat(run: LatencyRun) -> list[str]:
    before, after = run.vitals_before, run.vitals_after
    if before is None or after is None:
        return []
    found = []
    status = max(before.thermal_status or 0, after.thermal_status or 0)
    if status:
        found.append(
            f"the phone was throttled for heat (thermal status {status} of 6): let it cool, --rest-ms gives it pauses"
        )
    if before.throttled is not None and after.throttled is not None and after.throttled > before.throttled:
        found.append(
            f"the processor slowed down for heat {after.throttled - before.throttled} times: --rest-ms gives it pauses"
        )
    rise = max(
        (after.celsius[zone] - before.celsius[zone] for zone in before.celsius.keys() & after.celsius.keys()), default=0
    )
    if rise > HEATED:
        found.append(f"the device got {rise:.0f} °C warmer while it was timed: --rest-ms gives it pauses")
    if before.governors != after.governors:
        found.append(f"the CPU governor changed from {', '.join(before.governors)} to {', '.join(after.governors)}")
    return found


def _sentence(candidate: VariantResult, pytorch: Reference | None, gates: Sequence[Gate], passed: bool) -> str:
    if candidate.status == "failed":
        return f"{candidate.name} could not be measured: {candidate.error}"
    parts = []
    if candidate.recall:
        text = f"Recall@1 {percent(candidate.recall[1])} %"
        if candidate.recall_drop and pytorch:
            drop = candidate.recall_drop[1]
            text += (
                f" against {percent(pytorch.recall[1])} % in PyTorch "
                f"(drop {points(drop.value)} points, 95 % interval {points(drop.ci95[0])} to {points(drop.ci95[1])})"
            )
        else:
            text += " (no drop: give --checkpoint to compare with PyTorch)"
        parts.append(text)
    if candidate.latency_ms:
        parts.append(f"{candidate.latency_ms.p50:.2f} ms median, {candidate.latency_ms.p90:.2f} ms at p90")
    parts.append(f"{candidate.size_bytes / 1000:,.0f} kB")
    if not gates:
        end = "No limits were set."
    elif passed:
        end = "Every limit is kept."
    else:
        failed = [gate.name for gate in gates if not gate.passed]
        end = f"{'Over the limit' if all(gate.kind == 'max' for gate in gates) else 'Limits not kept'}: {', '.join(failed)}."
    return f"{candidate.name}: {'; '.join(parts)}. {end}"
