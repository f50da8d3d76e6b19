"""Convert networks that cannot be folded to TFLite: litert-torch converts, ai-edge-quantizer quantizes.

The network goes through ``torch.export`` up to the linear layer, with channels last. The L2 norm is
added as one float32 operator: in int8, ai-edge-quantizer gives it a scale that rows of unit length overflow.
Both libraries come with the extra ``generic``.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.console import Failure, progress
from distill.console.errors import first_line
from export.bundle.quiet import quiet_stderr
from export.formats.tflite.metadata import pack_model
from export.formats.tflite.operators import inspecting_interpreter
from export.graph.raw_embedder import without_norm
from export.int8.ranges import MINMAX, Range, RangeRule, find_ranges
from export.samples.calibration import CalibrationImages

if TYPE_CHECKING:
    from distill.models.embedder import Embedder

__all__ = ["add_norm", "convert_module", "missing_for", "missing_generic", "quantize_generic"]

WHEELS = ("Linux x86_64", "Darwin arm64")  # platforms of the extra `generic`, as in pyproject.toml
RECIPE = "static_wi8_ai8"  # weights int8 per channel, activations int8 per tensor


def missing_generic() -> Failure | None:
    """Return the error to show if the extra ``generic`` is not installed."""
    import importlib.util
    import platform

    here = f"{platform.system()} {platform.machine()}"
    for module, package in (("litert_torch", "litert-torch"), ("ai_edge_quantizer", "ai-edge-quantizer")):
        if importlib.util.find_spec(module) is None:
            cure = "pip install 'distill-to-phone[generic]', or export with --target onnx"
            if here not in WHEELS:
                cure = f"it has wheels for {' and '.join(WHEELS)}, not for {here}: export there, or with --target onnx"
            return Failure(f"{package} is not installed, and TFLite files of this network need it", cure)
    return None


def missing_for(model: Embedder) -> Failure | None:
    """Return the error to show if this network needs the extra ``generic`` and it is not installed."""
    from export.graph.fold import can_fold

    return None if can_fold(model) else missing_generic()


def _require() -> None:
    if missing := missing_generic():
        raise missing


def convert_module(model: Embedder, side: int, debug: bool = False) -> bytes:
    """Convert a network without its norm to a float32 TFLite file: ``[1, side, side, 3]`` to ``[1, D]``.

    Raises:
        Failure: the extra is not installed, or the converter failed on this network.
    """
    _require()
    import torch

    try:
        with _quiet(debug):
            import litert_torch

            module = litert_torch.to_channel_last_io(without_norm(model), args=[0]).eval()
            content = litert_torch.convert(module, (torch.zeros(1, side, side, 3),)).model_content()
    except Exception as error:  # torch.export, MLIR and the bridge between them raise all kinds of types
        first = first_line(error)
        raise Failure(
            f"{model.backbone.arch}: litert-torch failed: {first}",
            "export with --target onnx, or run again with --debug and report it",
        ) from error
    return bytes(content)


def quantize_generic(
    content: bytes,
    calibration: CalibrationImages,
    rule: RangeRule = MINMAX,
    int8_input: bool = True,
    debug: bool = False,
) -> tuple[bytes, list[dict[str, Any]]]:
    """Quantize: weights int8 per-channel, activations int8; the output is float32.

    ai-edge-quantizer's own calibration is a moving average, which clips values. So it
    calibrates on one image; then the range of ``rule`` replaces that of every activation.

    Args:
        content: result of ``convert_module``.
        calibration: images that set the ranges.
        rule: how the ranges of activations are chosen.
        int8_input: take int8 input, without a QUANTIZE operator before the network.
        debug: show the libraries' messages.

    Returns:
        The file, and ai-edge-quantizer's recipe (JSON).

    Raises:
        Failure: the extra is not installed, or the quantizer failed.
    """
    _require()
    entry, ranges = _activation_ranges(content, calibration, rule)
    try:
        with _quiet(debug):
            from ai_edge_quantizer import qtyping, quantizer, recipe
            from ai_edge_quantizer.algorithm_manager import AlgorithmName

            worker = quantizer.Quantizer(bytearray(content), getattr(recipe, RECIPE)())
            ends = qtyping.TFLOperationName
            # PADV2 fills with minus infinity before a max pool, for which no int8 scale is wide enough.
            for end in (ends.PADV2, ends.OUTPUT) if int8_input else (ends.INPUT, ends.PADV2, ends.OUTPUT):
                worker.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
            signature = _signature(content)
            first = next(iter(calibration.scaled()))
            found = worker.calibrate({signature: [{entry: first}]}, num_threads=1)
            for name, (low, high) in ranges.items():
                if name in found and "min" in found[name]:
                    shape = np.shape(found[name]["min"])
                    found[name] |= {"min": np.full(shape, low, np.float32), "max": np.full(shape, high, np.float32)}
            result = worker.quantize(found, enable_progress_bar=False)
    except Exception as error:  # it raises all kinds of types
        raise Failure(
            f"ai-edge-quantizer failed: {first_line(error)}", "run again with --debug and report it"
        ) from error
    return bytes(result.quantized_model), json.loads(json.dumps(result.recipe))


def _signature(content: bytes) -> str:
    from ai_edge_litert.interpreter import Interpreter

    return next(iter(Interpreter(model_content=content).get_signature_list()))


def _activation_ranges(content: bytes, calibration: CalibrationImages, rule: RangeRule) -> tuple[str, dict[str, Range]]:
    """Return the input's name in the signature, and the range of every float tensor that depends on the image."""
    interpreter = inspecting_interpreter(content)
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    image = interpreter.get_input_details()[0]
    made = {int(index) for op in interpreter._get_ops_details() for index in op["outputs"]}
    wanted = {details[i]["name"]: i for i in sorted({image["index"], *made}) if details[i]["dtype"] == np.float32}

    def values() -> Iterator[dict[str, np.ndarray]]:
        with progress("calibrating TFLite", total=len(calibration)) as bar:
            for scaled in calibration.scaled():
                interpreter.set_tensor(image["index"], scaled)
                interpreter.invoke()
                yield {name: _finite(interpreter.get_tensor(index)) for name, index in wanted.items()}
                bar.advance()

    signature = next(iter(interpreter.get_signature_list().values()))
    return signature["inputs"][0], find_ranges(values, rule, whole=(image["name"],))


def _finite(values: np.ndarray) -> np.ndarray:
    """Drop the minus infinity (or float32's lowest value) of a max pool's padding: it becomes the lowest level."""
    kept = values[np.abs(values) < 1e30]
    return kept if len(kept) else np.zeros(1, np.float32)


def add_norm(content: bytes) -> bytes:
    """Append an L2_NORMALIZATION operator to the one output, and shorten the names of tensors.

    litert-torch names every tensor by its path of Python modules, which is a fifth of a small int8 file.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:  # ai-edge-quantizer may store weights after the flatbuffer
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    part = model.subgraphs[0]
    for place, tensor in enumerate(part.tensors):
        if place != part.inputs[0]:
            tensor.name = b"t%d" % place
    raw = part.tensors[part.outputs[0]]
    unit = schema.TensorT(
        shape=raw.shape, type=raw.type, buffer=_empty_buffer(model, schema), name=b"embedding", hasRank=True
    )
    part.tensors.append(unit)
    kind = schema.BuiltinOperator.L2_NORMALIZATION
    model.operatorCodes.append(schema.OperatorCodeT(deprecatedBuiltinCode=kind, builtinCode=kind, version=1))
    norm = schema.OperatorT(
        opcodeIndex=len(model.operatorCodes) - 1, inputs=[part.outputs[0]], outputs=[len(part.tensors) - 1],
        builtinOptionsType=schema.BuiltinOptions.L2NormOptions, builtinOptions=schema.L2NormOptionsT(),
    )  # fmt: skip
    part.operators.append(norm)
    part.outputs = [len(part.tensors) - 1]
    for signature in model.signatureDefs or []:
        signature.outputs[0].tensorIndex = len(part.tensors) - 1
    return pack_model(model, len(content))


def _empty_buffer(model: Any, schema: Any) -> int:
    model.buffers.append(schema.BufferT())
    return len(model.buffers) - 1


@contextlib.contextmanager
def _quiet(debug: bool) -> Iterator[None]:
    if debug:
        yield
        return
    before = logging.root.manager.disable
    sink = io.StringIO()  # both libraries always draw progress bars
    with quiet_stderr(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
