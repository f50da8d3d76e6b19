"""Read the alignment of a native library: whether phones with 16 KB pages can load it."""

from __future__ import annotations

import struct

__all__ = ["load_alignment"]

PT_LOAD = 1


def load_alignment(data: bytes) -> int:
    """Return the smallest alignment of the loadable segments in bytes.

    Args:
        data: Content of a 64-bit little-endian ELF file.

    Raises:
        ValueError: the file is not ELF, or damaged.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    try:
        (offset,) = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        headers = [struct.unpack_from("<II6Q", data, offset + i * size) for i in range(count)]
    except struct.error as error:
        raise ValueError(f"a damaged ELF file: {error}") from error
    alignments = [header[7] for header in headers if header[0] == PT_LOAD]
    if not alignments:
        raise ValueError("an ELF file with nothing to load")
    return min(alignments)
