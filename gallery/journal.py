"""Journal of an unfinished build: embedded rows, appended batch by batch.

A killed build loses only the batches in flight. Layout of the file ``journal``: one line of JSON that names the
model, dtype and thumbnail size of the rows; then little-endian records

    u32 CRC-32 of all that follows, u32 bytes of the id, u32 bytes of the thumbnail, u64 × 2 stamp,
    id (UTF-8), row (D numbers), thumbnail (JPEG)

Reading stops at the first record that is cut off or does not match its CRC.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill.console.errors import Failure
from distill.console.progress import note
from distill.files import named_errors
from gallery.format import Gallery

__all__ = ["Entry", "Journal", "JournalReader", "MergedRows", "Record"]

_HEAD = struct.Struct("<IIIQQ")
_ENTRY = struct.Struct("<QQQI")
_MAX_LINE = 2**20
_MAX_PART = 2**26  # bytes of an id or thumbnail; a larger value means damage


class Record(NamedTuple):
    """One embedded image."""

    id: str
    stamp: tuple[int, int]
    row: np.ndarray  # [D], int8 or float32
    thumbnail: bytes


class Entry(bytes):
    """Position of a record in the journal, packed: as Python integers, a million would take 200 MB more."""

    __slots__ = ()

    @classmethod
    def of(cls, stamp: tuple[int, int], row_at: int, thumbnail_bytes: int) -> Entry:
        return cls(_ENTRY.pack(*stamp, row_at, thumbnail_bytes))

    @property
    def stamp(self) -> tuple[int, int]:
        size, modified, _, _ = _ENTRY.unpack(self)
        return size, modified

    @property
    def row_at(self) -> int:
        return _ENTRY.unpack(self)[2]

    @property
    def thumbnail_bytes(self) -> int:
        return _ENTRY.unpack(self)[3]


class Journal:
    """The rows embedded so far, kept in ``folder`` by one process at a time.

    Args:
        folder: Folder of the journal alone; created if missing.
        binding: Facts that identify the rows (model, dtype, …). A journal with other facts is discarded.
        dimension: Length of a row.
        dtype: Type of a row.

    Attributes:
        entries: Maps each id to its latest record.

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
                    note(f"{folder}: discarded what an unfinished run with another model or kind had embedded")
                with named_errors(folder):
                    self._file.truncate(0)
                    self._file.write(line)
                    self._file.flush()
                self._end = len(line)
        except BaseException:
            self._file.close()
            raise

    def append(self, records: Iterable[Record]) -> None:
        """Append records and hand them to the operating system."""
        parts, entries, at = [], {}, self._end
        for record in records:
            name = record.id.encode("utf-8")
            row = np.ascontiguousarray(record.row, self._dtype).tobytes()
            rest = struct.pack("<IIQQ", len(name), len(record.thumbnail), *record.stamp) + name + row + record.thumbnail
            parts.append(zlib.crc32(rest).to_bytes(4, "little") + rest)
            entries[record.id] = Entry.of(record.stamp, at + _HEAD.size + len(name), len(record.thumbnail))
            at += len(parts[-1])
        with named_errors(self.folder):
            self._file.write(b"".join(parts))
            self._file.flush()
        self._end = at
        self.entries |= entries

    def read(self) -> JournalReader:
        """Map the rows and thumbnails into memory."""
        return JournalReader(self._file.fileno(), self._end, self._dimension, self._dtype)

    def close(self, remove: bool) -> None:
        """Release the lock; with ``remove``, also delete the folder."""
        with contextlib.suppress(OSError):  # a full disk was already reported
            self._file.close()
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: nothing prevents two builds at once
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(
                f"{self.folder}: another distill-index is running here", "wait until it has finished"
            ) from None
        except OSError:  # the file system has no locks
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
                self.entries[name] = Entry.of((stamp[0], stamp[1]), row_at, thumbnail_bytes)
                at = end
        return at


class JournalReader:
    """Random access to the rows and thumbnails of a journal."""

    def __init__(self, descriptor: int, size: int, dimension: int, dtype: np.dtype) -> None:
        self._map = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        self._dimension = dimension
        self._dtype = dtype

    def row(self, entry: Entry) -> np.ndarray:
        """Return the row of a record: [D]."""
        end = entry.row_at + self._dimension * self._dtype.itemsize
        return np.frombuffer(self._map[entry.row_at : end], self._dtype)

    def thumbnail(self, entry: Entry) -> bytes:
        """Return the thumbnail of a record: a JPEG file, or empty."""
        start = entry.row_at + self._dimension * self._dtype.itemsize
        return self._map[start : start + entry.thumbnail_bytes]

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()


class MergedRows:
    """Rows of a new gallery, taken from the old gallery or the journal. Only the requested slice is in memory.

    Args:
        places: For each row of the new gallery, its row in ``old`` or its entry in the journal.
        old: The gallery to update, or None.
        new: The rows embedded by this build.
        dimension: Length of a row.
        dtype: Type of a row.
    """

    def __init__(
        self, places: Sequence[int | Entry], old: Gallery | None, new: JournalReader, dimension: int, dtype: np.dtype
    ) -> None:
        self._places = places
        self._old = old
        self._new = new
        self.shape = (len(places), dimension)
        self.dtype = dtype

    def __getitem__(self, part: slice) -> np.ndarray:
        wanted = self._places[part]
        rows = np.empty((len(wanted), self.shape[1]), self.dtype)
        for index, place in enumerate(wanted):
            rows[index] = self._new.row(place) if isinstance(place, Entry) else self._kept().embeddings[place]
        return rows

    def thumbnail_sizes(self) -> np.ndarray:
        """Return the size of each thumbnail in bytes: int64 [N]."""
        old = self._old.thumbnail_sizes() if self._old is not None else np.zeros(0, np.int64)
        sizes = (place.thumbnail_bytes if isinstance(place, Entry) else old[place] for place in self._places)
        return np.fromiter(sizes, np.int64, len(self._places))

    def thumbnails(self) -> Iterator[bytes]:
        """Yield the thumbnails in row order."""
        for place in self._places:
            yield self._new.thumbnail(place) if isinstance(place, Entry) else self._kept().thumbnail(place)

    def _kept(self) -> Gallery:
        assert self._old is not None
        return self._old
