"""Format the output of the commands: tables for the terminal, JSON for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from distill.console import plain_table, result_console
from gallery.build import IndexReport
from gallery.format import Gallery
from gallery.query import Answer
from gallery.search import candidate_count

__all__ = ["how_searched", "print_answers", "print_info", "print_report", "report_json"]


def how_searched(gallery: Gallery, k: int, exact: bool) -> str:
    """Describe the kind of search in a few words."""
    if exact or gallery.bits is None or candidate_count(len(gallery), k) == len(gallery):
        return "exact search"
    return f"at least {candidate_count(len(gallery), k):,} candidates by sign bits, ranked by {gallery.header.dtype}"


def report_json(report: IndexReport) -> dict[str, Any]:
    """Return the facts of a build for ``--json``."""
    names = ("count", "added", "changed", "kept", "dropped", "resumed", "skipped", "bytes")
    facts: dict[str, Any] = {name: getattr(report, name) for name in names}
    return {
        "gallery": str(report.path),
        "model": f"{report.model.name}/{report.model.variant}",
        **facts,
        "seconds": round(report.seconds, 2),
        "written": report.written,
        "unreadable": [{"id": _plain(p.key), "reason": p.reason} for p in report.problems],
    }


def print_report(report: IndexReport) -> None:
    """Print a build in one line."""
    facts = [f"{report.count:,} images", f"{report.bytes / 1e6:,.1f} MB"]
    if report.kept or report.dropped or report.changed:
        facts += [
            f"{report.added:,} added",
            f"{report.changed:,} changed",
            f"{report.dropped:,} dropped",
            f"{report.kept:,} kept",
        ]
    if report.resumed:
        facts.append(f"{report.resumed:,} from the interrupted run")
    if not report.written:
        facts = [*facts[:2], "up to date"]
    if report.skipped:
        facts.append(f"{report.skipped:,} skipped")
    Console(highlight=False, soft_wrap=True).print(
        f"{report.path}: {', '.join(facts)}, {report.seconds:.1f} s ({report.model.name}/{report.model.variant})",
        markup=False,
    )


def print_answers(answers: Sequence[Answer]) -> None:
    """Print a table for each query."""
    console = result_console()
    for answer in answers:
        console.print(_escape(answer.query), style="bold", soft_wrap=True)
        table = plain_table()
        table.add_column("", justify="right")
        table.add_column("cosine", justify="right")
        table.add_column("image", overflow="fold")
        for rank, found in enumerate(answer.neighbours, 1):
            table.add_row(str(rank), f"{found.cosine:.3f}", _escape(found.id))
        console.print(table)


def print_info(gallery: Gallery) -> None:
    """Print header and sections."""
    console, header, model = result_console(), gallery.header, gallery.model
    table = plain_table(show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rows = {
        "images": f"{header.count:,}",
        "embeddings": f"{header.dimension} {header.dtype}" + (", with sign bits" if gallery.bits is not None else ""),
        "model": f"{model.name}/{model.variant}, SHA-256 {model.sha256[:16]}…",
        "checkpoint": model.source_id,
        "space": f"of teacher {model.space}" if model.space else "own",
        "input": f"{model.preprocessing.input_size} pixels",
        "thumbnails": f"{header.thumbnail_side or '?'} pixels" if gallery.has_thumbnails else "none",
        "made": f"{header.created} by {header.tool}",
        "bundle": header.bundle or "not recorded",
    }
    for name, value in rows.items():
        table.add_row(name, _escape(value))
    for name, place in header.sections.items():
        table.add_row(name, f"{place.bytes:,} bytes at {place.offset:,}")
    console.print(table)


def _plain(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _escape(text: str) -> str:
    """Make a name safe for the terminal: it may contain rich markup or control characters."""
    return escape("".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text))
