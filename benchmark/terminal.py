"""What all terminal output of ``distill-bench`` shares: the console, plain tables, a progress bar that stays still."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from distill.console import console, note

__all__ = ["PIPED_WIDTH", "plain_table", "result_console", "still_bar"]

PIPED_WIDTH = 110  # columns where the output is no terminal


def result_console(piped_width: int = PIPED_WIDTH) -> Console:
    """Return the console on stdout, ``piped_width`` columns wide where stdout is no terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else piped_width)


def plain_table() -> Table:
    """Return an empty table without borders."""
    return Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))


@contextmanager
def still_bar(label: str) -> Iterator[Callable[[float], None]]:
    """Show a progress bar that draws only when it is called with the share done.

    The usual bar draws from a thread of its own, in the middle of whatever is being timed.
    """
    if not console.is_terminal:
        note(f"{label} …")
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, auto_refresh=False, disable=not console.is_terminal) as bars:
        task = bars.add_task(label, total=1.0)
        shown = time.monotonic()

        def show(share: float) -> None:
            nonlocal shown
            if time.monotonic() - shown > 0.5 or share >= 1:
                bars.update(task, completed=min(share, 1.0))
                bars.refresh()
                shown = time.monotonic()

        yield show
