"""Keep the chatter of C++ libraries off the terminal: they write to descriptor 2 directly."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

__all__ = ["quiet_stderr"]


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
    with tempfile.TemporaryFile() as sink:
        kept = os.dup(2)
        # Progress bars and warnings go to sys.stderr: let them bypass the sink.
        bypass = open(kept, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        ours = _is_descriptor_2(stderr)
        if ours:
            stderr.flush()
            sys.stderr = bypass
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            bypass.close()
            if ours:
                sys.stderr = stderr
            os.dup2(kept, 2)
            os.close(kept)


def _is_descriptor_2(stream: object) -> bool:
    try:
        return stream.fileno() == 2  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False  # a test's capture, a notebook: not what native code writes to
