"""Compute the shortest time that this machine allows each operator, limited by arithmetic or by memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmark.operators.bandwidth import bandwidth_at
from benchmark.operators.profile import ProfiledOperator

__all__ = ["Roof", "as_json", "roof_of"]


@dataclass(frozen=True)
class Roof:
    """The shortest time that the machine's peaks allow an operator.

    Attributes:
        ms: Milliseconds.
        bound: The peak that limits it.
    """

    ms: float
    bound: Literal["compute", "memory"]


def roof_of(operator: ProfiledOperator, peaks: Mapping[bool, float], bandwidth: dict[int, float]) -> Roof | None:
    """Return the roof of an operator; ``None`` if it neither multiplies nor moves anything.

    Args:
        peaks: Multiply-accumulates per second, by whether with int8.
        bandwidth: See :func:`benchmark.operators.bandwidth.measured_bandwidth`.
    """
    compute = 1e3 * operator.macs / peaks[operator.integer] if operator.macs else 0.0
    memory = 1e3 * operator.bytes / bandwidth_at(operator.bytes, bandwidth) if operator.bytes else 0.0
    if not max(compute, memory):
        return None
    return Roof(max(compute, memory), "compute" if compute >= memory else "memory")


def as_json(
    name: str, threads: int, found: Sequence[ProfiledOperator], peaks: Mapping[bool, float], bandwidth: dict[int, float]
) -> dict[str, Any]:
    """Return what ``distill-bench operators --json`` prints; times are milliseconds, shares fractions."""
    whole = sum(operator.ms for operator in found)
    rows: list[dict[str, Any]] = []
    for operator in found:
        roof = roof_of(operator, peaks, bandwidth)
        of_peak = (
            operator.macs / (operator.ms / 1e3) / peaks[operator.integer] if operator.macs and operator.ms > 0 else None
        )
        rows.append({
            "operator": operator.kind, "output": list(operator.shape), "ms": operator.ms, "share": operator.ms / whole if whole else 0.0,
            "macs": operator.macs, "bytes": operator.bytes, "integer": operator.integer, "of_peak": of_peak,
            "roof_ms": roof.ms if roof else None, "bound": roof.bound if roof else None,
            "of_roof": roof.ms / operator.ms if roof and operator.ms > 0 else None,
        })  # fmt: skip
    roofs = sum(float(row["roof_ms"] or 0.0) for row in rows)
    return {
        "schema_version": 1, "variant": name, "threads": threads, "ms": whole, "roof_ms": roofs, "of_roof": roofs / whole if whole else None,
        "peak_macs_per_second": {"int8" if integer else "float32": peak for integer, peak in peaks.items()},
        "bytes_per_second": {str(rung): value for rung, value in bandwidth.items()}, "operators": rows,
    }  # fmt: skip
