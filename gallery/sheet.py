"""A contact sheet: queries and their neighbours on one page that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.page import data_uri, page, write_page
from gallery.format import Gallery
from gallery.query import Answer

__all__ = ["render_sheet", "write_sheet"]


def render_sheet(gallery: Gallery, answers: Sequence[Answer], how: str, reason: str = "") -> str:
    """The page as text; pictures are the gallery's thumbnails, inside the page.

    Args:
        how: how it was searched, in a few words.
        reason: why another model's queries were allowed; empty where they are the gallery's own.
    """
    entries: list[dict[str, Any]] = [
        {
            "name": answer.query,
            "src": _src(answer.thumbnail),
            "neighbours": [
                {"name": found.id, "src": _src(gallery.thumbnail(found.row)), "score": found.cosine}
                for found in answer.neighbours
            ],
        }
        for answer in answers
    ]
    return page(
        "distill-index",
        Path(__file__).parent,
        "sheet.html",
        title=gallery.path.name,
        header=gallery.header,
        entries=entries,
        how=how,
        reason=reason,
    )


def write_sheet(path: Path, gallery: Gallery, answers: Sequence[Answer], how: str, reason: str = "") -> None:
    """Render and write, atomically; see :func:`render_sheet`.

    Raises:
        Failure: jinja2 is not installed.
        OSError: the file cannot be written.
    """
    write_page(path, render_sheet(gallery, answers, how, reason))


def _src(jpeg: bytes) -> str:
    return data_uri(jpeg, "jpeg") if jpeg else ""
