"""Keep the chatter of C++ libraries off the terminal: they write to descriptor 2 directly."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

__all__ = ["quiet_stderr"]


class _Forward:
    """A text stream that passes everything on to ``target``.

    Whoever keeps it (a logging handler made meanwhile) still has a stream that works afterwards.
    """

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)


@contextlib.contextmanager
def quiet_stderr(quiet: bool = True) -> Iterator[None]:
    """Drop what native code writes to descriptor 2; Python's own ``sys.stderr`` keeps working.

    Args:
        quiet: ``False`` does nothing (``--debug``).
    """
    if not quiet:
        yield
        return
    stderr = sys.stderr
    ours = _is_descriptor_2(stderr)  # otherwise a test's capture, a notebook: nothing to bypass
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink, open(kept, "w", 1, "utf-8", "replace", closefd=True) as bypass:
        # Progress bars and warnings go to sys.stderr: let them bypass the sink.
        forward = _Forward(bypass)
        if ours:
            stderr.flush()
            sys.stderr = forward  # type: ignore[assignment]
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            forward.target = stderr
            if ours:
                sys.stderr = stderr


def _is_descriptor_2(stream: object) -> bool:
    try:
        return stream.fileno() == 2  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
