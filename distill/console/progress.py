"""Progress bars and notices on stderr; stdout is for results (tables, ``--json``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["console", "note", "progress", "warn"]

console = Console(stderr=True, highlight=False, emoji=False)  # emoji=False: "blur:x:" is text


def note(text: str) -> None:
    """Print a notice to stderr."""
    console.print(_writable(text), markup=False)


def warn(text: str) -> None:
    """Print a warning to stderr."""
    console.print(_writable(f"warning: {text}"), style="yellow", markup=False)


def _writable(text: str) -> str:
    """Replace bytes of file names that are not UTF-8 by U+FFFD, because a stream may refuse to write them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class _Bar:
    """A progress bar: ``advance`` moves it, ``status`` sets the text beside it."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, steps: int = 1) -> None:
        self._bars.advance(self._task, steps)

    def status(self, text: str) -> None:
        self._bars.update(self._task, status=text)


@contextmanager
def progress(label: str, total: int | None) -> Iterator[_Bar]:
    """Show a progress bar, for work of more than two seconds.

    Args:
        label: What is being done, e.g. ``"calibrating"``.
        total: Number of steps, ``None`` if unknown.

    Example:
        >>> with progress("embedding", total=len(batches)) as bar:
        ...     for batch in batches:
        ...         bar.advance()
    """
    if not console.is_terminal:
        note(f"{label} …")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield _Bar(bars, bars.add_task(label, total=total, status=""))
