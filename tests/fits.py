"""Check that printed text fits a terminal of 80 columns, and that nothing was cut."""

from __future__ import annotations

import re

import pytest

WIDTH = 80
HASH = re.compile(r"\b[0-9a-f]{16}…")  # the beginning of a SHA-256 is meant to be short


def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every console 80 columns wide."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def check_fits(text: str, *words: str, long: tuple[str, ...] = ()) -> None:
    """Fail if a cell was cut, a line is too long, or one of ``words`` (headings, names) is not there as a whole.

    Args:
        long: how lines begin, after blanks, that are sentences or paths: a terminal wraps them, so they may be longer.
    """
    assert "…" not in HASH.sub("", text), text
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} not in\n{text}"
    wide = [line for line in text.splitlines() if len(line.rstrip()) > WIDTH and not line.lstrip().startswith(long)]
    assert not wide, "\n".join(wide)
