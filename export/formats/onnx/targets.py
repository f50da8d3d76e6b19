"""Targets of the ONNX format, and their builders."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from distill.console import Failure
from export.job import BuiltFile, Job
from export.targets import EXACT, FLOAT32, INT8, ROUNDED, Target

if TYPE_CHECKING:
    from export.int8.repair.settings import Repaired

__all__ = ["ONNX_FLOAT32", "ONNX_INT8"]


def _build_float32(target: Target, job: Job, path: Path, repaired: Repaired | None) -> BuiltFile:
    import onnx

    from export.formats.onnx.convert import describe_onnx

    model, producer = job.onnx_float32
    onnx.save_model(model, path)
    return BuiltFile(*describe_onnx(path), producer)


def _build_int8(target: Target, job: Job, path: Path, repaired: Repaired | None) -> BuiltFile:
    import onnx

    from export.formats.onnx.convert import describe_onnx, graph_to_onnx, quantize_onnx
    from export.formats.onnx.integers import write_onnx_integers

    if job.exclusion and repaired is None:
        raise Failure(f"{job.model.backbone.arch}: --exclude-layers works on folded networks only", "leave it out")
    source = job.scratch / "float32.onnx"
    changed = repaired is not None and repaired.method != "none"
    onnx.save_model(graph_to_onnx(repaired.graph) if repaired and changed else job.onnx_float32[0], source)
    in_float = job.in_float(repaired) if repaired else ()
    nodes = [node for name in in_float for node in (f"{name}.conv", name)]
    quantize_onnx(source, path, job.images, job.debug, job.rule, nodes)
    calibration_range = str(job.rule)
    if repaired and repaired.numbers:
        write_onnx_integers(path, repaired.numbers)
        calibration_range = "trained"
    producer = f"quantize_static, onnxruntime {version('onnxruntime')}"
    return BuiltFile(*describe_onnx(path), producer, calibration_range, in_float)


ONNX_FLOAT32 = Target("onnx", "none", FLOAT32, _build_float32, EXACT, 0.99999)
ONNX_INT8 = Target("onnx", "int8", INT8, _build_int8, ROUNDED, 0.99, needs_calibration=True, trainable=True)
