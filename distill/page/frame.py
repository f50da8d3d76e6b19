"""What all pages share: the frame, its style sheet, and how they are rendered and written."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distill.console.errors import Failure
from distill.files import atomic_path

__all__ = ["data_uri", "page", "write_page"]

HERE = Path(__file__).parent


def page(
    tool: str, folder: Path, template: str, filters: Mapping[str, Callable[..., Any]] | None = None, **context: Any
) -> str:
    """A page as text. Everything in ``context`` is escaped by the template engine.

    Args:
        tool: the command that makes it, for the last line.
        folder: where ``template`` lies, which extends ``plain.html``; a ``style.css`` beside it is
            added to the frame's.
        filters: more template filters.

    Raises:
        Failure: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise Failure("--html needs jinja2", "pip install 'distill-to-phone[run]'") from None
    environment = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(filters or {})
    sheets = [HERE / "frame.css", folder / "style.css"]
    css = "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets if sheet.is_file())
    return environment.get_template(template).render(css=css, tool=tool, **context)


def write_page(path: str | Path, text: str) -> None:
    """Write a page, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def data_uri(content: bytes, kind: str) -> str:
    """A picture inside the page.

    Args:
        content: an encoded picture.
        kind: ``jpeg``, ``webp``, ….
    """
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")
