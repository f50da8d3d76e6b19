"""Errors that a user can act on: what went wrong, where, and the cure, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["Failure", "UsageFailure", "first_line", "suggest"]


class Failure(Exception):
    """The command was valid but failed (bad file, NaN loss, full disk): exit code 1.

    Args:
        what: What is wrong and where, e.g. ``"runs/a/model.json: not a JSON object"``.
        cure: What the user can do about it, e.g. ``"train again with --overwrite"``.
    """

    exit_code = 1

    def __init__(self, what: str, cure: str = "") -> None:
        self.what = what
        self.cure = cure
        super().__init__(f"{what} ({cure})" if cure else what)


class UsageFailure(Failure):
    """The command itself was invalid (unknown name, bad option value): exit code 2."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error, at most 300 characters; the name of its type if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a cure for a mistyped name: the most similar known name, or the whole list.

    >>> suggest("realtive", ["relative", "absolute"])
    "did you mean 'relative'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known: {', '.join(names)}"
