"""Results of commands: text for people, JSON on stdout with ``--json``, JSON in a file with ``--json-out``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from distill.console.progress import note

__all__ = ["PIPED_WIDTH", "JsonOption", "JsonOutOption", "answer", "plain_table", "result_console"]

PIPED_WIDTH = 110  # columns where the output is no terminal and COLUMNS is not set

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, in place of text.")]
JsonOutOption = Annotated[
    Path | None, typer.Option("--json-out", help="Write the result as JSON to this file.", show_default=False)
]


def answer(
    value: Any, show: Callable[[], None], as_json: bool, json_out: Path | None, indent: int | None = None
) -> None:
    """Print the result of a command, and write it where ``--json-out`` says.

    Args:
        value: the result, for JSON.
        show: prints the result as text; called without ``--json``.
        as_json: whether ``--json`` was given.
        json_out: the file of ``--json-out``. Call :func:`distill.files.check_output` on it before the work.
        indent: of the JSON on stdout; ``None``: one line.
    """
    if as_json:
        print(json.dumps(value, indent=indent))
    else:
        show()  # before the file: a full disk must not cost the result
    if json_out:
        from distill.files import write_json

        write_json(json_out, value)
        note(f"result: {json_out}")


def result_console(piped_width: int = PIPED_WIDTH) -> Console:
    """Return the console on stdout, ``piped_width`` columns wide where stdout is no terminal and ``COLUMNS`` is not set."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, emoji=False, width=None if known else piped_width)


def plain_table(**settings: Any) -> Table:
    """Return an empty table without borders."""
    return Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0), **settings)
