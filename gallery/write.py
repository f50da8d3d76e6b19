"""Write a gallery file section by section, with bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from distill.files import atomic_path
from gallery.codes import INT8_SCALE, sign_bits, words
from gallery.ids import join_ids
from gallery.schema import ALIGNMENT, Header, Model, Section

__all__ = ["BITS_FROM", "MAGIC", "PREFIX_BYTES", "VERSION", "Content", "Rows", "write_gallery", "write_to"]

MAGIC = b"DTPGALRY"
VERSION = 1
PREFIX_BYTES = 16

# From this many rows up the sign bits are written along: below, the exact search takes no longer.
BITS_FROM = 100_000

_CHUNK = 16384  # rows


class Rows(Protocol):
    """Anything that has a shape, a dtype and slices of rows: an array, a map, rows in a journal."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, part: slice) -> np.ndarray: ...


@dataclass(frozen=True)
class Content:
    """What goes into a gallery.

    Attributes:
        model: what embedded the pictures.
        ids: N unique relative paths.
        embeddings: [N, D], int8 codes (``gallery.codes``) or float32 rows of unit length.
        thumbnails: N JPEG files (an empty one where there is none), or None.
        thumbnail_sizes: their lengths where ``thumbnails`` are read lazily.
        thumbnail_side: longer side of the thumbnails, pixels.
        stamps: uint64 [N, 2], what tells a changed picture (see docs/gallery.md), or None.
        bits: whether to write the sign bits; None: from 100,000 rows up.
        bundle: where the bundle lies, relative to the gallery.
        created: UTC, ISO 8601; empty: now.
        tool: what writes.
    """

    model: Model
    ids: Sequence[str]
    embeddings: Rows
    thumbnails: Iterable[bytes] | None = None
    thumbnail_sizes: Sequence[int] | np.ndarray | None = None
    thumbnail_side: int | None = None
    stamps: np.ndarray | None = None
    bits: bool | None = None
    bundle: str | None = None
    created: str = ""
    tool: str = "distill-to-phone"


def write_gallery(path: str | Path, content: Content) -> Header:
    """Write a gallery under a temporary name and rename it.

    Returns:
        the header as written.

    Raises:
        ValueError: shapes, types or ids that make no gallery.
        OSError: the file cannot be written (disk full, no right).
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        return write_to(file, content)


def write_to(file: BinaryIO, content: Content) -> Header:
    """The same into an open, empty, seekable file."""
    count, dimension = _checked_shape(content)
    parts = _parts(content)
    # The sizes are known, so the header's length is: hashes are filled in at the end.
    placed = _place(content, count, dimension, {name: size for name, (size, _) in parts.items()})
    head = _head(placed)
    file.write(head)
    hashes = {}
    for name, (size, blocks) in parts.items():
        start = placed.sections[name].offset
        file.write(b"\0" * (start - file.tell()))
        digest = hashlib.sha256()
        for block in blocks:
            file.write(block)
            digest.update(block)
        if file.tell() != start + size:
            raise ValueError(f"section {name}: {file.tell() - start} bytes came instead of {size}")
        hashes[name] = digest.hexdigest()
    header = placed.model_copy(
        update={"sections": {n: s.model_copy(update={"sha256": hashes[n]}) for n, s in placed.sections.items()}}
    )
    file.seek(0)
    file.write(_head(header))
    return header


def _checked_shape(content: Content) -> tuple[int, int]:
    rows = content.embeddings
    if len(rows.shape) != 2 or np.dtype(rows.dtype) not in (np.int8, np.float32):
        raise ValueError(f"embeddings are {rows.dtype} {rows.shape}, not int8 or float32 [N, D]")
    count, dimension = rows.shape
    if len(content.ids) != count:
        raise ValueError(f"{len(content.ids)} ids for {count} embeddings")
    if content.stamps is not None and content.stamps.shape != (count, 2):
        raise ValueError(f"stamps {content.stamps.shape} for {count} embeddings")
    return count, dimension


def _parts(content: Content) -> dict[str, tuple[int, Iterable[bytes]]]:
    """Name → (bytes, blocks), in the order of the file."""
    rows = content.embeddings
    count, dimension = rows.shape
    kept = "<f4" if np.dtype(rows.dtype) == np.float32 else "i1"
    parts: dict[str, tuple[int, Iterable[bytes]]] = {}
    parts["embeddings"] = (
        count * dimension * np.dtype(kept).itemsize,
        (np.ascontiguousarray(part, kept).tobytes() for part in _slices(rows)),
    )
    if count >= BITS_FROM if content.bits is None else content.bits:
        parts["bits"] = (
            count * words(dimension) * 8,
            (sign_bits(part).astype("<u8").tobytes() for part in _slices(rows)),
        )
    ids, offsets = join_ids(content.ids)
    parts["id_offsets"] = _array(np.array(offsets, "<u8"))
    parts["ids"] = len(ids), [ids]
    if content.stamps is not None:
        parts["stamps"] = _array(content.stamps.astype("<u8"))
    if content.thumbnails is not None:
        sizes = content.thumbnail_sizes
        if sizes is None:
            sizes = [len(picture) for picture in content.thumbnails]
        if len(sizes) != count:
            raise ValueError(f"{len(sizes)} thumbnails for {count} embeddings")
        ends = np.concatenate([[0], np.cumsum(np.asarray(sizes, np.int64))])
        parts["thumbnail_offsets"] = _array(ends.astype("<u8"))
        parts["thumbnails"] = int(ends[-1]), content.thumbnails
    return parts


def _slices(rows: Rows) -> Iterator[np.ndarray]:
    for start in range(0, rows.shape[0], _CHUNK):
        yield rows[start : start + _CHUNK]


def _array(values: np.ndarray) -> tuple[int, Iterable[bytes]]:
    return values.nbytes, [values.tobytes()]


def _place(content: Content, count: int, dimension: int, sizes: dict[str, int]) -> Header:
    facts: dict[str, Any] = {
        "schema_version": 1,
        "count": count,
        "dimension": dimension,
        "dtype": str(np.dtype(content.embeddings.dtype)),
        "scale": INT8_SCALE if np.dtype(content.embeddings.dtype) == np.int8 else 1.0,
        "model": content.model,
        "created": content.created or datetime.now(UTC).isoformat(timespec="seconds"),
        "tool": content.tool,
        "thumbnail_side": content.thumbnail_side if content.thumbnails is not None else None,
        "bundle": content.bundle,
    }

    def at(first: int) -> Header:
        sections, end = {}, first
        for name, size in sizes.items():
            start = -(-end // ALIGNMENT) * ALIGNMENT
            sections[name] = Section(offset=start, bytes=size, sha256="0" * 64)
            end = start + size
        return Header(**facts, sections=sections)

    # A longer header moves the sections, whose offsets may then take more digits.
    first = ALIGNMENT
    while len(_head(at(first))) > first:
        first = len(_head(at(first)))
    return at(first)


def _head(header: Header) -> bytes:
    text = header.model_dump_json().encode("utf-8")
    text += b" " * (-(PREFIX_BYTES + len(text)) % ALIGNMENT)
    return MAGIC + VERSION.to_bytes(4, "little") + len(text).to_bytes(4, "little") + text
