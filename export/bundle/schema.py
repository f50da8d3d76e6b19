"""Schema of ``bundle.json``. ``docs/bundle.md`` describes it for app authors.

A reader ignores fields that it does not know. A change in the meaning of a field raises
``SCHEMA_VERSION``. Every size is bounded, so that a hostile file cannot make a reader
allocate or read without limit.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from distill.data.preprocess import Preprocessing

__all__ = [
    "BUNDLE_FILE",
    "SCHEMA_VERSION",
    "Calibration",
    "Check",
    "FineTuning",
    "Golden",
    "GoldenFile",
    "GoldenVectors",
    "InputSpec",
    "Licence",
    "Manifest",
    "Operator",
    "OutputSpec",
    "Provenance",
    "RawFile",
    "Scheme",
    "Source",
    "Tolerance",
    "Variant",
]

SCHEMA_VERSION = 1
BUNDLE_FILE = "bundle.json"

MAX_FILE_BYTES = 2**31 - 1  # flatbuffers and protobuf files end here
MAX_SIDE = 4096
MAX_EMBEDDING = 65536
MAX_GOLDEN = 1024
MAX_GOLDEN_FILE_BYTES = 64 * 2**20
MAX_GOLDEN_BYTES = 2**29  # eight images of 4096 pixels

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
# Names that Windows reserves for devices, whatever follows the dot.
_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))}


def _inside(name: str) -> str:
    """Return a relative path of plain names, which cannot leave the bundle's folder."""
    parts = name.split("/")
    plain = all(_PART.fullmatch(part) and part.split(".")[0].lower() not in _RESERVED for part in parts)
    if not 1 <= len(parts) <= 4 or not plain:
        raise ValueError(f"{name!r} is not a plain path inside the bundle")
    return name


FileName = Annotated[str, AfterValidator(_inside)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]  # new schemes bring new ones
Cosine = Annotated[float, Field(ge=-1.000001, le=1.000001)]
Dimension = Annotated[int, Field(ge=1, le=2**24)]
Count = Annotated[int, Field(ge=0, le=2**31)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class RawFile(_Part):
    """A file of the bundle: raw little-endian values in C order, or a model."""

    file: FileName
    size_bytes: Annotated[int, Field(ge=1, le=MAX_FILE_BYTES)]
    sha256: Sha256


class Scheme(_Part):
    """How numbers are stored and computed. For people: running a variant needs only its tensors.

    Attributes:
        weights: ``float32``, ``float16`` (widened on loading; arithmetic is float32), ``int8``, or a type of
            another scheme.
        activations: ``float32``, ``int16``, ``int8``, ``uint8``, or a type of another scheme.
        granularity: what has a scale of its own: ``tensor``, ``channel``, ``none``, or a unit of another scheme.
        method: ``none``, ``post_training``, ``quantization_aware``, or that of another scheme.
    """

    weights: Word
    activations: Word
    granularity: Word = "none"
    method: Word = "none"


class InputSpec(_Part):
    """The input tensor. For an integer ``dtype``: ``q = clamp(rint(scaled / scale) + zero_point)``

    with ``scaled = (pixel - mean) / std`` and ``rint`` rounding halves to the even neighbour.
    A leading 1 in ``shape`` is the batch; ``dynamic_batch`` says whether other sizes are taken.
    """

    name: Annotated[str, Field(max_length=200)]
    shape: tuple[Dimension, Dimension, Dimension, Dimension]
    layout: Literal["NHWC", "NCHW"]
    dtype: Literal["float32", "int8", "uint8", "int16"]
    scale: Annotated[float, Field(gt=0)] | None = None
    zero_point: Annotated[int, Field(ge=-128, le=255)] | None = None
    dynamic_batch: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> InputSpec:
        _scale_fits(self.dtype, self.scale, self.zero_point)
        return self

    @property
    def hwc(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        _n, a, b, c = self.shape
        return (a, b, c) if self.layout == "NHWC" else (b, c, a)


class OutputSpec(_Part):
    """The output tensor; integers stand for ``(q - zero_point) * scale``.

    ``renormalise``: the host divides each row by its length (an int8 L2 norm leaves 0.985 to 1.017).
    """

    name: Annotated[str, Field(max_length=200)]
    shape: tuple[Dimension, Dimension]
    dtype: Literal["float32", "int8", "uint8"]
    scale: Annotated[float, Field(gt=0)] | None = None
    zero_point: Annotated[int, Field(ge=-128, le=255)] | None = None
    unit_norm: bool
    renormalise: bool

    @model_validator(mode="after")
    def _consistent(self) -> OutputSpec:
        _scale_fits(self.dtype, self.scale, self.zero_point)
        if not (self.unit_norm or self.renormalise):
            raise ValueError("rows that are not of unit length need renormalise")
        return self


# int16 is symmetric in TFLite: its zero point is 0.
_ZERO_POINTS = {"uint8": (0, 255), "int8": (-128, 127), "int16": (0, 0)}


def _scale_fits(dtype: str, scale: float | None, zero_point: int | None) -> None:
    if dtype == "float32":
        if (scale, zero_point) != (None, None):
            raise ValueError("a float32 tensor has no scale or zero point")
        return
    if scale is None or zero_point is None:
        raise ValueError(f"an {dtype} tensor needs scale and zero_point")
    low, high = _ZERO_POINTS[dtype]
    if not low <= zero_point <= high:
        raise ValueError(f"zero point {zero_point} outside {low}..{high}")


class Operator(_Part):
    """One kind of operator, and its number of occurrences in the graph."""

    name: Annotated[str, Field(max_length=100)]
    count: Annotated[int, Field(ge=1, le=10**6)]


class Tolerance(_Part):
    """Limits of a check; ``None``: no limit."""

    max_abs_diff: Annotated[float, Field(ge=0)] | None = None
    min_cosine: Cosine | None = None
    mean_cosine: Cosine | None = None


class Check(_Part):
    """A variant's embeddings compared with PyTorch's, on images that were not used for calibration."""

    images: Annotated[int, Field(ge=1)]
    data: Annotated[str, Field(max_length=2000)]
    max_abs_diff: Annotated[float, Field(ge=0)]
    min_cosine: Cosine
    mean_cosine: Cosine
    tolerance: Tolerance
    passed: bool


class FineTuning(_Part):
    """Quantization-aware training: the rounded network learns its own float embeddings, without labels.

    ``cosine_before`` and ``cosine_after``: mean cosine between rounded and float embeddings of the calibration
    images.
    """

    data: Annotated[str, Field(max_length=2000)]
    images: Count  # training images available
    steps: Annotated[int, Field(ge=1, le=10**7)]
    batch_size: Annotated[int, Field(ge=1, le=10**6)]
    lr: Annotated[float, Field(gt=0)]
    seed: int
    cosine_before: Cosine
    cosine_after: Cosine

    def summary(self) -> str:
        """Return a description for people."""
        return (
            f"{self.steps} steps of {self.batch_size} crops from {self.images} images, seed {self.seed}, "
            f"mean cosine {self.cosine_before:.4f} to {self.cosine_after:.4f}"
        )


class Variant(RawFile):
    """One model file, its tensors and how it was made."""

    name: Name
    format: Name
    scheme: Scheme
    input: InputSpec
    output: OutputSpec
    operators: tuple[Operator, ...] = ()
    check: Check | None = None
    producer: Annotated[str, Field(max_length=200)] = ""
    repair: Annotated[str, Field(max_length=100)] = "none"  # name of the method of --repair
    fine_tuning: FineTuning | None = None  # if the repair trained
    calibration_range: Annotated[str, Field(max_length=100)] = ""  # rule for the ranges of activations
    in_float: Annotated[
        tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=1000)
    ] = ()  # layers in float32
    recipe: Annotated[tuple[dict[str, Any], ...], Field(max_length=1000)] = ()  # ai-edge-quantizer's, in its own JSON


class GoldenVectors(RawFile):
    """Expected embeddings: float32 ``[count, embedding_size]``, unit rows.

    Another machine may round differently: its cosine to these is at least ``min_cosine``. Its input tensors may not
    differ: ``input_sha256`` has the SHA-256 of each golden image's, as the model gets it: the input's dtype and layout,
    little-endian, in C order. Empty for ``pytorch``, and in bundles of before this field.
    """

    min_cosine: Cosine
    input_sha256: Annotated[tuple[Sha256, ...], Field(max_length=MAX_GOLDEN)] = ()


class GoldenFile(RawFile):
    """A golden image as a PNG or JPEG file, and the expected result of each preprocessing step."""

    size_bytes: Annotated[int, Field(ge=1, le=MAX_GOLDEN_FILE_BYTES)]
    row: Annotated[int, Field(ge=0, lt=MAX_GOLDEN)]  # of the golden image it becomes
    width: Annotated[int, Field(ge=1, le=65535)]  # decoded and upright, pixels
    height: Annotated[int, Field(ge=1, le=65535)]
    decoded_sha256: Sha256  # of the upright RGB bytes, row by row
    pixels_sha256: Sha256  # after resize and crop, of its row in golden.pixels

    @property
    def lossless(self) -> bool:
        """Whether every correct decoder gives the same pixels."""
        return self.file.lower().endswith(".png")


class Golden(_Part):
    """A few images as pixels, some of them also as files, with their expected embeddings."""

    count: Annotated[int, Field(ge=1, le=MAX_GOLDEN)]
    keys: tuple[Annotated[str, Field(max_length=1000)], ...]
    pixels: RawFile  # uint8 [count, input_size, input_size, 3], after resize and crop
    expected: dict[Name, GoldenVectors]  # by variant, and "pytorch"
    files: Annotated[tuple[GoldenFile, ...], Field(max_length=MAX_GOLDEN)] = ()


class Calibration(_Part):
    """The calibration images. None of them is among the check or golden images."""

    data: Annotated[str, Field(max_length=2000)]
    split: str
    part: str
    fingerprint: str
    seed: int
    count: Annotated[int, Field(ge=1, le=10**6)]
    keys: tuple[Annotated[str, Field(max_length=1000)], ...]
    pixels_sha256: tuple[Sha256, ...]  # of each image's preprocessed pixels, in the order of keys


class Source(_Part):
    """The checkpoint that was exported."""

    id: str  # identifies weights, network and preprocessing together
    sha256: Sha256  # of model.safetensors
    kind: str
    arch: str
    space: str | None = None
    weights: dict[str, Any] = {}
    training: dict[str, Any] = {}
    data: dict[str, Any] = {}
    metrics: dict[str, Any] = {}


class Licence(_Part):
    """Terms, as stated at export; ``""``: not stated."""

    model: Annotated[str, Field(max_length=2000)] = ""
    data: Annotated[str, Field(max_length=2000)] = ""


class Provenance(_Part):
    """Origin of the bundle."""

    created: Annotated[str, Field(max_length=40)]  # UTC, ISO 8601
    tool: str
    source: Source
    calibration: Calibration | None = None
    versions: dict[str, str] = {}
    licence: Licence = Licence()


class Manifest(_Part):
    """The content of ``bundle.json``."""

    schema_version: Literal[1]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    preprocessing: Preprocessing
    embedding_size: Annotated[int, Field(ge=1, le=MAX_EMBEDDING)]
    normalisation: Literal["l2"]
    variants: Annotated[tuple[Variant, ...], Field(min_length=1, max_length=64)]
    golden: Golden
    provenance: Provenance
    model_card: RawFile | None = None  # Markdown for people

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        side = self.preprocessing.input_size
        if side > MAX_SIDE:
            raise ValueError(f"input size {side} is above {MAX_SIDE}")
        names = [variant.name for variant in self.variants]
        files = [file.file.lower() for file in self.files()]
        for what, values in (("variant name", names), ("file", [*files, BUNDLE_FILE])):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"{what} {twice[0]!r} occurs twice")
        for variant in self.variants:
            if variant.input.hwc != (side, side, 3):
                raise ValueError(f"{variant.name}: input {variant.input.shape} is not {side} x {side} x 3")
            if variant.output.shape[1] != self.embedding_size:
                raise ValueError(f"{variant.name}: output {variant.output.shape} is not {self.embedding_size} wide")
        self._golden_fits(side, names)
        return self

    def _golden_fits(self, side: int, names: list[str]) -> None:
        golden = self.golden
        if len(golden.keys) != golden.count:
            raise ValueError(f"golden: {len(golden.keys)} keys for {golden.count} images")
        missing = sorted({*names, "pytorch"} - set(golden.expected))
        if missing:
            raise ValueError(f"golden: no expected embeddings of {missing[0]}")
        for name, vectors in golden.expected.items():
            if len(vectors.input_sha256) not in (0, golden.count):
                raise ValueError(
                    f"golden: {len(vectors.input_sha256)} input hashes of {name} for {golden.count} images"
                )
        rows = [file.row for file in golden.files]
        if len(set(rows)) != len(rows) or max(rows, default=0) >= golden.count:
            raise ValueError(f"golden: files of rows {rows} for {golden.count} images")
        wanted = {golden.pixels.file: golden.count * side * side * 3}
        wanted |= {file.file: golden.count * self.embedding_size * 4 for file in golden.expected.values()}
        for file in (golden.pixels, *golden.expected.values()):
            if file.size_bytes != wanted[file.file]:
                raise ValueError(f"{file.file}: {file.size_bytes} bytes instead of {wanted[file.file]}")
            if file.size_bytes > MAX_GOLDEN_BYTES:
                raise ValueError(f"{file.file}: {file.size_bytes} bytes are above {MAX_GOLDEN_BYTES}")

    def files(self) -> tuple[RawFile, ...]:
        """Return every file that the bundle lists, models first."""
        card = () if self.model_card is None else (self.model_card,)
        return (*self.variants, self.golden.pixels, *self.golden.expected.values(), *self.golden.files, *card)
