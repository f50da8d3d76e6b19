"""Progress and notices on stderr; stdout is for results (tables, ``--json``)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

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

__all__ = ["Lines", "ProgressBar", "console", "note", "progress", "still_progress", "warn"]

FIRST, LATER = 10.0, 60.0  # seconds until the first line of figures, and at most between later ones

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


class ProgressBar(Protocol):
    """Where work reports how far it is."""

    def advance(self, steps: int = 1) -> None:
        """Add finished steps."""

    def status(self, text: str) -> None:
        """Set the text beside the figures, e.g. ``"epoch 3/20 loss 0.4213"``."""


class _TerminalBar:
    """A bar of rich."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, steps: int = 1) -> None:
        self._bars.advance(self._task, steps)

    def status(self, text: str) -> None:
        self._bars.update(self._task, status=text)


class Lines:
    """A line now and then, for standard error that is no terminal: a log file, a notebook, a CI job.

    The first figures come after ``FIRST`` seconds; the next ones each time the work has taken as long again, but at
    least every ``LATER`` seconds. Short work prints nothing.
    """

    def __init__(self, label: str, total: float | None, done: float = 0) -> None:
        self._label, self._total, self._start, self._done = label, total, done, done
        self._text = ""
        self._began = time.monotonic()
        self._due = FIRST
        self._printed = False

    def advance(self, steps: float = 1) -> None:
        self._done += steps

    def reach(self, done: float) -> None:
        """Set how much is done."""
        self._done = min(done, self._total or done)

    def status(self, text: str) -> None:
        self._text = text

    def wait(self) -> float:
        """Return the seconds until the next line is due."""
        return max(0.0, self._began + self._due - time.monotonic())

    def print_due(self) -> None:
        """Print a line if it is due."""
        if self.wait() > 0:
            return
        seconds = time.monotonic() - self._began
        note(self.line(seconds))
        self._printed = True
        self._due = seconds + min(seconds, LATER)

    def line(self, seconds: float) -> str:
        """Return what is done after so many seconds, and the time left at this rate."""
        facts = [] if self._total is None else [self._share()]
        facts += [self._text] if self._text else []
        facts.append(f"{_duration(seconds)} so far")
        gained = self._done - self._start
        if self._total and gained > 0 and self._done < self._total:
            facts.append(f"about {_duration(seconds * (self._total - self._done) / gained)} left")
        return f"{self._label}: {', '.join(facts)}"

    def end(self) -> None:
        """Say how long it took, if there was a line before."""
        if self._printed:
            note(f"{self._label}: done in {_duration(time.monotonic() - self._began)}")

    def _share(self) -> str:
        if self._total == 1:  # a share of the time, not a count
            return f"{self._done:.0%}"
        return f"{self._done:,.0f} of {self._total:,.0f}"


def _duration(seconds: float) -> str:
    """Format a duration: 42 s, 3:05 min, 2:03:10 h.

    >>> _duration(185.2)
    '3:05 min'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02} h"


@contextmanager
def progress(label: str, total: int | None, done: int = 0) -> Iterator[ProgressBar]:
    """Show how far some work is: as a bar on a terminal, else as a line now and then (:class:`Lines`).

    Args:
        label: What is being done, e.g. ``"calibrating"``.
        total: Number of steps, ``None`` if unknown.
        done: Steps that an earlier run has done.

    Example:
        >>> with progress("embedding", total=len(batches)) as bar:
        ...     for batch in batches:
        ...         bar.advance()
    """
    if not console.is_terminal:
        with _printing(Lines(label, total, done)) as lines:
            yield lines
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        *([] if total is None else [MofNCompleteColumn()]),
        TimeElapsedColumn(),
        *([] if total is None else [TimeRemainingColumn()]),
        TextColumn("{task.fields[status]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield _TerminalBar(bars, bars.add_task(label, total=total, completed=done, status=""))


@contextmanager
def _printing(lines: Lines) -> Iterator[Lines]:
    """Print the lines from a thread: a step may take minutes."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(lines.wait()):
            lines.print_due()

    thread = threading.Thread(target=watch, daemon=True, name="progress")
    thread.start()
    try:
        yield lines
    finally:
        ended.set()
        thread.join()
    lines.end()


@contextmanager
def still_progress(label: str) -> Iterator[Callable[[float], None]]:
    """Show the share done, only when called with it, for work that is being timed.

    :func:`progress` draws from a thread of its own, in the middle of what is timed.
    """
    if not console.is_terminal:
        lines = Lines(label, 1.0)

        def tell(share: float) -> None:
            lines.reach(share)
            lines.print_due()

        yield tell
        lines.end()
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, auto_refresh=False) as bars:
        task = bars.add_task(label, total=1.0)
        shown = time.monotonic()

        def show(share: float) -> None:
            nonlocal shown
            if time.monotonic() - shown > 0.5 or share >= 1:
                bars.update(task, completed=min(share, 1.0))
                bars.refresh()
                shown = time.monotonic()

        yield show
