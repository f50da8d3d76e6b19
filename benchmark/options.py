"""Options of a benchmark: every field that is made with ``option`` is a flag of ``distill-bench`` and a key of a recipe.

``distill/options.py`` makes the flags from these fields. The limits are in ``benchmark/gates.py``, the options of devices
beside each device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass

from benchmark.devices import DEVICES
from benchmark.devices.spec import DEFAULT_DELEGATE, DELEGATES, EXPERIMENTAL
from benchmark.gates import Limits
from benchmark.plan import Plan
from distill.console import UsageFailure
from distill.options import option

__all__ = ["BenchmarkOptions", "PairOptions", "PlanOptions"]

DEVICE, DATA, COMPARE, LATENCY, GATES = "Device", "Images", "Comparison", "Latency", "Limits"


def _delegate_help() -> str:
    each = ", ".join(f"{name} ({remark})" if remark else name for name, remark in DELEGATES.items())
    return f"What computes TFLite variants: {each}. If the device or model lacks it, the result is an error."


# Options that several commands have.
_DEVICE = option("host", f"Where to run: {', '.join(DEVICES.names())}; see: distill-bench devices.", DEVICE)
_DELEGATE = option(DEFAULT_DELEGATE, _delegate_help(), DEVICE)
_CHECKPOINT = option(None, "PyTorch checkpoint that the bundle was made from, to measure the drop.", COMPARE)
_REFERENCES = option(
    (),
    "Another checkpoint to show for comparison, DIR or NAME=DIR (teacher, student trained alone). Repeatable.",
    COMPARE,
    flag="--reference",
    parse_as=list[str],
)
_VARIANTS = option((), "Only this variant. Repeatable. Default: all.", COMPARE, flag="--variant", parse_as=list[str])


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class BenchmarkOptions:
    """What to measure; see ``distill-bench run --help``.

    Attributes:
        bundle: The folder of the bundle.
        device_options: Options of the device, see :func:`benchmark.devices.open_device`.
        limits: What decides whether the result passes.
        plan: Duration and order of the latency measurement.
        command: The command line, for the record.
    """

    bundle: Path
    device: str = _DEVICE
    delegate: str = _DELEGATE

    data: str | None = option(
        None, "Images: glyphs, folder:PATH, csv:FILE, cub200:PATH and others. Default: the training data.", DATA
    )
    split: str | None = option(
        None,
        "Training classes: half, a number, a fraction, official. Default: as in training.",
        DATA,
        coerce_numbers_to_str=True,
    )
    part: str = option("test", "test, train or all.", DATA)
    source: Literal["pixels", "files"] = option(
        "pixels",
        "What the device gets: pixels (decoded, resized and cropped on this computer), or files, which it decodes "
        "and preprocesses itself: its deviations then count, and its time for them is reported separately.",
        DATA,
        flag="--from",
    )
    limit: int | None = option(None, "Approximate number of images, as whole classes.", DATA, ge=2)

    checkpoint: Path | None = _CHECKPOINT
    references: Sequence[str] = _REFERENCES
    gallery_embeddings: Path | None = option(
        None,
        "Stored vectors (.npz, .npy, .parquet) of the images, such as a server's index, which the candidate's queries "
        "search too.",
        COMPARE,
    )
    storage: bool = option(
        True,
        "Measure Recall of the candidate's stored galleries, and of its queries on other models' galleries.",
        COMPARE,
    )
    variants: Sequence[str] = _VARIANTS

    memory: bool = option(
        True, "Measure the peak memory of every variant in a process of its own (about a second each).", LATENCY
    )
    energy: bool = option(
        False,
        f"Energy per inference, from the battery's own counter ({EXPERIMENTAL}). The device must run on battery, "
        "unplugged (a phone: over Wi-Fi). A warning says what cannot be measured.",
        LATENCY,
    )
    energy_seconds: float = option(30.0, "Running time of each variant for --energy.", LATENCY, ge=5)

    candidate: str | None = option(
        None, "Variant that the limits apply to. Default: tflite-int8 if the bundle has it.", GATES
    )

    device_options: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    plan: Plan = field(default_factory=Plan)
    command: str = ""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class PairOptions:
    """What to measure on pairs of images; see ``distill-bench pairs --help``.

    Attributes:
        bundle: The folder of the bundle.
        pairs: Pairs to judge, see :func:`distill.pair_protocol.open_protocol`.
        device_options: Options of the device, see :func:`benchmark.devices.open_device`.
    """

    bundle: Path
    pairs: Path
    threshold_pairs: Path | None = option(
        None, "Pairs on which the threshold is chosen (pairsDevTrain.txt). Default: the other sets of --pairs.", DATA
    )
    data: str | None = option(None, "Images, such as lfw:lfw. Default: the training data.", DATA)
    checkpoint: Path | None = _CHECKPOINT
    references: Sequence[str] = _REFERENCES
    variants: Sequence[str] = _VARIANTS
    seed: int = option(0, "Seed of the bootstrap.", COMPARE, ge=0)
    device: str = _DEVICE
    delegate: str = _DELEGATE
    threads: int = option(1, "CPU threads of each variant.", DEVICE, ge=1, le=256)
    device_options: Mapping[str, Any] = field(default_factory=dict)


def _cpus(value: Any) -> Any:
    from benchmark.system import cpu_set

    if isinstance(value, int):  # --cpus 4; a recipe gives a number
        value = str(value)
    try:
        return cpu_set(value) if isinstance(value, str) else value
    except ValueError as error:
        raise UsageFailure(f"--cpus {value}: {error}", "for example 0,4-7") from None


class PlanOptions(BaseModel):
    """The part of a :class:`~benchmark.plan.Plan` that is set by flags."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    threads: int = option(Plan.threads, "CPU threads of each variant.", LATENCY, ge=1, le=256)
    cpus: Annotated[tuple[int, ...], BeforeValidator(_cpus)] = option(
        Plan.cpus, "Processors to run on, such as 4-7 (the big cores of a board). Default: any.", LATENCY, parse_as=str
    )
    rest_ms: float = option(
        Plan.rest_ms, "Pause after every round, milliseconds, so that a board without a fan stays cool.", LATENCY, ge=0
    )
    seconds: float = option(
        Plan.seconds, "Time for latency; every variant gets 100 samples even if it takes longer.", LATENCY, ge=0
    )
    seed: int = option(
        Plan.seed,
        "Seed of the order of variants, the sample of --limit, the bootstrap, the queries drawn and the images shown.",
        LATENCY,
        ge=0,
    )

    def plan(self) -> Plan:
        """Return the whole plan."""
        return Plan(**self.model_dump())
