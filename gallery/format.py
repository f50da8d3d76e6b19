"""Open a gallery file as a memory map; refuse damaged, foreign or hostile files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
from pydantic import ValidationError

from distill.console.errors import Failure
from gallery.codes import sign_bits
from gallery.schema import Header, Model, Section, id_problem
from gallery.write import MAGIC, PREFIX_BYTES, VERSION, Content, write_gallery

__all__ = ["Content", "Gallery", "check_gallery", "open_gallery", "write_gallery"]

MAX_HEADER_BYTES = 2**20
AGAIN = "make it again with distill-index, or copy it again"

_BLOCK = 2**22


class Gallery:
    """An open gallery; created by :func:`open_gallery`.

    Attributes:
        path: Path of the file.
        header: Description of the content.
        embeddings: [N, D] int8 or float32, a read-only view of the file.
        bits: uint64 [N, ceil(D / 64)], the sign bits, or None.
        stamps: uint64 [N, 2] by which ``distill-index`` recognizes a changed image, or None.
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
        self._thumbnails = self._thumbnail_ends = None
        if "thumbnails" in header.sections:
            self._thumbnails = self._view("thumbnails")
            self._thumbnail_ends = self._offsets("thumbnail_offsets", "thumbnails", empty=True)

    def __len__(self) -> int:
        return self.header.count

    @property
    def model(self) -> Model:
        """Model that embedded the images."""
        return self.header.model

    @property
    def has_thumbnails(self) -> bool:
        """Whether the gallery holds thumbnails."""
        return self._thumbnails is not None

    def id(self, row: int) -> str:
        """Return the id of a row's image: a relative path with ``/``.

        Raises:
            IndexError: no such row.
            Failure: the stored bytes are not a valid id.
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
        """Return all ids in row order.

        Raises:
            Failure: an id is invalid or occurs twice.
        """
        names = [self.id(row) for row in range(len(self))]
        if len(set(names)) != len(names):
            self._refuse("an id occurs twice")
        return names

    def thumbnail(self, row: int) -> bytes:
        """Return a row's thumbnail as a JPEG file; empty if it has none.

        Raises:
            IndexError: no such row.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        if self._thumbnails is None or self._thumbnail_ends is None:
            return b""
        return self._thumbnails[self._thumbnail_ends[row] : self._thumbnail_ends[row + 1]].tobytes()

    def thumbnail_sizes(self) -> np.ndarray:
        """Return the size of each thumbnail in bytes: int64 [N]."""
        if self._thumbnail_ends is None:
            return np.zeros(len(self), np.int64)
        return np.diff(self._thumbnail_ends)

    def section(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a section in blocks."""
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
        # Compare unsigned values: a difference could wrap around.
        wrong = values[1:] < values[:-1] if empty else values[1:] <= values[:-1]
        if values[0] != 0 or values[-1] != size or wrong.any():
            self._refuse(f"section {name} does not ascend from 0 to {size}")
        return values.astype(np.int64)

    def _refuse(self, what: str) -> NoReturn:
        raise Failure(f"{self.path}: {what}", AGAIN)


def open_gallery(path: str | Path) -> Gallery:
    """Open a gallery as a memory map.

    Header, layout and offsets are checked, so no access can leave the file. The content is read only when it is
    used; :func:`check_gallery` reads all of it.

    Raises:
        Failure: the file is missing, not a gallery, of another version, truncated or inconsistent.

    Example:
        >>> from gallery import open_gallery
        >>> gallery = open_gallery("photos.gallery")
        >>> len(gallery), gallery.header.dimension, gallery.model.variant
        (9, 48, 'tflite-float32')
        >>> gallery.id(3)
        'IMG_0000.jpg'
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
        raise Failure(f"{path}: format version {version}, this reader supports {VERSION}", cure)
    if len(prefix) < PREFIX_BYTES or len(text) != length:
        raise Failure(f"{path}: the header is truncated or damaged", AGAIN)
    try:
        return Header.model_validate_json(text), PREFIX_BYTES + length, size
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "header"
        message = first["msg"].removeprefix("Value error, ")
        raise Failure(f"{path}: {where}: {message}", AGAIN) from None


def check_gallery(gallery: Gallery) -> None:
    """Read the whole gallery and check hashes, ids, embeddings (finite) and sign bits.

    Raises:
        Failure: the first error found.

    Example:
        >>> from gallery import check_gallery, open_gallery
        >>> check_gallery(open_gallery("photos.gallery"))
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
            raise Failure(f"{gallery.path}: the sign bits near row {start} do not match the embeddings", AGAIN)
