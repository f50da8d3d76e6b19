"""The result of a benchmark as one JSON file: schema, reading and writing.

Recall, MAP@R, cosines and drops are fractions (0..1, drops -1..1); only printed text uses
percent. Times are milliseconds, sizes bytes. Unknown fields are refused, so that a mistyped
field is not mistaken for a missing one. ``SCHEMA_VERSION`` rises when a meaning changes.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from distill.console import Failure
from distill.files import read_json, write_json

__all__ = [
    "FEW_CLASSES",
    "SCHEMA_VERSION",
    "Asymmetric",
    "BundleFacts",
    "Cosine",
    "Data",
    "Decoding",
    "EnergyUse",
    "Flips",
    "Gate",
    "GateReport",
    "Latency",
    "LatencyRun",
    "Machine",
    "Phone",
    "Recall",
    "RecallDrop",
    "Reference",
    "Result",
    "Storage",
    "VariantResult",
    "Vitals",
    "read_result",
    "write_result",
]

SCHEMA_VERSION: Literal[2] = 2
FEW_CLASSES = 30  # below, an interval that resamples classes is too narrow (docs/benchmark.md)

Fraction = Annotated[float, Field(ge=0, le=1)]
Recall = dict[int, Fraction]  # K -> Recall@K


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Latency(_Part):
    """Wall-clock times of single inferences, milliseconds. Percentiles interpolate linearly (NumPy's default)."""

    p50: float
    p90: float
    p99: float
    mean: float
    min: float
    samples: int = Field(ge=1)
    raw: list[float]  # all samples in the order taken, rounded to 0.1 microseconds

    @classmethod
    def of(cls, nanoseconds: list[int]) -> Latency:
        """Summarize samples.

        Raises:
            ValueError: no samples.
        """
        import numpy as np  # here, so that reading a result does not need it

        if not nanoseconds:
            raise ValueError("no latency samples")
        raw = np.round(np.asarray(nanoseconds, dtype=np.float64) / 1e6, 4)
        p50, p90, p99 = np.percentile(raw, [50, 90, 99])
        return cls(p50=p50, p90=p90, p99=p99, mean=raw.mean(), min=raw.min(), samples=len(raw), raw=raw.tolist())

    @model_validator(mode="after")
    def _counts_agree(self) -> Latency:
        if len(self.raw) != self.samples:
            raise ValueError(f"samples is {self.samples} but raw holds {len(self.raw)} values")
        return self


class RecallDrop(_Part):
    """PyTorch's Recall@K minus the variant's on the same queries (positive: the variant is worse)."""

    value: float = Field(ge=-1, le=1)
    ci95: tuple[float, float]  # paired bootstrap over classes


class Cosine(_Part):
    """Cosine between the variant's and PyTorch's embedding of the same image, over all images."""

    mean: float
    min: float


class Flips(_Part):
    """Queries whose nearest image is right in PyTorch only (lost) or in the variant only (gained)."""

    lost: int = Field(ge=0)
    gained: int = Field(ge=0)
    lost_keys: list[str] = []  # the first few keys of the data set
    gained_keys: list[str] = []


class Storage(_Part):
    """A gallery stored in one way and searched accordingly. The drop is against the same embeddings as float32."""

    name: Literal["float32", "int8", "int8+bits"]
    bytes_per_image: int
    recall: Recall
    map_at_r: Fraction | None  # null where the search is for 20 images only
    recall_drop: RecallDrop  # of Recall@1
    queries: int | None = None  # drawn at random from more; null: every image queried all others


class Asymmetric(_Part):
    """This variant's queries on a gallery indexed by another model.

    The drop is against that model's own queries on the same gallery.
    """

    gallery: str
    recall: Recall
    map_at_r: Fraction
    recall_drop: RecallDrop  # of Recall@1
    queries: int | None = None  # as in Storage


class EnergyUse(_Part):
    """Energy that the whole device took from its battery while the variant ran continuously (``--energy``, experimental)."""

    method: Literal["power", "current", "charge"]  # counter: power, current times voltage, charge times voltage
    seconds: float
    inferences: int = Field(ge=1)
    watts: float  # mean during the run
    idle_watts: float | None  # mean at rest, before the program starts; null: the counter is too coarse
    mj_per_inference: float  # millijoules, screen and radios included
    net_mj_per_inference: float | None  # above idle
    readings: int  # of the battery during the run


class VariantResult(_Part):
    """One model file of the bundle. Fields that were not measured are null."""

    name: str
    status: Literal["ok", "failed"] = "ok"
    error: str | None = None
    size_bytes: int = Field(ge=0)
    latency_ms: Latency | None = None  # inference alone, with the input set
    end_to_end_ms: Latency | None = None  # set the input from uint8 pixels, then infer
    init_ms: float | None = None  # open the file, with the engine loaded
    first_run_ms: float | None = None
    warmup_runs: int | None = None
    warmup_stable: bool | None = None
    memory_bytes: int | None = None  # peak resident memory above that of the loaded engine
    process_memory_bytes: int | None = None  # peak resident memory of the whole process
    energy: EnergyUse | None = None
    recall: Recall | None = None
    recall_ci95: dict[int, tuple[float, float]] | None = None
    map_at_r: Fraction | None = None
    cosine: Cosine | None = None
    recall_drop: dict[int, RecallDrop] | None = None
    mcnemar_p: Fraction | None = None
    flips: Flips | None = None
    storage: list[Storage] | None = None  # of the candidate only
    asymmetric: list[Asymmetric] | None = None  # of the candidate only


class Reference(_Part):
    """A PyTorch checkpoint, measured on the same images with its own preprocessing."""

    name: str
    path: str
    arch: str
    kind: str
    embedding_size: int
    parameters: int
    recall: Recall
    recall_ci95: dict[int, tuple[float, float]] | None = None
    map_at_r: Fraction
    latency_ms: Latency | None = None


class Vitals(_Part):
    """Signs of throttling; empty or null where the system does not report them."""

    governors: list[str] = []
    mhz: list[float] = []  # of each processor
    celsius: dict[str, float] = {}  # by thermal zone
    throttled: int | None = None  # number of thermal throttling events since boot
    # Android's: 0 none, 1 light, 2 moderate, 3 severe, 4 critical, 5 emergency, 6 shutdown
    thermal_status: int | None = None


class LatencyRun(_Part):
    """Conditions of the latency measurement, and whether the machine's speed stayed the same."""

    threads: int
    seed: int
    rounds: int
    seconds: float
    timer_overhead_ns: float  # one empty measurement; not subtracted
    drift_variant: str
    drift: float  # last / first median of drift_variant, minus 1
    drift_flagged: bool  # beyond DRIFT_LIMIT in either direction
    load_before: float | None = None  # 1-minute load average
    load_after: float | None = None
    cpus: list[int] | None = None  # null: any
    rest_ms: float = 0.0  # pause after every round
    vitals_before: Vitals | None = None
    vitals_after: Vitals | None = None


class Phone(_Part):
    """Facts that an Android phone reports before the measurement; null where it does not."""

    model: str | None = None
    soc: str | None = None
    abi: str | None = None
    sdk: int | None = None
    fingerprint: str | None = None  # of the Android build
    battery_percent: int | None = None
    battery_celsius: float | None = None
    plugged_in: bool | None = None
    max_mhz: list[float] = []  # of each processor; tells big cores from little ones


class Machine(_Part):
    """The machine that the figures come from."""

    device: str
    emulated: bool = False  # numerics are valid, latency is not
    cpu: str
    cores: int
    virtual: bool | None = None
    governor: str | None = None
    max_mhz: float | None = None
    ram_bytes: int | None = None
    os: str
    delegate: str = "xnnpack"  # requested for TFLite variants
    python: str | None  # null: the runner is not in Python
    packages: dict[str, str]
    phone: Phone | None = None
    latency: LatencyRun | None = None


class Data(_Part):
    """The images that all figures were computed on."""

    spec: str
    split: str
    part: str
    images: int  # used, without skipped ones
    classes: int
    fingerprint: str  # of the selected images, skipped ones included
    skipped: int  # unreadable
    available: int  # images of this part without --limit
    decoded_by: Literal["computer", "device"] = "computer"  # decoded, resized and cropped the images for the variants
    interval_classes: int | None = None  # resampled for every ci95: those of two images or more; null: not recorded

    @property
    def few_classes(self) -> int | None:
        """The number of classes that intervals resample if it is so small that they are too narrow."""
        count = self.classes if self.interval_classes is None else self.interval_classes
        return count if count < FEW_CLASSES else None


class Decoding(_Part):
    """Time the device takes to decode and preprocess an image (``--from files``); part of no variant's latency."""

    decode_ms: Latency  # encoded file in memory to pixels
    resize_ms: Latency  # resize and crop to the input size; on phones also rotation to upright


class BundleFacts(_Part):
    """The bundle that was measured. ``provenance`` is copied from its ``bundle.json``."""

    path: str
    name: str
    embedding_size: int
    input_size: int
    sha256: dict[str, str]  # of each variant's file
    provenance: dict[str, Any]


class Gate(_Part):
    """One limit. ``value`` is null where it could not be measured; the gate then fails."""

    name: str
    limit: float
    value: float | None
    unit: str
    kind: Literal["max", "min"] = "max"  # the limit is an upper or a lower one
    passed: bool = Field(alias="pass")


class GateReport(_Part):
    """Whether the candidate keeps all limits, in one sentence and gate by gate."""

    passed: bool = Field(alias="pass")
    candidate: str  # the variant that the gates check
    gates: list[Gate]
    text: str
    warnings: list[str] = []


class Result(_Part):
    """Everything that one ``distill-bench`` run found."""

    schema_version: Literal[2] = SCHEMA_VERSION
    bundle: BundleFacts
    variants: list[VariantResult]
    pytorch: Reference | None = None
    references: list[Reference] = []
    machine: Machine
    data: Data
    decoding: Decoding | None = None  # null: decoded on this computer, or the device is emulated
    verdict: GateReport
    created: str  # ISO 8601, UTC
    command: str

    @field_validator("created")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        if datetime.fromisoformat(value).tzinfo is None:
            raise ValueError("no time zone")
        return value

    @model_validator(mode="after")
    def _candidate_is_there(self) -> Result:
        if self.verdict.candidate not in [variant.name for variant in self.variants]:
            raise ValueError(f"no variant {self.verdict.candidate!r}, which the verdict names")
        return self

    def variant(self, name: str) -> VariantResult:
        """Return the variant of this name (KeyError if there is none)."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise KeyError(name)


def result_json(result: Result) -> dict[str, Any]:
    """Return a result as plain values: what ``distill-bench --json`` prints and ``--json-out`` writes."""
    return result.model_dump(mode="json", by_alias=True)


def write_result(path: str | Path, result: Result) -> None:
    """Write ``result`` as JSON, atomically."""
    write_json(path, result_json(result))


def read_result(path: str | Path) -> Result:
    """Read and validate a result file.

    Raises:
        Failure: the file is missing, is not JSON, has another schema version, or an invalid field.
    """
    value = read_json(path)
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version == 1:
        value, version = _from_version_1(value), SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        raise Failure(
            f"{path}: not a benchmark result of schema version {SCHEMA_VERSION} (found {version!r})",
            "measure again with distill-bench BUNDLE --json-out FILE",
        )
    try:
        return Result.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Failure(
            f"{path}: {where}: {first['msg']}", "measure again with distill-bench BUNDLE --json-out FILE"
        ) from None


def _from_version_1(value: dict[str, Any]) -> dict[str, Any]:
    """Drop ``storage``, which measured int8 with one scale per row and signs alone, as no gallery stores them."""
    variants = value.get("variants")
    for variant in variants if isinstance(variants, list) else ():
        if isinstance(variant, dict):
            variant.pop("storage", None)
    return value | {"schema_version": SCHEMA_VERSION}
