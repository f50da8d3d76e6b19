"""The result of a benchmark as one JSON file: schema, reading and writing.

Recall, MAP@R, cosines and drops are fractions (0..1, drops -1..1); only printed text uses
percent. Times are milliseconds, sizes bytes. Unknown fields are refused, so that a mistyped
field is not mistaken for a missing one. ``SCHEMA_VERSION`` rises when a meaning changes.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from benchmark.figures import (
    AGREEMENT_K,
    Agreement,
    Asymmetric,
    Cosine,
    EnergyUse,
    Flips,
    Fraction,
    Latency,
    Part,
    Recall,
    RecallDrop,
    Storage,
)
from distill.console import Failure
from distill.files import read_json, write_json

__all__ = [
    "AGREEMENT_K",
    "FEW_CLASSES",
    "SCHEMA_VERSION",
    "Agreement",
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
    "agreement_with",
    "read_result",
    "write_result",
]

SCHEMA_VERSION: Literal[2] = 2
FEW_CLASSES = 30  # below, an interval that resamples classes is too narrow (docs/benchmark.md)


class VariantResult(Part):
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
    agreement: list[Agreement] | None = None  # with PyTorch and each reference; absent in older files
    storage: list[Storage] | None = None  # of the candidate only
    asymmetric: list[Asymmetric] | None = None  # of the candidate only


class Reference(Part):
    """A PyTorch checkpoint, measured on the same images with its own preprocessing."""

    name: str
    path: str
    arch: str
    kind: str
    embedding_size: int
    parameters: int
    recall: Recall | None = None  # null: the images have no labels
    recall_ci95: dict[int, tuple[float, float]] | None = None
    map_at_r: Fraction | None = None
    latency_ms: Latency | None = None
    agreement: list[Agreement] | None = None  # of PyTorch's network with each reference


class Vitals(Part):
    """Signs of throttling; empty or null where the system does not report them."""

    governors: list[str] = Field(default_factory=list)
    mhz: list[float] = Field(default_factory=list)  # of each processor
    celsius: dict[str, float] = Field(default_factory=dict)  # by thermal zone
    throttled: int | None = None  # number of thermal throttling events since boot
    # Android's: 0 none, 1 light, 2 moderate, 3 severe, 4 critical, 5 emergency, 6 shutdown
    thermal_status: int | None = None


class LatencyRun(Part):
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


class Phone(Part):
    """Facts that an Android phone reports before the measurement; null where it does not."""

    model: str | None = None
    soc: str | None = None
    abi: str | None = None
    sdk: int | None = None
    fingerprint: str | None = None  # of the Android build
    battery_percent: int | None = None
    battery_celsius: float | None = None
    plugged_in: bool | None = None
    max_mhz: list[float] = Field(default_factory=list)  # of each processor; tells big cores from little ones


class Machine(Part):
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


class Data(Part):
    """The images that all figures were computed on."""

    spec: str
    split: str
    part: str
    images: int  # used, without skipped ones
    classes: int | None  # null: the images have no labels
    fingerprint: str  # of the selected images, skipped ones included
    skipped: int  # unreadable
    available: int  # images of this part without --limit
    decoded_by: Literal["computer", "device"] = "computer"  # decoded, resized and cropped the images for the variants
    interval_classes: int | None = None  # resampled for every ci95: those of two images or more; null: not recorded

    @property
    def few_classes(self) -> int | None:
        """The number of classes that intervals resample if it is so small that they are too narrow."""
        count = self.classes if self.interval_classes is None else self.interval_classes
        return count if count is not None and count < FEW_CLASSES else None


class Decoding(Part):
    """Time the device takes to decode and preprocess an image (``--from files``); part of no variant's latency."""

    decode_ms: Latency  # encoded file in memory to pixels
    resize_ms: Latency  # resize and crop to the input size; on phones also rotation to upright


class BundleFacts(Part):
    """The bundle that was measured. ``provenance`` is copied from its ``bundle.json``."""

    path: str
    name: str
    embedding_size: int
    input_size: int
    sha256: dict[str, str]  # of each variant's file
    provenance: dict[str, Any]


class Gate(Part):
    """One limit. ``value`` is null where it could not be measured; the gate then fails."""

    name: str
    limit: float
    value: float | None
    unit: str
    kind: Literal["max", "min"] = "max"  # the limit is an upper or a lower one
    passed: bool = Field(alias="pass")


class GateReport(Part):
    """Whether the candidate keeps all limits, in one sentence and gate by gate."""

    passed: bool = Field(alias="pass")
    candidate: str  # the variant that the gates check
    gates: list[Gate]
    text: str
    warnings: list[str] = Field(default_factory=list)


class Result(Part):
    """Everything that one ``distill-bench`` run found."""

    schema_version: Literal[2] = SCHEMA_VERSION
    bundle: BundleFacts
    variants: list[VariantResult]
    pytorch: Reference | None = None
    references: list[Reference] = Field(default_factory=list)
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

    @property
    def agreement_reference(self) -> str | None:
        """The reference of the agreement that stands in for Recall in charts: the first besides PyTorch, if any."""
        names = [one.reference for variant in self.variants for one in variant.agreement or ()]
        return next((name for name in names if name != "PyTorch"), names[0] if names else None)

    def variant(self, name: str) -> VariantResult:
        """Return the variant of this name (KeyError if there is none)."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise KeyError(name)


def result_json(result: Result) -> dict[str, Any]:
    """Return a result as plain values: what ``distill-bench --json`` prints and ``--json-out`` writes."""
    return result.model_dump(mode="json", by_alias=True)


def agreement_with(model: VariantResult | Reference, reference: str) -> Agreement | None:
    """Return the agreement of a model with one reference; None if it was not measured."""
    return next((one for one in model.agreement or () if one.reference == reference), None)


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
