"""The JSON at the head of a gallery file."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from distill.data.preprocess import Preprocessing
from gallery.codes import INT8_SCALE, words

__all__ = ["ALIGNMENT", "MAX_DIMENSION", "REQUIRED", "Header", "Model", "Section", "expected_bytes"]

ALIGNMENT = 64
MAX_DIMENSION = 65536
MAX_COUNT = 2**31 - 1  # rows are numbered with 32 bits on the phone
MAX_BYTES = 2**53  # beyond it JSON numbers are no longer exact everywhere

REQUIRED = ("embeddings", "ids", "id_offsets")

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, Field(ge=0, le=MAX_BYTES)]


class _Part(BaseModel):
    # strict: "12" or 12.0 is no count; unknown fields are a later version's additions.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Section(_Part):
    """Where a block of bytes lies, from the start of the file, and its SHA-256."""

    offset: Annotated[_Size, Field(strict=True)]
    bytes: Annotated[_Size, Field(strict=True)]
    sha256: _Sha256

    @property
    def end(self) -> int:
        """First byte behind it."""
        return self.offset + self.bytes


class Model(_Part):
    """What embedded the pictures.

    Attributes:
        name: of the bundle.
        variant: of the bundle, e.g. ``tflite-int8``.
        sha256: of the model file: whoever searches must embed the query with this very file.
        source_id: the checkpoint that the bundle was made from.
        space: id of the teacher whose space the checkpoint shares, or None.
        preprocessing: what every picture went through before the model.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    variant: Annotated[str, Field(min_length=1, max_length=64)]
    sha256: _Sha256
    source_id: Annotated[str, Field(max_length=200)]
    space: Annotated[str, Field(max_length=200)] | None = None
    preprocessing: Preprocessing


class Header(_Part):
    """All that a gallery says of itself; see docs/gallery.md."""

    schema_version: Literal[1]
    count: Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]
    dimension: Annotated[int, Field(strict=True, ge=1, le=MAX_DIMENSION)]
    dtype: Literal["int8", "float32"]
    scale: Annotated[float, Field(gt=0)]
    model: Model
    created: Annotated[str, Field(max_length=40)]
    tool: Annotated[str, Field(max_length=200)] = ""
    # Longer side of the thumbnails in pixels; None: there are none, or nobody says.
    thumbnail_side: Annotated[int, Field(ge=1, le=4096)] | None = None
    # Where the bundle lay when the gallery was written, relative to the gallery; only a convenience.
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
        """Every section lies between the header and the end of the file, aligned, and touches no other.

        Args:
            first: first byte behind the header.
            file_size: bytes of the file.

        Raises:
            ValueError: it does not.
        """
        end, before = first, "the header"
        for name, section in sorted(self.sections.items(), key=lambda item: (item[1].offset, item[1].bytes)):
            if section.offset % ALIGNMENT:
                raise ValueError(f"section {name} starts at {section.offset}, which is no multiple of {ALIGNMENT}")
            if section.end > file_size:
                raise ValueError(f"section {name} ends at {section.end}, the file at {file_size}")
            if section.offset < end:
                raise ValueError(f"section {name} overlaps {before}")
            end, before = section.end, f"section {name}"


def expected_bytes(count: int, dimension: int, dtype: str) -> dict[str, int]:
    """Sizes that follow from the shape; the optional sections among them."""
    return {
        "embeddings": count * dimension * (1 if dtype == "int8" else 4),
        "bits": count * words(dimension) * 8,
        "id_offsets": (count + 1) * 8,
        "stamps": count * 16,
        "thumbnail_offsets": (count + 1) * 8,
    }
