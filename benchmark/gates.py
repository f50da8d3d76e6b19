"""Check one variant, the candidate, against the limits of a release."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from benchmark.result import (
    Agreement,
    Gate,
    GateReport,
    LatencyRun,
    Machine,
    RecallDrop,
    Reference,
    VariantResult,
    agreement_with,
)
from benchmark.text import percent, points
from distill.console import UsageFailure, suggest
from distill.options import option

__all__ = ["DROP_GATE", "RULES", "Limits", "choose_candidate", "judge", "make_limits"]

DROP_GATE = "drop of Recall@1"

HEATED = 10.0  # degrees Celsius
LOW_BATTERY = 20  # percent

# Default candidate: the first of these that the bundle has.
PREFERRED = ("tflite-int8", "tflite-float16", "tflite-float32")


def _limit(help_text: str, low: float = -math.inf, high: float = math.inf) -> Any:
    """Return a field of :class:`Limits` with the range that :func:`make_limits` checks."""
    return option(None, help_text, "Limits", ge=low, le=high)


class Limits(BaseModel):
    """Limits; ``None``: no such gate. Every field is a flag of ``distill-bench`` and a key of a gates file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_latency_ms: float | None = _limit("Upper limit of the 90th percentile of the latency.", 0)
    max_size_kb: float | None = _limit("Upper limit of the model file's size, kB of 1000 bytes.", 0)
    max_memory_mb: float | None = _limit(
        "Upper limit of the memory that the model adds to the loaded engine, MB of 1e6 bytes.", 0
    )
    max_recall_drop: float | None = _limit(
        "Upper limit of the drop of Recall@1 in points (1 = one query in a hundred). Needs --checkpoint."
    )
    min_recall: float | None = _limit("Lower limit of Recall@1, percent.", 0, 100)
    min_cosine: float | None = _limit(
        "Lower limit of the mean cosine to PyTorch's embeddings. Needs --checkpoint.", -1, 1
    )
    min_agreement: float | None = _limit(
        "Lower limit of agreement@10 with PyTorch, percent; needs no labels. Needs --checkpoint.", 0, 100
    )
    min_rank_correlation: float | None = _limit(
        "Lower limit of the mean rank correlation with PyTorch; needs no labels. Needs --checkpoint.", -1, 1
    )
    max_agreement_drop: float | None = _limit(
        "Upper limit of the drop of agreement@10 with the first --reference, in points; needs no labels. Needs --checkpoint."
    )
    max_asymmetric_drop: float | None = _limit(
        "Upper limit of the drop of Recall@1 in points on a gallery that the float model indexed."
    )


def make_limits(values: Mapping[str, Any], source: str = "") -> Limits:
    """Build limits; errors name the flag, or the key in ``source``.

    Raises:
        UsageFailure: a value is not a finite number, or out of range.
    """
    for name, value in values.items():
        where = f"{source}: {name}:" if source else f"--{name.replace('_', '-')}"
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageFailure(f"{where} {value!r}: not a limit", "give a number, e.g. 1")
        low, high = _range(name)
        if not low <= value <= high:
            bounds = f"at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
            raise UsageFailure(f"{where} {value!r}: out of range", f"give a number {bounds}")
    return Limits(**values)


def _range(name: str) -> tuple[float, float]:
    """Return the limits of a limit: those that pydantic keeps as ``Ge`` and ``Le``."""
    low, high = Limits.model_fields[name].metadata
    return low.ge, high.le


def _with_pytorch(variant: VariantResult) -> Agreement | None:
    return agreement_with(variant, "PyTorch")


def _agreement(variant: VariantResult) -> float | None:
    found = _with_pytorch(variant)
    return None if found is None else 100 * found.overlap[found.main_k]


def _rank_correlation(variant: VariantResult) -> float | None:
    found = _with_pytorch(variant)
    return None if found is None else found.rank_correlation


def _agreement_drop(variant: VariantResult) -> RecallDrop | None:
    """Return the drop of the agreement with the first reference for which PyTorch's is known."""
    found = next((one for one in variant.agreement or () if one.overlap_drop), None)
    return found.overlap_drop[found.main_k] if found and found.overlap_drop else None


@dataclass(frozen=True)
class Rule:
    """How one limit is checked."""

    limit: str  # field of Limits
    name: str
    unit: str
    value: Callable[[VariantResult], float | None]  # in this unit; None: not measured
    kind: Literal["max", "min"] = "max"


RULES = (
    Rule("max_latency_ms", "latency p90", "ms", lambda v: v.latency_ms.p90 if v.latency_ms else None),
    Rule("max_size_kb", "size", "kB", lambda v: v.size_bytes / 1000),
    Rule("max_memory_mb", "peak memory", "MB", lambda v: v.memory_bytes / 1e6 if v.memory_bytes is not None else None),
    Rule("max_recall_drop", DROP_GATE, "points", lambda v: 100 * v.recall_drop[1].value if v.recall_drop else None),
    Rule("min_recall", "Recall@1", "%", lambda v: 100 * v.recall[1] if v.recall else None, "min"),
    Rule("min_cosine", "mean cosine to PyTorch", "", lambda v: v.cosine.mean if v.cosine else None, "min"),
    Rule("min_agreement", "agreement@10 with PyTorch", "%", _agreement, "min"),
    Rule("min_rank_correlation", "rank correlation with PyTorch", "", _rank_correlation, "min"),
    Rule(
        "max_agreement_drop",
        "drop of agreement@10 with the reference",
        "points",
        lambda v: 100 * drop.value if (drop := _agreement_drop(v)) else None,
    ),
    Rule(
        "max_asymmetric_drop",
        "drop on the float model's gallery",
        "points",
        lambda v: 100 * drop.value if v.asymmetric and (drop := v.asymmetric[0].recall_drop) else None,
    ),
)


def choose_candidate(names: Sequence[str], wanted: str | None = None) -> str:
    """Return the variant that the gates check.

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
    few_classes: int | None = None,
) -> GateReport:
    """Check the candidate against the limits.

    The recall gate compares the measured drop itself; a limit inside its confidence interval is undecided,
    which is a warning. A gate whose value is missing fails.

    Args:
        few_classes: See :attr:`Data.few_classes`.
    """
    gates = list(_gates(candidate, limits))
    passed = candidate.status == "ok" and all(gate.passed for gate in gates)
    warnings = [*warnings, *_warnings(variants, machine)]
    recall_drop = candidate.recall_drop[1] if candidate.recall_drop else None
    for drop, limit in ((recall_drop, limits.max_recall_drop), (_agreement_drop(candidate), limits.max_agreement_drop)):
        if drop and limit is not None and drop.ci95[0] < limit / 100 < drop.ci95[1]:
            warnings.append(
                f"the limit of {limit:g} points lies inside the 95 % interval of the drop: more test images would decide"
            )
    return GateReport(
        passed=passed,
        candidate=candidate.name,
        gates=gates,
        warnings=warnings,
        text=_sentence(candidate, pytorch, gates, passed, few_classes),
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
            "at the end than at the start: the machine was busy or throttled; ratios are more reliable than times"
        )
    found += _heat(run) if run else []
    charge = machine.phone.battery_percent if machine.phone else None
    if charge is not None and charge < LOW_BATTERY and not machine.emulated:
        found.append(f"battery at {charge} %: phones slow down when it is low")
    unstable = [v.name for v in variants if v.warmup_stable is False]
    if unstable:
        found.append(f"the warm-up did not settle for {', '.join(unstable)}: the machine was busy")
    thin = [v.name for v in variants if v.latency_ms and v.latency_ms.samples < 100]
    if thin:
        found.append(f"p99 is based on fewer than 100 samples for {', '.join(thin)}")
    return found


def _heat(run: LatencyRun) -> list[str]:
    before, after = run.vitals_before, run.vitals_after
    if before is None or after is None:
        return []
    found = []
    status = max(before.thermal_status or 0, after.thermal_status or 0)
    if status:
        found.append(
            f"the phone was throttled by heat (thermal status {status} of 6): let it cool, or add pauses with --rest-ms"
        )
    if before.throttled is not None and after.throttled is not None and after.throttled > before.throttled:
        found.append(
            f"the processor was throttled by heat {after.throttled - before.throttled} times: add pauses with --rest-ms"
        )
    rise = max(
        (after.celsius[zone] - before.celsius[zone] for zone in before.celsius.keys() & after.celsius.keys()), default=0
    )
    if rise > HEATED:
        found.append(f"the device got {rise:.0f} °C warmer while it was timed: add pauses with --rest-ms")
    if before.governors != after.governors:
        found.append(f"the CPU governor changed from {', '.join(before.governors)} to {', '.join(after.governors)}")
    return found


def _agreement_text(found: Agreement) -> str:
    k = found.main_k
    text = f"agreement@{k} with {found.reference} {percent(found.overlap[k])} %"
    if found.overlap_drop is None:
        low, high = found.overlap_ci95[k]
        return f"{text} (95 % interval {percent(low)} to {percent(high)})"
    drop = found.overlap_drop[k]
    return (
        f"{text} (drop against PyTorch {points(drop.value)} points, 95 % interval {points(drop.ci95[0])} to "
        f"{points(drop.ci95[1])})"
    )


def _sentence(
    candidate: VariantResult, pytorch: Reference | None, gates: Sequence[Gate], passed: bool, few: int | None
) -> str:
    if candidate.status == "failed":
        return f"{candidate.name} could not be measured: {candidate.error}"
    parts = []
    if not candidate.recall:
        parts += [_agreement_text(one) for one in candidate.agreement or ()]
    else:
        text = f"Recall@1 {percent(candidate.recall[1])} %"
        if candidate.recall_drop and pytorch and pytorch.recall:
            drop = candidate.recall_drop[1]
            text += (
                f" against {percent(pytorch.recall[1])} % in PyTorch "
                f"(drop {points(drop.value)} points, 95 % interval {points(drop.ci95[0])} to {points(drop.ci95[1])}"
                f"{'' if few is None else f', too narrow with {few} classes'})"
            )
        else:
            text += " (no drop: compare with PyTorch by --checkpoint)"
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
