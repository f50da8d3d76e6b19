"""What can be exported: a table. A new target is one more row and its builder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from distill.console import Failure, UsageFailure, note, suggest
from export.builders import executorch, onnx_float32, onnx_int8, tflite
from export.bundle.engines.base import load
from export.bundle.formats import FORMATS
from export.bundle.schema import Scheme, Tolerance
from export.job import Built, Job

if TYPE_CHECKING:
    from distill.models.embedder import Embedder

__all__ = ["TARGETS", "Built", "Job", "Target", "leave_out_unfit", "select_targets"]

ALL = "all"
AUTO_IO = "auto"
# What `auto` stands for. int16 input spares one operator of 31, and nothing but our own reader feeds it.
_USUAL_BORDER = {"int8": "int8", "int16x8": "float32"}


@dataclass(frozen=True)
class Target:
    """One kind of model file.

    Attributes:
        format: one of ``--target``; mostly the suffix too.
        quantize: one of ``--quantize``.
        scheme: what ``quantize`` stands for, spelled out.
        build: writes the file and describes it.
        tolerance: how far it may be from PyTorch.
        golden_min_cosine: how near another machine must come to the golden embeddings.
        needs_calibration: whether ``build`` reads calibration images.
        needs_folding: whether ``build`` takes only networks that ``export.graph.fold`` knows. Other TFLite rows
            take any, by the extra ``generic``.
        border: type of the input, one of ``--io``, and where the last operator has it of the output too;
            ``None`` where there is no choice.
    """

    format: str
    quantize: str
    scheme: Scheme
    build: Callable[[Job, Path], Built]
    tolerance: Tolerance
    golden_min_cosine: float
    needs_calibration: bool = False
    needs_folding: bool = False
    border: str | None = None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        border = "" if self.usual else f"-io-{self.border}"
        object.__setattr__(self, "name", f"{self.format}-{self.precision}{border}")

    @property
    def usual(self) -> bool:
        """Whether it is the row that ``--io auto`` takes."""
        return self.border == _USUAL_BORDER.get(self.quantize) or self.border is None

    @property
    def suffix(self) -> str:
        """Suffix of the file."""
        return FORMATS[self.format].suffix

    @property
    def precision(self) -> str:
        """The middle part of the name."""
        return "float32" if self.quantize == "none" else self.quantize


_FLOAT32 = Scheme(weights="float32", activations="float32")
_FLOAT16 = Scheme(weights="float16", activations="float32")
_INT8 = Scheme(weights="int8", activations="int8", granularity="channel", method="post_training")
_INT16X8 = Scheme(weights="int8", activations="int16", granularity="channel", method="post_training")
_EXACT = Tolerance(max_abs_diff=1e-4)
_HALF = Tolerance(min_cosine=0.999)
# MobileNetV1-0.25 with ImageNet weights on photographs: smallest 0.943, mean 0.976; int16x8, whose weights are
# the same, 0.953 and 0.981. Wrong padding: 0.86.
_QUANTISED = Tolerance(min_cosine=0.85, mean_cosine=0.95)

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("tflite", "none", _FLOAT32, tflite("float32"), _EXACT, 0.99999),
        Target("tflite", "float16", _FLOAT16, tflite("float16"), _HALF, 0.9999, needs_folding=True),
        *(
            Target(
                "tflite", "int8", _INT8, tflite("int8", border), _QUANTISED, 0.99,
                needs_calibration=True, needs_folding=border == "uint8", border=border,
            )
            for border in ("int8", "uint8", "float32")
        ),
        *(
            Target(
                "tflite", "int16x8", _INT16X8, tflite("int16x8", border), _QUANTISED, 0.999,
                needs_calibration=True, needs_folding=True, border=border,
            )
            for border in ("float32", "int16")
        ),
        Target("onnx", "none", _FLOAT32, onnx_float32, _EXACT, 0.99999),
        Target("onnx", "int8", _INT8, onnx_int8, _QUANTISED, 0.99, needs_calibration=True),
        Target("executorch", "none", _FLOAT32, executorch, _EXACT, 0.99999),
    )
}  # fmt: skip


def select_targets(formats: str, precisions: str, borders: str = AUTO_IO) -> list[Target]:
    """The rows that ``--target``, ``--quantize`` and ``--io`` ask for, in the table's order.

    Args:
        formats: ``"tflite"``, ``"onnx"``, ``"executorch"``, ``"all"`` (the first two), or several with commas.
        precisions: ``"none"``, ``"float16"``, ``"int8"``, ``"int16x8"``, ``"all"``, or several with commas.
        borders: ``"auto"``, ``"int8"``, ``"uint8"``, ``"int16"``, ``"float32"``, ``"all"``, or several with
            commas: input and output of the rows that leave a choice. Where a row has none of those
            asked for, ``auto``'s is taken.

    Raises:
        UsageFailure: an unknown word, or a pair that was named and does not exist. A pair that
            only ``all`` covers is left out with a notice. Or a border other than the default
            where no row leaves a choice.
    """
    usual = [target.format for target in TARGETS.values() if not FORMATS[target.format].optional]
    wanted_formats = _words("--target", formats, [target.format for target in TARGETS.values()], usual)
    wanted_precisions = _words("--quantize", precisions, [target.quantize for target in TARGETS.values()])
    wanted_borders = _words(
        "--io", borders, [AUTO_IO, *(target.border for target in TARGETS.values() if target.border)]
    )
    found = {(target.format, target.quantize) for target in TARGETS.values()}
    pairs = [(form, precision) for form in wanted_formats for precision in wanted_precisions]
    missing = [f"{form} {precision}" for form, precision in pairs if (form, precision) not in found]
    chosen = [target for target in TARGETS.values() if (target.format, target.quantize) in pairs]
    if borders not in (AUTO_IO, ALL) and not any(target.border for target in chosen):
        raise UsageFailure(f"--io {borders}: no choice for {formats} {precisions}", "it is for --target tflite int8")
    named = [target for target in chosen if target.border in wanted_borders]
    served = {(target.format, target.quantize) for target in named}
    chosen = [
        target
        for target in chosen
        if target in named
        or (target.usual and (AUTO_IO in wanted_borders or (target.format, target.quantize) not in served))
    ]
    explicit = ALL not in formats.split(",") and ALL not in precisions.split(",")
    if missing and (explicit or not chosen):
        raise UsageFailure(f"no target is {missing[0]}", f"known: {', '.join(TARGETS)}")
    if missing:
        note(f"left out, there is no such target: {', '.join(missing)}")
    return chosen


def leave_out_unfit(targets: list[Target], model: Embedder, formats: str) -> list[Target]:
    """Drop targets that cannot take this network where only ``all`` covers them.

    Raises:
        Failure: one was asked for by name, or none is left.
    """
    unfit = {target.name: problem for target in targets if (problem := _problem(target, model))}
    fit = [target for target in targets if target.name not in unfit]
    asked = [target for target in targets if FORMATS[target.format].optional or ALL not in formats.split(",")]
    for target in asked if fit else targets:
        if target.name in unfit:
            raise unfit[target.name]
    if unfit:
        note(f"left out: {', '.join(unfit)}: {next(iter(unfit.values()))}")
    return fit


def _problem(target: Target, model: Embedder) -> Failure | None:
    """Why this network cannot become this target here; ``None`` if it can."""
    from export.graph.fold import can_fold, cannot_fold

    available = FORMATS[target.format].available
    if available and (problem := load(available)(model)):
        return problem
    return cannot_fold(model) if target.needs_folding and not can_fold(model) else None


def _words(option: str, text: str, known: list[str], usual: list[str] | None = None) -> list[str]:
    """The words of ``text``, each of ``known``; ``all`` stands for ``usual``."""
    known = list(dict.fromkeys(known))
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageFailure(f"{option} is empty", f"known: {', '.join([*known, ALL])}")
    for word in words:
        if word not in [*known, ALL]:
            raise UsageFailure(f"{option}: unknown '{word}'", suggest(word, [*known, ALL]))
    if ALL in words:
        words = [*(usual or known), *(word for word in words if word != ALL)]
    return list(dict.fromkeys(words))
