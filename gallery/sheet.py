"""Render a contact sheet: queries and their neighbours on one HTML page without network access or scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.page import data_uri, page, write_page
from gallery.format import Gallery
from gallery.query import Answer

__all__ = ["render_sheet", "write_sheet"]


def render_sheet(gallery: Gallery, answers: Sequence[Answer], how: str, reason: str = "") -> str:
    """Render the page; the gallery's thumbnails are embedded in it.

    Args:
        gallery: The gallery that was searched.
        answers: Queries and their neighbours.
        how: Short description of the kind of search.
        reason: Why queries of another model were allowed; empty for the gallery's model.
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
    """Render a contact sheet and write it atomically; see :func:`render_sheet`.

    Raises:
        Failure: jinja2 is not installed.
        OSError: the file cannot be written.
    """
    write_page(path, render_sheet(gallery, answers, how, reason))


def _src(jpeg: bytes) -> str:
    return data_uri(jpeg, "jpeg") if jpeg else ""
