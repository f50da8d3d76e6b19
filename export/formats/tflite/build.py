"""Builders of TFLite files: folded networks by our own route, others by the extra ``generic``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.console import Failure
from export.bundle.tflite_file import describe_tflite
from export.formats.tflite.metadata import add_metadata, build_metadata
from export.int8.ranges import MINMAX
from export.job import BuiltFile, Job

if TYPE_CHECKING:
    from export.int8.repair.settings import Repaired
    from export.targets import Target

__all__ = ["build_float", "build_int8", "build_int16x8"]


def build_float(target: Target, job: Job, path: Path, repaired: Repaired | None) -> BuiltFile:
    """Build a file with float32 arithmetic; the weights have the scheme's type."""
    from export.formats.tflite.convert import to_tflite
    from export.formats.tflite.generic import add_norm

    if not job.foldable:
        return _write(job, path, add_norm(job.unfolded_tflite), _litert_torch())
    content = to_tflite(job.graph, target.precision, debug=job.debug)
    return _write(job, path, content, _converter())


def build_int8(target: Target, job: Job, path: Path, repaired: Repaired | None) -> BuiltFile:
    """Build a full-integer file with the row's input type."""
    from export.formats.tflite.convert import check_input_scale, to_tflite
    from export.formats.tflite.integers import write_integers

    if repaired is None:
        return _build_generic_int8(target, job, path)
    images, rule, numbers, in_float = job.images, job.rule, repaired.numbers, job.in_float(repaired)
    if numbers:  # training has set the ranges; the converter only needs some image to run
        images, rule = replace(images, pixels=images.pixels[:1]), MINMAX
    content = to_tflite(repaired.graph, "int8", images, job.debug, _input_type(target), rule, in_float)
    if numbers:
        content = write_integers(content, numbers)
    built = _write(job, path, content, _converter(), "trained" if numbers else str(rule), in_float)
    if repaired.graph.layers[0].name not in in_float:  # otherwise a float32 input has no QUANTIZE to check
        check_input_scale(path, job.preprocessing)
    return built


def build_int16x8(target: Target, job: Job, path: Path, repaired: Repaired | None) -> BuiltFile:
    """Build a file with int8 weights and int16 activations; the L2 norm is computed in float32."""
    from export.formats.tflite.convert import check_input_scale, to_tflite

    graph = (repaired or job.repaired("none")).graph
    content = to_tflite(graph, "int16x8", job.images, job.debug, _input_type(target))
    built = _write(job, path, content, _converter(), str(MINMAX))
    check_input_scale(path, job.preprocessing)
    return built


def _build_generic_int8(target: Target, job: Job, path: Path) -> BuiltFile:
    from export.formats.tflite.convert import check_input_scale
    from export.formats.tflite.generic import add_norm, quantize_generic

    images = job.images
    if job.exclusion:
        raise Failure(f"{job.model.backbone.arch}: --exclude-layers works on folded networks only", "leave it out")
    content, recipe = quantize_generic(job.unfolded_tflite, images, job.rule, _input_type(target) == "int8", job.debug)
    producer = f"{_litert_torch()}, ai-edge-quantizer {version('ai-edge-quantizer')}"
    built = _write(job, path, add_norm(content), producer, str(job.rule), recipe=recipe)
    check_input_scale(path, job.preprocessing)
    return built


def _write(
    job: Job,
    path: Path,
    content: bytes,
    producer: str,
    calibration_range: str = "",
    in_float: tuple[str, ...] = (),
    recipe: Sequence[dict[str, Any]] = (),
) -> BuiltFile:
    description = f"{job.model.embedding_size} values of unit length"
    path.write_bytes(add_metadata(content, build_metadata(job.model.backbone.arch, description, job.preprocessing)))
    return BuiltFile(*describe_tflite(path), producer, calibration_range, in_float, tuple(recipe))


def _input_type(target: Target) -> str:
    return target.input_type or "float32"


def _converter() -> str:
    import tensorflow  # its package is tensorflow or tensorflow-cpu

    return f"TFLiteConverter, tensorflow {tensorflow.__version__}"


def _litert_torch() -> str:
    return f"litert-torch {version('litert-torch')}"
