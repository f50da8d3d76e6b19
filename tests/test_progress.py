"""What a pipe sees of long work: a line now and then. A terminal has a bar."""

from __future__ import annotations

import io
import itertools
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from distill.console import progress, still_progress
from distill.console.progress import FIRST, LATER, Lines

MODULE = sys.modules["distill.console.progress"]


@pytest.fixture
def piped(monkeypatch):
    """Standard error is a file."""
    stream = io.StringIO()
    monkeypatch.setattr(MODULE, "console", Console(file=stream, width=200))
    return stream


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(MODULE, "time", clock)
    return clock


def times_of_lines(clock: Clock, seconds: int, stream: io.StringIO) -> list[int]:
    """Return after how many seconds a line came, of work that reports every second."""
    lines, found = Lines("training", seconds), []
    for second in range(1, seconds + 1):
        clock.now += 1
        lines.advance()
        before = stream.getvalue()
        lines.print_due()
        if stream.getvalue() != before:
            found.append(second)
    lines.end()
    return found


def test_short_work_prints_nothing(clock, piped):
    assert times_of_lines(clock, 9, piped) == [] and piped.getvalue() == ""


def test_lines_come_now_and_then(clock, piped):
    found = times_of_lines(clock, 600, piped)
    assert found[:4] == [10, 20, 40, 80] and found[-1] >= 540
    assert all(later - earlier <= LATER for earlier, later in itertools.pairwise(found))
    assert piped.getvalue().splitlines()[-1] == "training: done in 10:00 min"


def test_a_line_says_what_is_done_and_the_time_left(clock, piped):
    lines = Lines("training", 2000)
    lines.advance(500)
    lines.status("epoch 5/20 loss 0.4213")
    clock.now += 60
    lines.print_due()
    assert piped.getvalue() == "training: 500 of 2,000, epoch 5/20 loss 0.4213, 1:00 min so far, about 3:00 min left\n"


def test_the_steps_of_an_earlier_run_do_not_count_for_the_rate():
    lines = Lines("training", 1000, done=500)
    lines.advance(100)
    assert lines.line(60) == "training: 600 of 1,000, 1:00 min so far, about 4:00 min left"


@pytest.mark.parametrize(
    ("seconds", "text"), [(9.6, "10 s"), (59.4, "59 s"), (59.6, "1:00 min"), (185, "3:05 min"), (7390, "2:03:10 h")]
)
def test_durations(seconds, text):
    assert Lines("converting", None).line(seconds) == f"converting: {text} so far"


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.floats(0.1, 1e7))
def test_any_state_makes_a_line(total, done, seconds):
    lines = Lines("x", total)
    lines.advance(done)
    line = lines.line(seconds)
    assert line.startswith("x: ") and ("left" in line) == (0 < done < total)


def test_a_step_of_many_seconds_is_not_silent(monkeypatch, piped):
    """The lines come from a thread: one step, such as a conversion, may take minutes."""
    monkeypatch.setattr(MODULE, "FIRST", 0.05)
    with progress("converting", None):
        ended = time.monotonic() + 20
        while "so far" not in piped.getvalue() and time.monotonic() < ended:
            time.sleep(0.01)
    first, *_, last = piped.getvalue().splitlines()
    assert first == "converting: 0 s so far" and last.startswith("converting: done in")


def test_an_error_ends_the_lines(monkeypatch, piped):
    monkeypatch.setattr(MODULE, "FIRST", 0.05)
    with pytest.raises(ValueError), progress("converting", 3):
        raise ValueError
    before = piped.getvalue()
    time.sleep(0.2)
    assert piped.getvalue() == before and "done" not in before


def test_timed_work_prints_only_when_it_reports(clock, piped):
    with still_progress("latency") as show:
        show(0.1)
        clock.now += FIRST + 2
        assert piped.getvalue() == ""
        show(0.25)
        clock.now += 1
        show(0.3)
    assert piped.getvalue().splitlines() == [
        "latency: 25%, 12 s so far, about 36 s left",
        "latency: done in 13 s",
    ]


def test_a_terminal_has_a_bar(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(MODULE, "console", Console(file=stream, force_terminal=True, width=100))
    with progress("training", 4, done=1) as bar:
        bar.advance(2)
        bar.status("epoch 1/2")
    text = stream.getvalue()
    assert "training" in text and "3/4" in text and "epoch 1/2" in text and "so far" not in text
