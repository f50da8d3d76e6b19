"""Write reports: each one HTML file that needs no network and runs no script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.report import charts
from benchmark.report.neighbours import NeighbourSheet
from benchmark.result import Result
from benchmark.table import KS
from benchmark.text import kilobytes, percent, points
from distill.page import page as frame
from distill.page import write_page

__all__ = ["page", "render", "write_page", "write_report"]

HERE = Path(__file__).parent


def page(template: str, **context: Any) -> str:
    """A page of ours as text; see :func:`distill.page.page`."""
    filters = {"percent": percent, "kilobytes": kilobytes, "ms": _ms, "points": points, "p_value": _p_value}
    return frame("distill-bench", HERE, template, filters, **context)


def render(result: Result, gallery: NeighbourSheet | None) -> str:
    """The report of one result; see :func:`page`."""
    return page("template.html", **_context(result, gallery))


def write_report(path: str | Path, result: Result, gallery: NeighbourSheet | None) -> None:
    """Render and write, atomically.

    Args:
        gallery: the pictures; ``None`` leaves them out (a result read back from JSON has none).
    """
    write_page(path, render(result, gallery))


def _context(result: Result, gallery: NeighbourSheet | None) -> dict[str, Any]:
    rows, zero, limit, ticks = charts.intervals(result)
    candidate = result.variant(result.verdict.candidate)
    others = [v for v in result.variants if v.status == "ok" and v.name != candidate.name]
    return {
        "result": result,
        "candidate": candidate,
        "yardstick": next((v for v in others if v.name == "tflite-float32"), None),
        "gallery": gallery,
        "bars": charts.bars(result),
        "distribution": charts.distribution(result),
        "drops": {"rows": rows, "zero": zero, "limit": limit, "ticks": ticks},
        "scatters": [s for s in (charts.scatter(result, 980, 430), charts.scatter(result, 360, 330)) if s],
        "ks": KS,
        "source": result.bundle.provenance.get("source") or {},
        "versions": result.bundle.provenance.get("versions") or {},
    }


def _ms(value: float | None) -> str:
    """Three significant digits, but never more than microseconds."""
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _p_value(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
