"""What the commands print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gallery.build import Built
from gallery.format import Gallery
from gallery.query import Answer
from gallery.search import candidate_count

__all__ = ["built_json", "how_searched", "print_answers", "print_built", "print_info"]


def how_searched(gallery: Gallery, k: int, exact: bool) -> str:
    """The way of a search in a few words."""
    if exact or gallery.bits is None or candidate_count(len(gallery), k) == len(gallery):
        return "exact search"
    return f"at least {candidate_count(len(gallery), k):,} candidates by sign bits, ranked by {gallery.header.dtype}"


def built_json(built: Built) -> dict[str, Any]:
    """What a script may want to know of a build."""
    names = ("count", "added", "changed", "kept", "dropped", "resumed", "skipped", "bytes")
    facts: dict[str, Any] = {name: getattr(built, name) for name in names}
    return {
        "gallery": str(built.path),
        "model": f"{built.model.name}/{built.model.variant}",
        **facts,
        "seconds": round(built.seconds, 2),
        "written": built.written,
        "unreadable": [{"id": _plain(p.key), "reason": p.reason} for p in built.problems],
    }


def print_built(built: Built) -> None:
    """One line."""
    facts = [f"{built.count:,} pictures", f"{built.bytes / 1e6:,.1f} MB"]
    if built.kept or built.dropped or built.changed:
        facts += [
            f"{built.added:,} added",
            f"{built.changed:,} changed",
            f"{built.dropped:,} dropped",
            f"{built.kept:,} kept",
        ]
    if built.resumed:
        facts.append(f"{built.resumed:,} from the interrupted run")
    if not built.written:
        facts = [*facts[:2], "up to date"]
    if built.skipped:
        facts.append(f"{built.skipped:,} skipped")
    Console(highlight=False, soft_wrap=True).print(
        f"{built.path}: {', '.join(facts)}, {built.seconds:.1f} s ({built.model.name}/{built.model.variant})",
        markup=False,
    )


def print_answers(answers: Sequence[Answer]) -> None:
    """A table for each query."""
    console = Console(highlight=False)
    for answer in answers:
        console.print(_escape(answer.query), style="bold", soft_wrap=True)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for heading, side in (("", "right"), ("cosine", "right"), ("picture", "left")):
            table.add_column(heading, justify=side)  # type: ignore[arg-type]
        for rank, found in enumerate(answer.neighbours, 1):
            table.add_row(str(rank), f"{found.cosine:.3f}", _escape(found.id))
        console.print(table)


def print_info(gallery: Gallery) -> None:
    """Header and sections."""
    console, header, model = Console(highlight=False), gallery.header, gallery.model
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rows = {
        "pictures": f"{header.count:,}",
        "embeddings": f"{header.dimension} {header.dtype}" + (", with sign bits" if gallery.bits is not None else ""),
        "model": f"{model.name}/{model.variant}, SHA-256 {model.sha256[:16]}…",
        "checkpoint": model.source_id,
        "space": f"of teacher {model.space}" if model.space else "its own",
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
    """For the terminal: a name may hold rich's markup, or codes that would move the cursor."""
    return escape("".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text))
