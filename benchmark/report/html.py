"""Write reports: HTML files that need no network and run no script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.report import charts
from benchmark.report.neighbours import NeighbourSheet
from benchmark.result import Reference, Result, VariantResult, agreement_with
from benchmark.table import KS
from benchmark.text import few_classes, kilobytes, milliseconds, p_value, percent, points
from distill.page import page as frame
from distill.page import write_page

__all__ = ["page", "render", "write_page", "write_report"]

HERE = Path(__file__).parent


def page(template: str, **context: Any) -> str:
    """Render a page of this package; see :func:`distill.page.page`."""
    filters: dict[str, Callable[..., Any]] = {
        "few_classes": few_classes,
        "percent": percent,
        "kilobytes": kilobytes,
        "ms": milliseconds,
        "points": points,
        "p_value": p_value,
    }
    return frame("distill-bench", HERE, template, filters, **context)


def render(result: Result, sheet: NeighbourSheet | None) -> str:
    """Render the report of one result; see :func:`write_report`."""
    return page("template.html", **_context(result, sheet))


def write_report(path: str | Path, result: Result, sheet: NeighbourSheet | None) -> None:
    """Render the report and write it atomically.

    Args:
        sheet: Queries with their nearest images; ``None`` leaves them out (a result read from JSON has none).
    """
    write_page(path, render(result, sheet))


def _context(result: Result, sheet: NeighbourSheet | None) -> dict[str, Any]:
    rows, zero, limit, ticks = charts.intervals(result)
    candidate = result.variant(result.verdict.candidate)
    others = [v for v in result.variants if v.status == "ok" and v.name != candidate.name]
    return {
        "result": result,
        "candidate": candidate,
        "baseline": next((v for v in others if v.name == "tflite-float32"), None),
        "sheet": sheet,
        "bars": charts.bars(result),
        "measure": charts.measure_name(result),
        "compared": _compared(result),
        "distribution": charts.distribution(result),
        "drops": {"rows": rows, "zero": zero, "limit": limit, "ticks": ticks},
        "scatters": [s for s in (charts.scatter(result, 980, 430), charts.scatter(result, 360, 330)) if s],
        "ks": KS,
        "source": result.bundle.provenance.get("source") or {},
        "versions": result.bundle.provenance.get("versions") or {},
    }


def _compared(result: Result) -> list[dict[str, Any]]:
    """Return the agreement of every model with each reference: name, models with their figures, the values of K."""
    models: list[VariantResult | Reference] = [*result.variants, *([result.pytorch] if result.pytorch else [])]
    names = dict.fromkeys(one.reference for model in models for one in model.agreement or ())
    tables = []
    for name in names:
        rows = [(model.name, found) for model in models if (found := agreement_with(model, name))]
        tables.append({"reference": name, "rows": rows, "ks": list(rows[0][1].overlap), "k": rows[0][1].main_k})
    return tables
