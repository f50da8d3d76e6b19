"""What an unfinished build has embedded so far: appended batch by batch, valid up to the last whole record.

A build that is killed loses nothing but the batches in flight. Layout of ``journal``: one line of JSON
that says which model, type and thumbnails the rows are of; then records

    u32 CRC-32 of all that follows, u32 bytes of the id, u32 bytes of the thumbnail, u64 × 2 stamp,
    id (UTF-8), row (D numbers), thumbnail (JPEG)

little-endian. Reading stops at the first record that is cut off or does not fit its CRC.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill.console.errors import Failure
from distill.console.progress import note
from distill.files import named_errors

__all__ = ["Entry", "Journal", "Record"]

_HEAD = struct.Struct("<IIIQQ")
_MAX_LINE = 2**20
_MAX_PART = 2**26  # bytes of an id or thumbnail: more can only be damage


class Record(NamedTuple):
    """One embedded picture."""

    id: str
    stamp: tuple[int, int]
    row: np.ndarray  # [D], int8 or float32
    thumbnail: bytes


class Entry(NamedTuple):
    """Where a record lies in the journal."""

    stamp: tuple[int, int]
    row_at: int
    thumbnail_bytes: int


class Journal:
    """The rows embedded so far, in ``folder``; only one process at a time.

    Args:
        folder: made if need be; belongs to the journal alone.
        binding: what the rows are of; a journal of anything else is thrown away.
        dimension, dtype: of a row.

    Attributes:
        entries: id → where its latest record lies.

    Raises:
        Failure: another process is building here.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, binding: dict[str, Any], dimension: int, dtype: type[np.generic]) -> None:
        self.folder = folder
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._dimension = dimension
        self._row_bytes = dimension * self._dtype.itemsize
        self.entries: dict[str, Entry] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._file = open(folder / "journal", "a+b")  # noqa: SIM115 (closed by close)
        try:
            self._lock()
            line = json.dumps(binding, sort_keys=True).encode() + b"\n"
            self._file.seek(0)
            found = self._file.readline(_MAX_LINE)
            if found == line:
                self._end = self._scan(len(line))
                self._file.truncate(self._end)
            else:
                if found:
                    note(f"{folder}: what an unfinished run embedded is of another model or kind, thrown away")
                with named_errors(folder):
                    self._file.truncate(0)
                    self._file.write(line)
                    self._file.flush()
                self._end = len(line)
        except BaseException:
            self._file.close()
            raise

    def append(self, records: Iterable[Record]) -> None:
        """Add records; they are on their way to the disk when this returns."""
        parts, entries, at = [], {}, self._end
        for record in records:
            name = record.id.encode("utf-8")
            row = np.ascontiguousarray(record.row, self._dtype).tobytes()
            rest = struct.pack("<IIQQ", len(name), len(record.thumbnail), *record.stamp) + name + row + record.thumbnail
            parts.append(zlib.crc32(rest).to_bytes(4, "little") + rest)
            entries[record.id] = Entry(record.stamp, at + _HEAD.size + len(name), len(record.thumbnail))
            at += len(parts[-1])
        with named_errors(self.folder):
            self._file.write(b"".join(parts))
            self._file.flush()
        self._end = at
        self.entries |= entries

    def read(self) -> Reader:
        """The rows and thumbnails, mapped."""
        return Reader(self._file.fileno(), self._end, self._dimension, self._dtype)

    def close(self, remove: bool) -> None:
        """Let others build here; ``remove``: nothing is needed any more."""
        with contextlib.suppress(OSError):  # a full disk has already been told
            self._file.close()
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: two builds at once are then the user's own care
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(f"{self.folder}: another distill-index is at work here", "wait until it is done") from None
        except OSError:  # a file system without locks
            return

    def _scan(self, start: int) -> int:
        size = os.fstat(self._file.fileno()).st_size
        at = start
        with mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_READ) as data:
            while at + _HEAD.size <= size:
                crc, name_bytes, thumbnail_bytes, *stamp = _HEAD.unpack_from(data, at)
                if max(name_bytes, thumbnail_bytes) > _MAX_PART:
                    break
                row_at = at + _HEAD.size + name_bytes
                end = row_at + self._row_bytes + thumbnail_bytes
                if end > size or zlib.crc32(data[at + 4 : end]) != crc:
                    break
                name = data[at + _HEAD.size : row_at].decode("utf-8")
                self.entries[name] = Entry((stamp[0], stamp[1]), row_at, thumbnail_bytes)
                at = end
        return at


class Reader:
    """Rows and thumbnails of a journal, read where they lie."""

    def __init__(self, descriptor: int, size: int, dimension: int, dtype: np.dtype) -> None:
        self._map = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        self._dimension = dimension
        self._dtype = dtype

    def row(self, entry: Entry) -> np.ndarray:
        """[D] numbers."""
        end = entry.row_at + self._dimension * self._dtype.itemsize
        return np.frombuffer(self._map[entry.row_at : end], self._dtype)

    def thumbnail(self, entry: Entry) -> bytes:
        """A JPEG file, or nothing."""
        start = entry.row_at + self._dimension * self._dtype.itemsize
        return self._map[start : start + entry.thumbnail_bytes]

    def close(self) -> None:
        """Give the map back."""
        self._map.close()
