"""Keep messages of C++ libraries off the terminal. They write to file descriptor 2 directly."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

__all__ = ["quiet_stderr"]


class _Forward:
    """A text stream that forwards everything to ``target``.

    Code that keeps a reference to it, such as a logging handler, still has a working stream afterwards.
    """

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)


@contextlib.contextmanager
def quiet_stderr(quiet: bool = True) -> Iterator[None]:
    """Discard what native code writes to descriptor 2. Python's own ``sys.stderr`` keeps working.

    Args:
        quiet: ``False`` discards nothing (``--debug``).
    """
    if not quiet:
        yield
        return
    stderr = sys.stderr
    ours = _is_descriptor_2(stderr)  # otherwise a test's capture or a notebook: nothing to bypass
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink, open(kept, "w", 1, "utf-8", "replace", closefd=True) as bypass:
        # Progress bars and warnings go to sys.stderr: let them bypass the sink.
        forward = _Forward(bypass)
        if ours:
            stderr.flush()
            sys.stderr = forward
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
