"""Read a gallery file: mapped into memory, and refused where it is damaged, foreign or hostile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
from pydantic import ValidationError

from distill.console.errors import Failure
from gallery.codes import sign_bits
from gallery.ids import id_problem
from gallery.schema import Header, Model, Section
from gallery.write import MAGIC, PREFIX_BYTES, VERSION, Content, write_gallery

__all__ = ["Content", "Gallery", "check_gallery", "open_gallery", "write_gallery"]

MAX_HEADER_BYTES = 2**20
AGAIN = "make it again with distill-index, or copy it again"

_BLOCK = 2**22


class Gallery:
    """An open gallery; made by :func:`open_gallery`.

    Attributes:
        path: the file.
        header: its description.
        embeddings: [N, D] int8 or float32, a read-only view of the file.
        bits: uint64 [N, ceil(D / 64)], the signs, or None.
        stamps: uint64 [N, 2], what tells a changed picture, or None.
    """

    def __init__(self, path: Path, header: Header, data: np.ndarray) -> None:
        self.path = path
        self.header = header
        self._data = data
        count, dimension = header.count, header.dimension
        kept = "i1" if header.dtype == "int8" else "<f4"
        self.embeddings = self._view("embeddings").view(kept).reshape(count, dimension)
        self.bits = self._optional("bits", count)
        self.stamps = self._optional("stamps", count)
        self._ids = self._view("ids")
        self._id_ends = self._offsets("id_offsets", "ids", empty=False)
        self._pictures = self._pictures_ends = None
        if "thumbnails" in header.sections:
            self._pictures = self._view("thumbnails")
            self._pictures_ends = self._offsets("thumbnail_offsets", "thumbnails", empty=True)

    def __len__(self) -> int:
        return self.header.count

    @property
    def model(self) -> Model:
        """What embedded the pictures."""
        return self.header.model

    @property
    def has_thumbnails(self) -> bool:
        """Whether there are thumbnails at all."""
        return self._pictures is not None

    def id(self, row: int) -> str:
        """Name of a row's picture: a relative path with ``/``.

        Raises:
            IndexError: no such row.
            Failure: the bytes are no such path.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        raw = self._ids[self._id_ends[row] : self._id_ends[row + 1]].tobytes()
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            self._refuse(f"the id of row {row} is not UTF-8")
        if problem := id_problem(name):
            self._refuse(f"the id of row {row} {problem}")
        return name

    def ids(self) -> list[str]:
        """All ids, in the order of the rows.

        Raises:
            Failure: one is no relative path, or stands twice.
        """
        names = [self.id(row) for row in range(len(self))]
        if len(set(names)) != len(names):
            self._refuse("an id stands twice")
        return names

    def thumbnail(self, row: int) -> bytes:
        """A row's thumbnail as a JPEG file; empty where there is none.

        Raises:
            IndexError: no such row.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        if self._pictures is None or self._pictures_ends is None:
            return b""
        return self._pictures[self._pictures_ends[row] : self._pictures_ends[row + 1]].tobytes()

    def thumbnail_sizes(self) -> np.ndarray:
        """Bytes of each thumbnail: int64 [N]."""
        if self._pictures_ends is None:
            return np.zeros(len(self), np.int64)
        return np.diff(self._pictures_ends)

    def section(self, name: str) -> Iterator[bytes]:
        """The bytes of a section in blocks."""
        raw = self._view(name)
        for start in range(0, len(raw), _BLOCK):
            yield raw[start : start + _BLOCK].tobytes()

    def _view(self, name: str) -> np.ndarray:
        place: Section = self.header.sections[name]
        return self._data[place.offset : place.end]

    def _optional(self, name: str, count: int) -> np.ndarray | None:
        if name not in self.header.sections:
            return None
        raw = self._view(name)
        return raw.view("<u8").reshape(count, len(raw) // 8 // count if count else 1)

    def _offsets(self, name: str, of: str, empty: bool) -> np.ndarray:
        values = self._view(name).view("<u8")
        size = self.header.sections[of].bytes
        # Compared as unsigned: a difference could wrap around.
        wrong = values[1:] < values[:-1] if empty else values[1:] <= values[:-1]
        if values[0] != 0 or values[-1] != size or wrong.any():
            self._refuse(f"section {name} does not ascend from 0 to {size}")
        return values.astype(np.int64)

    def _refuse(self, what: str) -> NoReturn:
        raise Failure(f"{self.path}: {what}", AGAIN)


def open_gallery(path: str | Path) -> Gallery:
    """Map a gallery.

    Header, layout and offsets are checked, so that no access can leave the file; the content itself
    is read only where it is used (:func:`check_gallery` reads all of it).

    Raises:
        Failure: missing, no gallery, another version, truncated, or it contradicts itself.
    """
    path = Path(path)
    header, first, size = _read_header(path)
    try:
        header.check_layout(first, size)
    except ValueError as error:
        raise Failure(f"{path}: {error}", AGAIN) from None
    return Gallery(path, header, np.memmap(path, np.uint8, "r", shape=(size,)))


def _read_header(path: Path) -> tuple[Header, int, int]:
    if path.is_dir():
        raise Failure(f"{path}: is a folder, not a gallery", "give the file that distill-index wrote")
    try:
        with open(path, "rb") as file:
            prefix = file.read(PREFIX_BYTES)
            length = int.from_bytes(prefix[12:16], "little")
            text = file.read(length) if length <= MAX_HEADER_BYTES else b""
            size = file.seek(0, 2)
    except FileNotFoundError:
        raise Failure(f"{path}: no such gallery", "make one with distill-index BUNDLE IMAGES --out GALLERY") from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror or error}", "check the file") from None
    if prefix[:8] != MAGIC:
        raise Failure(f"{path}: not a gallery", "give the file that distill-index wrote")
    version = int.from_bytes(prefix[8:12], "little")
    if len(prefix) == PREFIX_BYTES and version != VERSION:
        cure = "update distill-to-phone" if version > VERSION else AGAIN
        raise Failure(f"{path}: version {version} of the format, this reader knows {VERSION}", cure)
    if len(prefix) < PREFIX_BYTES or len(text) != length:
        raise Failure(f"{path}: truncated or damaged in its header", AGAIN)
    try:
        return Header.model_validate_json(text), PREFIX_BYTES + length, size
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "header"
        message = first["msg"].removeprefix("Value error, ")
        raise Failure(f"{path}: {where}: {message}", AGAIN) from None


def check_gallery(gallery: Gallery) -> None:
    """Read all of it: hashes, ids, numbers that are numbers, signs that are theirs.

    Raises:
        Failure: the first thing that is wrong.
    """
    for name, place in gallery.header.sections.items():
        digest = hashlib.sha256()
        for block in gallery.section(name):
            digest.update(block)
        if digest.hexdigest() != place.sha256:
            raise Failure(f"{gallery.path}: section {name} changed since it was written (SHA-256 differs)", AGAIN)
    gallery.ids()
    for start in range(0, len(gallery), 4096):
        part = gallery.embeddings[start : start + 4096]
        if part.dtype != np.int8 and not np.isfinite(part).all():
            raise Failure(f"{gallery.path}: an embedding near row {start} is not finite", AGAIN)
        if gallery.bits is not None and not np.array_equal(gallery.bits[start : start + 4096], sign_bits(part)):
            raise Failure(f"{gallery.path}: the sign bits near row {start} are not those of the embeddings", AGAIN)
