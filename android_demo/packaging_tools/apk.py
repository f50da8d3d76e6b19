"""Write a zip file with the layout that Android needs: memory-mapped files are stored and aligned."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from types import TracebackType

__all__ = ["ApkWriter"]

LIBRARY_ALIGNMENT = 16384  # page size of newer phones; Debian's zipalign supports 4096 only
FILE_ALIGNMENT = 4
LOCAL_HEADER_BYTES = 30  # header of a zip entry, before its name and padding
# Android's tag for padding. apksigner reads the alignment from it and preserves it.
PADDING_TAG = 0xD935
EPOCH = (1981, 1, 1, 1, 1, 2)  # a fixed date, so that the same input gives the same file


class ApkWriter:
    """Write an unsigned APK to ``path``. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w")

    def add(self, name: str, data: bytes, *, stored: bool) -> None:
        """Add a file. Stored files start at a multiple of 4 bytes, native libraries at a multiple of 16 KiB."""
        entry = zipfile.ZipInfo(name, EPOCH)
        entry.external_attr = 0o644 << 16
        entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
        if stored:
            alignment = LIBRARY_ALIGNMENT if name.endswith(".so") else FILE_ALIGNMENT
            start = self._zip.start_dir + LOCAL_HEADER_BYTES + len(name.encode()) + 6
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
