"""Header of a gallery file (JSON), and the rule for image ids."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from distill.data.preprocess import Preprocessing
from gallery.codes import INT8_SCALE, words

__all__ = ["ALIGNMENT", "MAX_DIMENSION", "REQUIRED", "Header", "Model", "Section", "expected_bytes", "id_problem"]

ALIGNMENT = 64
MAX_DIMENSION = 65536
MAX_COUNT = 2**31 - 1  # the phone numbers rows with 32 bits
MAX_BYTES = 2**53  # larger JSON numbers are not exact in every language

REQUIRED = ("embeddings", "ids", "id_offsets")

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, Field(ge=0, le=MAX_BYTES)]


class _Part(BaseModel):
    # Unknown fields are additions of a later version.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Section(_Part):
    """Offset from the start of the file, length and SHA-256 of a block of bytes."""

    offset: Annotated[_Size, Field(strict=True)]
    bytes: Annotated[_Size, Field(strict=True)]
    sha256: _Sha256

    @property
    def end(self) -> int:
        """Offset of the first byte after the section."""
        return self.offset + self.bytes


class Model(_Part):
    """The model that embedded the images of a gallery.

    Attributes:
        name: Name of the bundle.
        variant: Variant of the bundle, e.g. ``tflite-int8``.
        sha256: SHA-256 of the model file. Queries must be embedded with the same file.
        source_id: Id of the checkpoint from which the bundle was exported.
        space: Id of the teacher whose embedding space the checkpoint shares, or None.
        preprocessing: Preprocessing of every image.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    variant: Annotated[str, Field(min_length=1, max_length=64)]
    sha256: _Sha256
    source_id: Annotated[str, Field(max_length=200)]
    space: Annotated[str, Field(max_length=200)] | None = None
    preprocessing: Preprocessing


class Header(_Part):
    """Description at the head of a gallery file; see docs/gallery.md."""

    schema_version: Literal[1]
    count: Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]
    dimension: Annotated[int, Field(strict=True, ge=1, le=MAX_DIMENSION)]
    dtype: Literal["int8", "float32"]
    scale: Annotated[float, Field(gt=0)]
    model: Model
    created: Annotated[str, Field(max_length=40)]
    tool: Annotated[str, Field(max_length=200)] = ""
    # Longer side of the thumbnails in pixels; None: no thumbnails, or not recorded.
    thumbnail_side: Annotated[int, Field(ge=1, le=4096)] | None = None
    # Path of the bundle when the gallery was written, relative to the gallery. A convenience for searching.
    bundle: Annotated[str, Field(max_length=4096)] | None = None
    sections: dict[str, Section]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        right = INT8_SCALE if self.dtype == "int8" else 1.0
        if not math.isclose(self.scale, right, rel_tol=1e-6):
            raise ValueError(f"scale {self.scale:g} instead of {right:g} for {self.dtype}")
        missing = [name for name in REQUIRED if name not in self.sections]
        if ("thumbnails" in self.sections) != ("thumbnail_offsets" in self.sections):
            missing.append("thumbnail_offsets" if "thumbnails" in self.sections else "thumbnails")
        if missing:
            raise ValueError(f"no section '{missing[0]}'")
        for name, size in expected_bytes(self.count, self.dimension, self.dtype).items():
            if name in self.sections and self.sections[name].bytes != size:
                raise ValueError(f"section {name} has {self.sections[name].bytes} bytes instead of {size}")
        return self

    def check_layout(self, first: int, file_size: int) -> None:
        """Check that the sections are aligned, do not overlap, and lie between the header and the end of the file.

        Args:
            first: Offset of the first byte after the header.
            file_size: Size of the file in bytes.

        Raises:
            ValueError: a section breaks one of these rules.
        """
        end, before = first, "the header"
        for name, section in sorted(self.sections.items(), key=lambda item: (item[1].offset, item[1].bytes)):
            if section.offset % ALIGNMENT:
                raise ValueError(f"section {name} starts at {section.offset}, which is not a multiple of {ALIGNMENT}")
            if section.end > file_size:
                raise ValueError(f"section {name} ends at {section.end}, the file at {file_size}")
            if section.offset < end:
                raise ValueError(f"section {name} overlaps {before}")
            end, before = section.end, f"section {name}"


def expected_bytes(count: int, dimension: int, dtype: str) -> dict[str, int]:
    """Return the size in bytes of each section whose size follows from the shape, optional ones included."""
    return {
        "embeddings": count * dimension * (1 if dtype == "int8" else 4),
        "bits": count * words(dimension) * 8,
        "id_offsets": (count + 1) * 8,
        "stamps": count * 16,
        "thumbnail_offsets": (count + 1) * 8,
    }


def id_problem(name: str) -> str:
    """Return why ``name`` cannot be an image id; empty if it can.

    An id is a relative path with ``/``. A reader may join it to a folder, so it must not lead out of it.
    """
    if not name:
        return "is empty"
    if "\0" in name:
        return "holds a NUL"
    if name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")):
        return "is not a plain relative path"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "is not UTF-8"
    return ""
