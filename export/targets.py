"""The registry of export targets, and which of them the options choose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distill.console import Failure, UsageFailure, note, suggest
from distill.registry import Registry
from export.bundle.engines.base import load
from export.bundle.formats import FORMATS
from export.bundle.schema import Scheme, Tolerance
from export.job import BuiltFile, Job

if TYPE_CHECKING:
    import numpy as np

    from distill.models.embedder import Embedder
    from export.graph.folded import FoldedGraph
    from export.int8.layer_errors import LayerError
    from export.int8.repair.settings import Repaired

    Builder = Callable[["Target", Job, Path, Repaired | None], BuiltFile]
    LayerComparison = Callable[[bytes, FoldedGraph, Iterable[np.ndarray]], Sequence[LayerError]]

__all__ = [
    "AUTO_IO",
    "EXACT",
    "FLOAT16",
    "FLOAT32",
    "HALF",
    "INT8",
    "ROUNDED",
    "TARGETS",
    "Target",
    "all_targets",
    "leave_out_unfit",
    "select_targets",
]

ALL = "all"
AUTO_IO = "auto"

# Schemes and tolerances that several formats share.
FLOAT32 = Scheme(weights="float32", activations="float32")
FLOAT16 = Scheme(weights="float16", activations="float32")
INT8 = Scheme(weights="int8", activations="int8", granularity="channel", method="post_training")
EXACT = Tolerance(max_abs_diff=1e-4)
HALF = Tolerance(min_cosine=0.999)
# MobileNetV1-0.25 with ImageNet weights on photographs: smallest 0.943, mean 0.976; int16x8, whose weights are
# the same, 0.953 and 0.981. Wrong padding: 0.86.
ROUNDED = Tolerance(min_cosine=0.85, mean_cosine=0.95)


@dataclass(frozen=True)
class Target:
    """One format with one quantization scheme and one input type.

    Attributes:
        format: name of a format in :data:`~export.bundle.formats.FORMATS`.
        quantize: name of the scheme for ``--quantize``.
        scheme: number types behind that name, recorded in the bundle.
        build: writes the file: ``build(target, job, path, repaired)``. ``repaired`` is the folded network as
            ``--repair`` left it, or ``None`` if the target needs no calibration or the network cannot be folded.
        tolerance: largest deviation from PyTorch on the check images.
        golden_min_cosine: smallest cosine to the golden embeddings on another machine.
        summary: one sentence for ``--help``: what the scheme is good for.
        input_type: data type of the input, one of ``--io``; ``None`` if there is no choice.
        io_auto: whether ``--io auto`` takes this row. The names of other rows end in ``-io-TYPE``.
        needs_calibration: whether ``build`` reads calibration images; ``--repair`` then applies.
        needs_folding: whether ``build`` takes only networks that ``export.graph.fold`` can fold.
        trainable: whether quantization-aware training simulates this scheme. For other schemes that need
            calibration, ``--repair`` does everything but the training.
        compare_layers: compares the file with the float network layer by layer (``--debug-layers``), if the format
            can.
    """

    format: str
    quantize: str
    scheme: Scheme
    build: Builder
    tolerance: Tolerance
    golden_min_cosine: float
    summary: str = ""
    input_type: str | None = None
    io_auto: bool = True
    needs_calibration: bool = False
    needs_folding: bool = False
    trainable: bool = False
    compare_layers: LayerComparison | None = None

    @property
    def precision(self) -> str:
        """The scheme's part of the name: ``quantize``, or ``float32`` for ``none``."""
        return "float32" if self.quantize == "none" else self.quantize

    @property
    def name(self) -> str:
        """Name in the registry and of the variant in the bundle, e.g. ``tflite-int8-io-uint8``."""
        return f"{self.format}-{self.precision}" + ("" if self.io_auto else f"-io-{self.input_type}")

    @property
    def suffix(self) -> str:
        """Suffix of the file, without the dot."""
        return FORMATS[self.format].suffix

    @property
    def optional(self) -> bool:
        """Whether only the format's name selects it, not ``all``."""
        return FORMATS[self.format].optional

    def build_file(self, job: Job, path: Path, method: str = "none") -> BuiltFile:
        """Write the file.

        Args:
            job: inputs and shared results.
            path: file to write; its folder exists.
            method: how the network is repaired, one of ``--repair`` except ``auto``.

        Raises:
            Failure: calibration images or an extra are missing, or the converter failed.
        """
        repaired = job.repaired(method) if self.needs_calibration and job.foldable else None
        return self.build(self, job, path, repaired)


TARGETS: Registry[Target] = Registry(
    "target",
    Target,
    {
        "tflite-float32": "export.formats.tflite.targets:TFLITE_FLOAT32",
        "tflite-float16": "export.formats.tflite.targets:TFLITE_FLOAT16",
        "tflite-int8": "export.formats.tflite.targets:TFLITE_INT8",
        "tflite-int8-io-uint8": "export.formats.tflite.targets:TFLITE_INT8_IO_UINT8",
        "tflite-int8-io-float32": "export.formats.tflite.targets:TFLITE_INT8_IO_FLOAT32",
        "tflite-int16x8": "export.formats.tflite.targets:TFLITE_INT16X8",
        "tflite-int16x8-io-int16": "export.formats.tflite.targets:TFLITE_INT16X8_IO_INT16",
        "onnx-float32": "export.formats.onnx.targets:ONNX_FLOAT32",
        "onnx-int8": "export.formats.onnx.targets:ONNX_INT8",
        "executorch-float32": "export.formats.executorch:EXECUTORCH_FLOAT32",
    },
    group="distill_to_phone.targets",
)


def all_targets() -> list[Target]:
    """Return all rows, in the order of help texts.

    Raises:
        Failure: a target cannot be imported, or is registered under another name than its own.
    """
    rows = []
    for name, target in TARGETS.items():
        if name != target.name:
            raise Failure(f"target '{target.name}' is registered as '{name}'", f"register it as '{target.name}'")
        rows.append(target)
    return rows


def select_targets(formats: str, schemes: str, input_types: str = AUTO_IO) -> list[Target]:
    """Return the rows that ``--target``, ``--quantize`` and ``--io`` ask for, in the order of the registry.

    Args:
        formats: names of formats, separated by commas; ``"all"``: all that are not optional.
        schemes: names for ``--quantize``, separated by commas, or ``"all"``.
        input_types: ``"auto"``, ``"all"`` or data types, separated by commas: the input type of targets that have a
            choice. Where no target has one of these, the one for ``auto`` is taken.

    Raises:
        UsageFailure: an unknown word; a pair that was named and does not exist (a pair that only ``all`` covers is
            left out with a notice); or an input type where no target has a choice.
    """
    rows = all_targets()
    usual = [row.format for row in rows if not row.optional]
    wanted_formats = _words("--target", formats, [row.format for row in rows], usual)
    wanted_schemes = _words("--quantize", schemes, [row.quantize for row in rows])
    wanted_types = _words("--io", input_types, [AUTO_IO, *(row.input_type for row in rows if row.input_type)])
    found = {(row.format, row.quantize) for row in rows}
    pairs = [(form, scheme) for form in wanted_formats for scheme in wanted_schemes]
    missing = [f"{form} {scheme}" for form, scheme in pairs if (form, scheme) not in found]
    chosen = [row for row in rows if (row.format, row.quantize) in pairs]
    if input_types not in (AUTO_IO, ALL) and not any(row.input_type for row in chosen):
        choice = next((row for row in rows if row.input_type), None)
        cure = f"it is for --target {choice.format} --quantize {choice.quantize}" if choice else "leave it out"
        raise UsageFailure(f"--io {input_types}: no choice for {formats} {schemes}", cure)
    named = [row for row in chosen if row.input_type in wanted_types]
    served = {(row.format, row.quantize) for row in named}
    chosen = [
        row
        for row in chosen
        if row in named or (row.io_auto and (AUTO_IO in wanted_types or (row.format, row.quantize) not in served))
    ]
    explicit = ALL not in formats.split(",") and ALL not in schemes.split(",")
    if missing and (explicit or not chosen):
        raise UsageFailure(f"no target is {missing[0]}", f"known: {', '.join(TARGETS.names())}")
    if missing:
        note(f"left out, there is no such target: {', '.join(missing)}")
    return chosen


def leave_out_unfit(targets: list[Target], model: Embedder, formats: str) -> list[Target]:
    """Drop targets that cannot be built of this network, if only ``all`` covers them.

    Args:
        targets: the chosen rows.
        model: the network.
        formats: the value of ``--target``.

    Raises:
        Failure: such a target was named, or none is left.
    """
    unfit = {target.name: problem for target in targets if (problem := _problem(target, model))}
    fit = [target for target in targets if target.name not in unfit]
    asked = [target for target in targets if target.optional or ALL not in formats.split(",")]
    for target in asked if fit else targets:
        if target.name in unfit:
            raise unfit[target.name]
    if unfit:
        note(f"left out: {', '.join(unfit)}: {next(iter(unfit.values()))}")
    return fit


def _problem(target: Target, model: Embedder) -> Failure | None:
    """Return why this target cannot be built of this network here; ``None`` if it can."""
    from export.graph.fold import FOLDED, can_fold

    available = FORMATS[target.format].available
    if available and (problem := load(available)(model)):
        return problem
    if target.needs_folding and not can_fold(model):
        cure = "choose another target, or distil one of these networks, e.g. mobilenet_v1_025"
        return Failure(f"{model.backbone.arch}: {target.name} is for {FOLDED} only", cure)
    return None


def _words(option: str, text: str, known: list[str], usual: list[str] | None = None) -> list[str]:
    """Return the words of ``text``, each of ``known``; ``all`` stands for ``usual``."""
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
