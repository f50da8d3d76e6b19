"""What can be exported: a table. A new target is one more row and its builder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.console import Failure, UsageFailure, note, suggest
from export.bundle.schema import InputSpec, Operator, OutputSpec, Scheme, Tolerance
from export.ranges import MINMAX, RangeRule
from export.sensitivity import Exclusion, chosen_layers

if TYPE_CHECKING:
    import onnx

    from distill.data.preprocess import Preprocessing
    from distill.models.embedder import Embedder
    from export.cache import BuildCache
    from export.calibration import CalibrationImages
    from export.graph import FoldedGraph
    from export.repair.methods import QatSettings, Repaired
    from export.training_images import TrainingImages

__all__ = ["TARGETS", "Built", "Job", "Target", "leave_out_unfit", "select_targets"]

ALL = "all"
AUTO_IO = "auto"
# What `auto` stands for. int16 input spares one operator of 31, and nothing but our own reader feeds it.
_USUAL_BORDER = {"int8": "int8", "int16x8": "float32"}


@dataclass
class Job:
    """What builders draw on. What several share is made once, when the first of them asks."""

    model: Embedder
    preprocessing: Preprocessing
    calibration: CalibrationImages | None
    scratch: Path
    debug: bool = False
    repair: str = "none"
    cache: BuildCache | None = None
    training: TrainingImages | None = None  # for the repairs that train
    qat: QatSettings | None = None
    rule: RangeRule = MINMAX
    exclusion: Exclusion = Exclusion()

    @cached_property
    def graph(self) -> FoldedGraph:
        """The folded network.

        Raises:
            Failure: an architecture that has no folded route.
        """
        from export.fold import fold

        return fold(self.model, self.preprocessing.input_size)

    @cached_property
    def _repaired(self) -> dict[str, Repaired]:
        return {}

    def repaired(self) -> Repaired:
        """The folded network, made ready for int8 by the method ``self.repair``.

        Raises:
            Failure: no calibration images, or an architecture that has no folded route.
        """
        from export.repair.methods import repair

        if not self.calibration:
            raise Failure("int8 needs calibration images", "give --calibration-data")
        if self.repair not in self._repaired:
            self._repaired[self.repair] = repair(self.graph, self.repair, self.calibration, self.training, self.qat)
        return self._repaired[self.repair]

    @cached_property
    def unfolded_tflite(self) -> bytes:
        """The float32 TFLite file of any network, without its norm, by litert-torch.

        Raises:
            Failure: the extra ``generic`` is not installed, or the converter gave up.
        """
        from export.generic_route import convert_module

        return convert_module(self.model, self.preprocessing.input_size, self.debug)

    @cached_property
    def _in_float(self) -> dict[str, tuple[str, ...]]:
        return {}

    def in_float(self) -> tuple[str, ...]:
        """Layers of the repaired network that stay float32, by name.

        Raises:
            UsageFailure: ``exclusion`` names a layer that does not exist.
            Failure: layers were to be left out of a network that was trained as a whole.
        """
        if not self.exclusion:
            return ()
        if self.repaired().numbers:
            raise Failure("--exclude-layers: qat trains all layers for int8", "take another --repair, or no exclusion")
        if self.repair not in self._in_float:
            names = chosen_layers(self.exclusion, self.repaired().exact, self.calibration.scaled())
            note(f"in float: {', '.join(names)}")
            self._in_float[self.repair] = names
        return self._in_float[self.repair]

    @cached_property
    def onnx_float32(self) -> tuple[onnx.ModelProto, str]:
        """The float32 ONNX model, checked, and who made it."""
        from importlib.metadata import version

        import onnx

        from export.fold import can_fold
        from export.onnx_route import graph_to_onnx, module_to_onnx

        if can_fold(self.model):
            model, maker = graph_to_onnx(self.graph), f"folded graph, onnx {onnx.__version__}"
        else:
            side = self.preprocessing.input_size
            model, maker = module_to_onnx(self.model, side, self.debug), f"torch.onnx, torch {version('torch')}"
        onnx.checker.check_model(model, full_check=True)
        return model, maker


@dataclass(frozen=True)
class Built:
    """What a builder says of the file it wrote."""

    input: InputSpec
    output: OutputSpec
    operators: tuple[Operator, ...]
    producer: str
    calibration_range: str = ""
    in_float: tuple[str, ...] = ()
    recipe: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Target:
    """One kind of model file.

    Attributes:
        format: file format, also the suffix; one of ``--target``.
        quantize: one of ``--quantize``.
        scheme: what ``quantize`` stands for, spelled out.
        build: writes the file and describes it.
        tolerance: how far it may be from PyTorch.
        golden_min_cosine: how near another machine must come to the golden embeddings.
        needs_calibration: whether ``build`` reads calibration images.
        needs_folding: whether ``build`` takes only networks that ``export.fold`` knows. Other TFLite rows
            take any, by the extra ``generic``.
        border: type of the input, one of ``--io``, and where the last operator has it of the output too;
            ``None`` where there is no choice.
        optional: taken by its name only, not by ``all``: needs an extra that few install.
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
    optional: bool = False
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
        """Of the file."""
        return {"executorch": "pte"}.get(self.format, self.format)

    @property
    def precision(self) -> str:
        """The middle part of the name."""
        return "float32" if self.quantize == "none" else self.quantize


def _tflite(weights: str, border: str = "float32") -> Callable[[Job, Path], Built]:
    def build(job: Job, path: Path) -> Built:
        from importlib.metadata import version

        from export.bundle.tflite_file import describe_tflite
        from export.fold import can_fold
        from export.metadata import add_metadata, build_metadata
        from export.tflite import check_input_scale, to_tflite
        from export.tflite_integers import write_integers

        if not can_fold(job.model):
            return _generic_tflite(job, path, weights, border)
        graph, calibration, numbers, rule, in_float = job.graph, job.calibration, None, MINMAX, ()
        if weights in ("int8", "int16x8"):
            graph, numbers = job.repaired().graph, job.repaired().numbers
        if weights == "int8":
            rule, in_float = MINMAX if numbers else job.rule, job.in_float()
        if numbers:  # training has settled the ranges: those of one image keep their place
            calibration = replace(calibration, pixels=calibration.pixels[:1])
        content = to_tflite(graph, weights, calibration, job.debug, border, rule, in_float)
        if numbers:
            content = write_integers(content, numbers)
        says = f"{job.graph.embedding_size} values of unit length"
        path.write_bytes(add_metadata(content, build_metadata(job.model.backbone.arch, says, job.preprocessing)))
        facts = describe_tflite(path)
        first_in_float = graph.layers[0].name in in_float  # then a float32 border has no QUANTIZE to look at
        if weights in ("int8", "int16x8") and not first_in_float:
            check_input_scale(path, job.preprocessing)
        producer = f"TFLiteConverter, tensorflow {version('tensorflow')}"
        if weights not in ("int8", "int16x8"):
            return Built(*facts, producer)
        return Built(*facts, producer, "trained" if numbers else str(rule), in_float)

    return build


def _generic_tflite(job: Job, path: Path, weights: str, border: str) -> Built:
    from importlib.metadata import version

    from export.bundle.tflite_file import describe_tflite
    from export.generic_route import add_norm, quantize_generic
    from export.metadata import add_metadata, build_metadata
    from export.tflite import check_input_scale

    content, rule, recipe = job.unfolded_tflite, "", []
    producer = f"litert-torch {version('litert-torch')}"
    if weights == "int8":
        if not job.calibration:
            raise Failure("int8 needs calibration images", "give --calibration-data")
        if job.exclusion:
            raise Failure(f"{job.model.backbone.arch}: --exclude-layers knows folded networks only", "leave it out")
        content, recipe = quantize_generic(content, job.calibration, job.rule, border == "int8", job.debug)
        rule, producer = str(job.rule), f"{producer}, ai-edge-quantizer {version('ai-edge-quantizer')}"
    says = f"{job.model.embedding_size} values of unit length"
    metadata = build_metadata(job.model.backbone.arch, says, job.preprocessing)
    path.write_bytes(add_metadata(add_norm(content), metadata))
    if weights == "int8":
        check_input_scale(path, job.preprocessing)
    return Built(*describe_tflite(path), producer, rule, recipe=tuple(recipe))


def _onnx_float32(job: Job, path: Path) -> Built:
    import onnx

    from export.onnx_route import describe_onnx

    model, maker = job.onnx_float32
    onnx.save_model(model, path)
    return Built(*describe_onnx(path), producer=maker)


def _onnx_int8(job: Job, path: Path) -> Built:
    import onnx

    from export.fold import can_fold
    from export.onnx_integers import write_onnx_integers
    from export.onnx_route import describe_onnx, graph_to_onnx, quantise_onnx

    if not job.calibration:
        raise Failure("int8 needs calibration images", "give --calibration-data")
    source = job.scratch / "float32.onnx"
    model = job.onnx_float32[0] if job.repair == "none" else graph_to_onnx(job.repaired().graph)
    onnx.save_model(model, source)
    in_float = job.in_float() if can_fold(job.model) else ()
    if job.exclusion and not in_float:
        raise Failure(f"{job.model.backbone.arch}: --exclude-layers knows the layers of folded networks only", "leave it out")
    nodes = [node for name in in_float for node in (f"{name}.conv", name)]
    quantise_onnx(source, path, job.calibration, job.debug, job.rule, nodes)
    if job.repair != "none" and job.repaired().numbers:
        write_onnx_integers(path, job.repaired().numbers)
        return Built(*describe_onnx(path), _onnx_quantiser(), "trained")
    return Built(*describe_onnx(path), _onnx_quantiser(), str(job.rule), in_float)


def _onnx_quantiser() -> str:
    from importlib.metadata import version

    return f"quantize_static, onnxruntime {version('onnxruntime')}"


def _executorch(job: Job, path: Path) -> Built:
    from importlib.metadata import version

    from export.executorch_route import to_executorch

    content, facts = to_executorch(job.model, job.preprocessing.input_size, job.debug)
    path.write_bytes(content)
    return Built(*facts, producer=f"executorch {version('executorch')}, XNNPACK")


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
        Target("tflite", "none", _FLOAT32, _tflite("float32"), _EXACT, 0.99999),
        Target("tflite", "float16", _FLOAT16, _tflite("float16"), _HALF, 0.9999, needs_folding=True),
        *(
            Target(
                "tflite", "int8", _INT8, _tflite("int8", border), _QUANTISED, 0.99,
                needs_calibration=True, needs_folding=border == "uint8", border=border,
            )
            for border in ("int8", "uint8", "float32")
        ),
        *(
            Target(
                "tflite", "int16x8", _INT16X8, _tflite("int16x8", border), _QUANTISED, 0.999,
                needs_calibration=True, needs_folding=True, border=border,
            )
            for border in ("float32", "int16")
        ),
        Target("onnx", "none", _FLOAT32, _onnx_float32, _EXACT, 0.99999),
        Target("onnx", "int8", _INT8, _onnx_int8, _QUANTISED, 0.99, needs_calibration=True),
        Target("executorch", "none", _FLOAT32, _executorch, _EXACT, 0.99999, optional=True),
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
    usual = [target.format for target in TARGETS.values() if not target.optional]
    wanted_formats = _words("--target", formats, [target.format for target in TARGETS.values()], usual)
    wanted_precisions = _words("--quantize", precisions, [target.quantize for target in TARGETS.values()])
    wanted_borders = _words("--io", borders, [AUTO_IO, *(target.border for target in TARGETS.values() if target.border)])
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
        if target in named or (target.usual and (AUTO_IO in wanted_borders or (target.format, target.quantize) not in served))
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
    from export.executorch_route import missing_executorch
    from export.fold import can_fold, cannot_fold
    from export.generic_route import missing_generic

    asked = [target for target in targets if target.format == "executorch"]
    if asked and (absent := missing_executorch()):
        raise absent  # it is never asked for by `all`
    if can_fold(model):
        return targets
    missing = missing_generic()
    unfit = {
        target.name: missing or cannot_fold(model)
        for target in targets
        if target.needs_folding or (missing and target.format == "tflite")
    }
    fit = [target for target in targets if target.name not in unfit]
    if unfit and (ALL not in formats.split(",") or not fit):
        raise next(iter(unfit.values()))
    if unfit:
        note(f"left out: {', '.join(unfit)}: {next(iter(unfit.values()))}")
    return fit


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
