"""How a native library is aligned: whether phones with 16 KB pages can load it as it is."""

from __future__ import annotations

import struct

__all__ = ["load_alignment"]

PT_LOAD = 1


def load_alignment(data: bytes) -> int:
    """The smallest alignment of what is to be loaded, in bytes.

    Args:
        data: a 64-bit little-endian ELF file, whole.

    Raises:
        ValueError: it is none, or damaged.
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
