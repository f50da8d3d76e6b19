"""Keep freed memory for the next batch instead of giving it back to the system.

glibc hands every block above 32 MB back at once, and with it goes the time that the kernel needs to
clear the same pages again for the next feature map: up to half the time of a teacher at 240 pixels
(``scripts/benchmarks/embedding_memory.py``).
"""

from __future__ import annotations

import ctypes

__all__ = ["keep_memory"]

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_KEPT_BYTES = 2**31 - 1  # the largest value that mallopt takes


def keep_memory() -> bool:
    """Let this process reuse what it freed; to be called before its threads allocate.

    All blocks come from one arena, none from a mapping of its own, and up to 2 GiB stay with the
    process. Numbers do not change, nor, to speak of, does the peak of the memory.

    Returns:
        whether the C library took the settings (only glibc knows them).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl and macOS have none, Windows no such handle
        return False
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
