"""A zip file laid out as Android wants it: what is mapped into memory is stored, and aligned."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from types import TracebackType

__all__ = ["ApkWriter"]

LIBRARY_ALIGNMENT = 16384  # pages of newer phones; Debian's zipalign knows 4096 only
FILE_ALIGNMENT = 4
# Android's own tag for padding. apksigner reads the alignment from it and keeps it.
PADDING_TAG = 0xD935
EPOCH = (1981, 1, 1, 1, 1, 2)  # the same input gives the same file


class ApkWriter:
    """Writes an APK (not yet signed) to ``path``; use it with ``with``."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w")

    def add(self, name: str, data: bytes, *, stored: bool) -> None:
        """One file: stored ones start at a multiple of 4 bytes, native libraries at one of 16 KiB."""
        entry = zipfile.ZipInfo(name, EPOCH)
        entry.external_attr = 0o644 << 16
        entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
        if stored:
            alignment = LIBRARY_ALIGNMENT if name.endswith(".so") else FILE_ALIGNMENT
            start = self._zip.fp.tell() + zipfile.sizeFileHeader + len(name.encode()) + 6
            entry.extra = struct.pack("<HHH", PADDING_TAG, 2 + -start % alignment, alignment) + bytes(
                -start % alignment
            )
        self._zip.writestr(entry, data)

    def __enter__(self) -> ApkWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()
