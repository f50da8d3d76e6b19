"""What a benchmark found, as one JSON file: the schema, reading and writing.

Recall, MAP@R, cosines and drops are fractions (0..1, drops -1..1); only printed text uses
percent. Times are milliseconds, sizes bytes. Unknown fields are refused, so a mistyped
field cannot pass for a missing one; a change of meaning raises ``SCHEMA_VERSION``.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from distill.console import Failure
from distill.files import read_json, write_json

__all__ = [
    "SCHEMA_VERSION",
    "Asymmetric",
    "BundleFacts",
    "Cosine",
    "Data",
    "Decoding",
    "EnergyUse",
    "Flips",
    "Gate",
    "Latency",
    "LatencyRun",
    "Machine",
    "Phone",
    "Recall",
    "RecallDrop",
    "Reference",
    "Result",
    "Storage",
    "Variant",
    "Verdict",
    "Vitals",
    "read_result",
    "write_result",
]

SCHEMA_VERSION = 2

Fraction = Annotated[float, Field(ge=0, le=1)]
Recall = dict[int, Fraction]  # K -> share of the queries with a hit among the K nearest


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Latency(_Part):
    """Wall-clock times of single inferences, milliseconds. Percentiles interpolate linearly."""

    p50: float
    p90: float
    p99: float
    mean: float
    min: float
    samples: int = Field(ge=1)
    raw: list[float]  # every sample in the order it was taken, rounded to 0.1 microseconds

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
    """Queries whose first neighbour is right in PyTorch only (lost) or in the variant only (gained)."""

    lost: int = Field(ge=0)
    gained: int = Field(ge=0)
    lost_keys: list[str] = []  # the first few, as the data set names them
    gained_keys: list[str] = []


class Storage(_Part):
    """A gallery kept in one way and searched as such a gallery is. The drop is against the same embeddings as float32."""

    name: Literal["float32", "int8", "int8+bits"]
    bytes_per_image: int
    recall: Recall
    map_at_r: Fraction | None  # null where only the first 20 answers were sought
    recall_drop: RecallDrop  # of Recall@1


class Asymmetric(_Part):
    """This variant's queries against a gallery that another model indexed.

    The drop is against that model's own queries on its own gallery.
    """

    gallery: str
    recall: Recall
    map_at_r: Fraction
    recall_drop: RecallDrop  # of Recall@1


class EnergyUse(_Part):
    """What the whole device took from its battery while the variant ran without a pause, with ``--energy``."""

    method: Literal["power", "current", "charge"]  # the counter: watts, current times voltage, charge times voltage
    seconds: float
    inferences: int = Field(ge=1)
    watts: float  # mean while it ran
    idle_watts: float | None  # mean just before; null: the counter is too coarse
    mj_per_inference: float  # millijoules, screen and radios included
    net_mj_per_inference: float | None  # above idling
    readings: int  # of the battery while it ran


class Variant(_Part):
    """One model file of the bundle. Fields that were not measured are null."""

    name: str
    status: Literal["ok", "failed"] = "ok"
    error: str | None = None
    size_bytes: int = Field(ge=0)
    latency_ms: Latency | None = None  # invoke alone, the input already in place
    end_to_end_ms: Latency | None = None  # setting the input from uint8 pixels, then invoke
    init_ms: float | None = None  # opening the file, runtime library already loaded
    first_run_ms: float | None = None
    warmup_runs: int | None = None
    warmup_stable: bool | None = None
    memory_bytes: int | None = None  # highest resident memory above that of the loaded engine, in a process of its own
    process_memory_bytes: int | None = None  # highest resident memory of that whole process, Python included
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
    """A PyTorch checkpoint measured on the same images with its own preprocessing."""

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
    """Where throttling shows; empty or null where the system does not tell."""

    governors: list[str] = []
    mhz: list[float] = []  # of each processor
    celsius: dict[str, float] = {}  # by thermal zone
    throttled: int | None = None  # how often it slowed down for heat since it was switched on
    thermal_status: int | None = (
        None  # Android's: 0 none, 1 light, 2 moderate, 3 severe, 4 critical, 5 emergency, 6 shutdown
    )


class LatencyRun(_Part):
    """How the latencies were taken, and whether the machine stayed the same meanwhile."""

    threads: int
    seed: int
    rounds: int
    seconds: float
    timer_overhead_ns: float  # one empty measurement; not subtracted from any latency
    drift_variant: str
    drift: float  # last / first median of the same variant, minus 1
    drift_flagged: bool  # more than DRIFT_LIMIT either way
    load_before: float | None = None  # 1-minute load average
    load_after: float | None = None
    cpus: list[int] | None = None  # null: any
    rest_ms: float = 0.0  # after every round
    vitals_before: Vitals | None = None
    vitals_after: Vitals | None = None


class Phone(_Part):
    """What an Android phone tells of itself before it is measured; null where it does not."""

    model: str | None = None
    soc: str | None = None
    abi: str | None = None
    sdk: int | None = None
    fingerprint: str | None = None  # of its build
    battery_percent: int | None = None
    battery_celsius: float | None = None
    plugged_in: bool | None = None
    max_mhz: list[float] = []  # of each processor: the big ones and the little ones


class Machine(_Part):
    """Where the numbers come from."""

    device: str
    emulated: bool = False  # numerics count, latency does not
    cpu: str
    cores: int
    virtual: bool | None = None
    governor: str | None = None
    max_mhz: float | None = None
    ram_bytes: int | None = None
    os: str
    delegate: str = "xnnpack"  # asked for with TFLite variants
    python: str | None  # null: measured by another language
    packages: dict[str, str]
    phone: Phone | None = None
    latency: LatencyRun | None = None


class Data(_Part):
    """The images every figure was computed on."""

    spec: str
    split: str
    part: str
    images: int  # used, after skipping
    classes: int
    fingerprint: str  # of the images selected, before skipping
    skipped: int  # unreadable
    available: int  # images of this part before --limit
    decoded_by: Literal["computer", "device"] = "computer"  # who decoded, resized and cropped for the variants


class Decoding(_Part):
    """What every picture cost the device before it was the network's input (with ``--from files``); no variant's figure."""

    decode_ms: Latency  # from the encoded file in memory to pixels
    resize_ms: Latency  # from there to the network's pixels: resize and crop; on phones turning it upright too


class BundleFacts(_Part):
    """Which bundle was measured. ``provenance`` is copied from its ``bundle.json``."""

    path: str
    name: str
    embedding_size: int
    input_size: int
    sha256: dict[str, str]  # of each variant's file
    provenance: dict[str, Any]


class Gate(_Part):
    """One limit. ``value`` is null where the thing could not be measured (then it fails)."""

    name: str
    limit: float
    value: float | None
    unit: str
    kind: Literal["max", "min"] = "max"  # the value may be at most, at least the limit
    passed: bool = Field(alias="pass")


class Verdict(_Part):
    """The answer in one sentence, and the gates behind it."""

    passed: bool = Field(alias="pass")
    candidate: str  # the variant the gates judge
    gates: list[Gate]
    text: str
    warnings: list[str] = []


class Result(_Part):
    """Everything one ``distill-bench`` run found."""

    schema_version: Literal[2] = SCHEMA_VERSION
    bundle: BundleFacts
    variants: list[Variant]
    pytorch: Reference | None = None
    references: list[Reference] = []
    machine: Machine
    data: Data
    decoding: Decoding | None = None  # null: decoded on the computer, or the device is emulated
    verdict: Verdict
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
            raise ValueError(f"no variant {self.verdict.candidate!r}, which the verdict is about")
        return self

    def variant(self, name: str) -> Variant:
        """The variant of that name (KeyError if there is none)."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise KeyError(name)


def write_result(path: str | Path, result: Result) -> None:
    """Write ``result`` as JSON, atomically."""
    write_json(path, result.model_dump(mode="json", by_alias=True))


def read_result(path: str | Path) -> Result:
    """Read and validate a result file.

    Raises:
        Failure: missing, not JSON, another schema version, or a field that does not fit.
    """
    value = read_json(path)
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version == 1:
        value, version = _from_version_1(value), SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        raise Failure(
            f"{path}: not a benchmark result of schema version {SCHEMA_VERSION} (found {version!r})",
            "measure again with distill-bench BUNDLE --json FILE",
        )
    try:
        return Result.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Failure(
            f"{path}: {where}: {first['msg']}", "measure again with distill-bench BUNDLE --json FILE"
        ) from None


def _from_version_1(value: dict[str, Any]) -> dict[str, Any]:
    """All but ``storage``: it measured int8 with a scale a row and bare signs, which no gallery keeps."""
    variants = value.get("variants")
    for variant in variants if isinstance(variants, list) else ():
        if isinstance(variant, dict):
            variant.pop("storage", None)
    return value | {"schema_version": SCHEMA_VERSION}
