"""Render and write HTML pages with a common frame and style sheet."""

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
    """Render a page. The template engine escapes everything in ``context``.

    Args:
        tool: Command that makes the page, for its footer.
        folder: Folder of ``template``; a ``style.css`` in it is added to that of the frame.
        template: File name of a template that extends ``plain.html``.
        filters: Additional template filters.
        context: Variables of the template.

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
    """Write a page atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def data_uri(content: bytes, kind: str) -> str:
    """Return an image as a data URI.

    Args:
        content: The encoded image.
        kind: ``jpeg``, ``webp``, ….
    """
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")
