"""How the file of each target is built: one function a kind, announced in the table of ``export/targets.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from distill.console import Failure
from export.int8.ranges import MINMAX
from export.job import Built, Job

__all__ = ["executorch", "onnx_float32", "onnx_int8", "tflite"]


def tflite(weights: str, border: str = "float32") -> Callable[[Job, Path], Built]:
    """A builder of TFLite files: folded networks by our own route, others by the extra ``generic``.

    Args:
        weights, border: as ``to_tflite`` takes them.
    """

    def build(job: Job, path: Path) -> Built:
        from importlib.metadata import version

        from export.bundle.tflite_file import describe_tflite
        from export.formats.tflite.convert import check_input_scale, to_tflite
        from export.formats.tflite.integers import write_integers
        from export.formats.tflite.metadata import add_metadata, build_metadata
        from export.graph.fold import can_fold

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
    from export.formats.tflite.convert import check_input_scale
    from export.formats.tflite.generic import add_norm, quantize_generic
    from export.formats.tflite.metadata import add_metadata, build_metadata

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


def onnx_float32(job: Job, path: Path) -> Built:
    """The float32 ONNX file."""
    import onnx

    from export.formats.onnx.convert import describe_onnx

    model, maker = job.onnx_float32
    onnx.save_model(model, path)
    return Built(*describe_onnx(path), producer=maker)


def onnx_int8(job: Job, path: Path) -> Built:
    """The int8 ONNX file."""
    import onnx

    from export.formats.onnx.convert import describe_onnx, graph_to_onnx, quantise_onnx
    from export.formats.onnx.integers import write_onnx_integers
    from export.graph.fold import can_fold

    if not job.calibration:
        raise Failure("int8 needs calibration images", "give --calibration-data")
    source = job.scratch / "float32.onnx"
    model = job.onnx_float32[0] if job.repair == "none" else graph_to_onnx(job.repaired().graph)
    onnx.save_model(model, source)
    in_float = job.in_float() if can_fold(job.model) else ()
    if job.exclusion and not in_float:
        raise Failure(f"{job.model.backbone.arch}: --exclude-layers knows folded networks only", "leave it out")
    nodes = [node for name in in_float for node in (f"{name}.conv", name)]
    quantise_onnx(source, path, job.calibration, job.debug, job.rule, nodes)
    if job.repair != "none" and job.repaired().numbers:
        write_onnx_integers(path, job.repaired().numbers)
        return Built(*describe_onnx(path), _onnx_quantiser(), "trained")
    return Built(*describe_onnx(path), _onnx_quantiser(), str(job.rule), in_float)


def _onnx_quantiser() -> str:
    from importlib.metadata import version

    return f"quantize_static, onnxruntime {version('onnxruntime')}"


def executorch(job: Job, path: Path) -> Built:
    """The float32 ExecuTorch program."""
    from importlib.metadata import version

    from export.formats.executorch import to_executorch

    content, facts = to_executorch(job.model, job.preprocessing.input_size, job.debug)
    path.write_bytes(content)
    return Built(*facts, producer=f"executorch {version('executorch')}, XNNPACK")
