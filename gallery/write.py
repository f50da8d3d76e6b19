"""Write a gallery file, section by section and with bounded memory."""

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
from gallery.schema import ALIGNMENT, Header, Model, Section, id_problem

__all__ = ["BITS_FROM", "MAGIC", "PREFIX_BYTES", "VERSION", "Content", "Rows", "write_gallery", "write_to"]

MAGIC = b"DTPGALRY"
VERSION = 1
PREFIX_BYTES = 16

# From this many rows up, sign bits are written by default. Below, the exact search is as fast.
BITS_FROM = 100_000

_CHUNK = 16384  # rows


class Rows(Protocol):
    """A source of rows with shape, dtype and slicing: an array, a memory map, or rows in a journal."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, part: slice) -> np.ndarray: ...


@dataclass(frozen=True)
class Content:
    """Content of a gallery to write.

    Attributes:
        model: Model that embedded the images.
        ids: N unique relative paths.
        embeddings: [N, D], int8 codes (``gallery.row_codes``) or float32 rows of unit length.
        thumbnails: N JPEG files (empty bytes for an image without one), or None.
        thumbnail_sizes: Lengths of the thumbnails in bytes, for ``thumbnails`` that can be iterated only once.
        thumbnail_side: Longer side of the thumbnails in pixels.
        stamps: uint64 [N, 2] by which ``distill-index`` recognizes a changed image (docs/gallery.md), or None.
        bits: Whether to write sign bits; None: from 100,000 rows up.
        bundle: Path of the bundle, relative to the gallery.
        created: Time in UTC, ISO 8601; empty: now.
        tool: Name of the writing program.
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
    """Write a gallery under a temporary name, then rename it.

    Returns:
        The header as written.

    Raises:
        ValueError: invalid shapes, types or ids.
        OSError: the file cannot be written (disk full, no permission).

    Example:
        >>> import numpy as np
        >>> from distill.data.preprocess import Preprocessing
        >>> from gallery import Content, Model, row_codes, write_gallery
        >>> preprocessing = Preprocessing(input_size=224, resize_size=256)
        >>> model = Model(name="mine", variant="v1", sha256="0" * 64, source_id="", preprocessing=preprocessing)
        >>> embeddings = np.array([[0.6, 0.8], [1.0, 0.0]], np.float32)
        >>> header = write_gallery("two.gallery", Content(model, ["a.jpg", "b.jpg"], row_codes(embeddings)))
        >>> header.count, header.dimension, header.dtype
        (2, 2, 'int8')
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        return write_to(file, content)


def write_to(file: BinaryIO, content: Content) -> Header:
    """Write a gallery into an open, empty, seekable file."""
    count, dimension = _checked_shape(content)
    parts = _parts(content)
    # The section sizes fix the length of the header; the hashes are filled in at the end.
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
            raise ValueError(f"section {name}: {file.tell() - start} bytes were written instead of {size}")
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
    """Return name → (size in bytes, blocks), in file order."""
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
    ids, offsets = _join_ids(content.ids)
    parts["id_offsets"] = _array(offsets)
    parts["ids"] = len(ids), [ids]
    if content.stamps is not None:
        parts["stamps"] = _array(content.stamps.astype("<u8"))
    if content.thumbnails is not None:
        sizes = content.thumbnail_sizes
        if sizes is None:
            sizes = [len(jpeg) for jpeg in content.thumbnails]
        if len(sizes) != count:
            raise ValueError(f"{len(sizes)} thumbnails for {count} embeddings")
        ends = np.concatenate([[0], np.cumsum(np.asarray(sizes, np.int64))])
        parts["thumbnail_offsets"] = _array(ends.astype("<u8"))
        parts["thumbnails"] = int(ends[-1]), content.thumbnails
    return parts


def _join_ids(ids: Sequence[str]) -> tuple[bytes, np.ndarray]:
    """Return the concatenated ids as UTF-8, and the start of each plus the end of the last, u64.

    Raises:
        ValueError: an id is invalid or occurs twice.
    """
    for name in ids:
        if problem := id_problem(name):
            raise ValueError(f"id {name!r} {problem}")
    if len(set(ids)) != len(ids):
        raise ValueError("an id is given twice")
    # One string and no list of encoded ids: of a million ids, the list takes more than all rows.
    offsets = np.zeros(len(ids) + 1, "<u8")
    offsets[1:] = np.cumsum(np.fromiter((len(name.encode("utf-8")) for name in ids), np.uint64, len(ids)))
    return "".join(ids).encode("utf-8"), offsets


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

    # A longer header moves the sections, and their offsets may then need more digits.
    first = ALIGNMENT
    while len(_head(at(first))) > first:
        first = len(_head(at(first)))
    return at(first)


def _head(header: Header) -> bytes:
    text = header.model_dump_json().encode("utf-8")
    text += b" " * (-(PREFIX_BYTES + len(text)) % ALIGNMENT)
    return MAGIC + VERSION.to_bytes(4, "little") + len(text).to_bytes(4, "little") + text
