"""Keep freed memory in the process instead of returning it to the system.

glibc returns every block above 32 MB at once, and the kernel then has to clear the same pages again for the
next feature map. That costs up to half the time of a teacher at 240 pixels
(``scripts/benchmarks/embedding_memory.py``).
"""

from __future__ import annotations

import ctypes

__all__ = ["keep_memory"]

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_KEPT_BYTES = 2**31 - 1  # the largest value that mallopt accepts


def keep_memory() -> bool:
    """Let this process reuse the memory it frees. Call it before threads allocate.

    All blocks come from one arena, none from a separate mapping, and up to 2 GiB stay in the
    process. Results do not change, and the peak memory hardly does.

    Returns:
        Whether the C library accepted the settings (only glibc has them).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl and macOS lack mallopt, Windows such a handle
        return False
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
