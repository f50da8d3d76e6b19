"""Convert to ONNX: layer by layer from the folded constants, or with ``torch.onnx`` for any other network.

Input ``image``: float32 ``[batch, 3, side, side]``, scaled; output ``embedding``: float32
``[batch, D]``, unit rows. The batch axis is free.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.console import Failure, progress
from distill.console.errors import first_line
from export.bundle.quiet import quiet_stderr
from export.bundle.schema import InputSpec, Operator, OutputSpec
from export.bundle.tflite_file import count_operators
from export.graph.folded import INPUT, Add, Convolution, FoldedGraph, L2Norm, Layer, Linear, MeanPool
from export.graph.raw_embedder import without_norm
from export.int8.ranges import MINMAX, Range, RangeRule, find_ranges
from export.samples.calibration import CalibrationImages

if TYPE_CHECKING:
    import onnx

    from distill.models.embedder import Embedder

__all__ = ["describe_onnx", "graph_to_onnx", "module_to_onnx", "quantize_onnx"]

OUTPUT = "embedding"
OPSET = 17  # onnxruntime on phones has read it since 1.12
IR_VERSION = 8


def graph_to_onnx(graph: FoldedGraph) -> onnx.ModelProto:
    """Build the folded network: a Conv (with its padding) and an optional Clip per layer, or an Add; then mean, Gemm, L2."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    limits = [constant("zero", np.zeros((), np.float32)), constant("six", np.full((), 6, np.float32))]

    def step(layer: Layer, inputs: tuple[tuple[str, int], ...]) -> tuple[str, int]:
        """Add a layer's nodes; values are names of tensors, with the side of their map."""
        names, side = [name for name, _ in inputs], inputs[0][1]
        last = layer is graph.layers[-1]
        return _node(layer, names, side, OUTPUT if last else layer.name, node, constant, limits)

    graph.flow((INPUT, graph.side), step)
    shape: list[str | int | None] = ["batch", 3, graph.side, graph.side]
    onnx_graph = helper.make_graph(
        nodes,
        "embedder",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", graph.embedding_size])],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(onnx_graph, producer_name="distill-export", ir_version=IR_VERSION, opset_imports=opsets)


def _node(
    layer: Layer, values: list[str], side: int, output: str, node: Any, constant: Any, limits: list[str]
) -> tuple[str, int]:
    name = layer.name
    match layer:
        case Convolution():
            kernel = layer.kernel.transpose(2, 3, 0, 1) if layer.depthwise else layer.kernel.transpose(3, 2, 0, 1)
            (top, bottom), (left, right) = layer.pads((side, side))
            inputs = [*values, constant(f"{name}.weight", kernel), constant(f"{name}.bias", layer.bias)]
            result = node(
                "Conv", inputs, f"{name}.conv" if layer.relu6 else output,
                kernel_shape=list(layer.kernel.shape[:2]), strides=[layer.stride] * 2, pads=[top, left, bottom, right],
                group=layer.channels if layer.depthwise else 1,
            )  # fmt: skip
            if layer.relu6:
                result = node("Clip", [result, *limits], output)
            return result, layer.cells(side)
        case Add():
            return node("Add", values, output), side
        case MeanPool():
            return node("ReduceMean", values, output, axes=[2, 3], keepdims=0), 1
        case Linear():
            inputs = [*values, constant(f"{name}.weight", layer.weight.T), constant(f"{name}.bias", layer.bias)]
            return node("Gemm", inputs, output, transB=1), 1
        case L2Norm():
            return node("LpNormalization", values, output, axis=1, p=2), 1
    raise TypeError(type(layer))


def module_to_onnx(model: Embedder, side: int, debug: bool = False) -> onnx.ModelProto:
    """Convert any embedder with ``torch.onnx``'s exporter and optimizer.

    The L2 norm is added afterwards as one node: the exporter would write six.

    Raises:
        Failure: the exporter failed on this network.
    """
    import onnx
    import torch

    try:
        with _quiet_exporter(debug):
            program = torch.onnx.export(
                without_norm(model),
                (torch.zeros(2, 3, side, side),),  # two images: a batch of one would become a constant
                input_names=[INPUT],
                output_names=[_RAW],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
                opset_version=18,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
            buffer = io.BytesIO()
            onnx.save_model(program.model_proto, buffer)  # type: ignore[union-attr]  # None only without dynamo
    except Exception as error:  # the exporter raises its own types and passes others through
        first = first_line(error)
        raise Failure(
            f"{model.backbone.arch}: torch.onnx failed: {first}", "run again with --debug and report it"
        ) from error
    exported = onnx.load_model_from_string(buffer.getvalue())
    norm = onnx.helper.make_node("LpNormalization", [_RAW], [OUTPUT], name="l2", axis=1, p=2)
    exported.graph.node.append(norm)
    exported.graph.output[0].name = OUTPUT
    return exported


_RAW = "raw_embedding"


@contextmanager
def _quiet_exporter(debug: bool) -> Iterator[None]:
    if debug:
        yield
        return
    before = logging.root.manager.disable
    with quiet_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)  # they recommend passes that the folded graph does not need
        try:
            yield
        finally:
            logging.disable(before)


def quantize_onnx(
    source: Path,
    target: Path,
    calibration: CalibrationImages,
    debug: bool = False,
    rule: RangeRule = MINMAX,
    in_float: Sequence[str] = (),
) -> None:
    """Quantize ``source`` to int8 with QuantizeLinear/DequantizeLinear pairs.

    Weights are symmetric and per-channel (QInt8). Everything up to the linear layer is
    quantized; the L2 norm stays float, and so do input and output.

    Args:
        source: float32 ONNX file.
        target: file to write.
        calibration: images that set the ranges of activations.
        debug: show the libraries' messages.
        rule: how the ranges of activations are chosen.
        in_float: names of nodes that stay float32.

    Raises:
        Failure: onnxruntime's quantizer failed.
    """
    options: dict[str, Any] = {"nodes_to_exclude": list(in_float)}
    if rule != MINMAX:
        ranges = _onnx_ranges(source, calibration, rule)
        spans = {name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in ranges.items()}
        options["extra_options"] = {"TensorQuantOverrides": spans}
        calibration = replace(calibration, pixels=calibration.pixels[:1])  # its ranges are not used any more
    quantizer = _quantizer()
    with progress("calibrating ONNX", total=len(calibration)) as bar, _quiet_exporter(debug):
        try:
            quantizer.quantize_static(
                str(source),
                str(target),
                _Reader(calibration, bar),
                quant_format=quantizer.QuantFormat.QDQ,
                per_channel=True,
                calibrate_method=quantizer.CalibrationMethod.MinMax,
                # Measured on photographs: as accurate as uint8 activations (mean cosine 0.976 both) and as fast, without
                # their saturation on processors that lack VNNI. reduce_range: 0.946. Symmetric activations: 0.966 and
                # 1.6 times slower, since ReLU6's range then wastes half of the levels.
                activation_type=quantizer.QuantType.QInt8,
                weight_type=quantizer.QuantType.QInt8,
                **options,
            )
        except (RuntimeError, ValueError) as error:
            first = first_line(error)
            raise Failure(f"onnxruntime's quantizer failed: {first}", "run again with --debug and report it") from error


def _quantizer() -> Any:
    """Import onnxruntime's quantizer without the folders that it appends to ``sys.path``.

    One of them has a ``benchmark.py``, which an ``import benchmark`` finds before our package if that is installed in
    editable mode.
    """
    before = list(sys.path)
    from onnxruntime import quantization

    sys.path[:] = before
    return quantization


def _onnx_ranges(source: Path, calibration: CalibrationImages, rule: RangeRule) -> dict[str, Range]:
    """Return the ranges of the image and of the output of every node but the last."""
    import onnx
    import onnxruntime

    model = onnx.load_model(source)
    names = [name for node in model.graph.node for name in node.output if name != OUTPUT]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def values() -> Iterator[dict[str, np.ndarray]]:
        with progress("finding ONNX ranges", total=len(calibration)) as bar:
            for image in calibration.scaled():
                feed = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
                found = zip(names, session.run(names, {INPUT: feed}), strict=True)
                yield {INPUT: feed} | {name: value for name, value in found if value.dtype == np.float32}
                bar.advance()

    return find_ranges(values, rule)


class _Reader:
    """onnxruntime's calibration protocol: one feed at a time, then ``None``."""

    def __init__(self, calibration: CalibrationImages, bar: Any) -> None:
        self._images = calibration.scaled()
        self._bar = bar

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        if image is None:
            return None
        self._bar.advance()
        return {INPUT: np.ascontiguousarray(image.transpose(0, 3, 1, 2))}


def describe_onnx(path: Path) -> tuple[InputSpec, OutputSpec, tuple[Operator, ...]]:
    """Return the input tensor, the output tensor and the operators of the file."""
    import onnx

    model = onnx.load_model(path)
    side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    size = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    return (
        InputSpec(name=INPUT, shape=(1, 3, side, side), layout="NCHW", dtype="float32", dynamic_batch=True),
        OutputSpec(name=OUTPUT, shape=(1, size), dtype="float32", unit_norm=True, renormalise=False),
        count_operators([node.op_type for node in model.graph.node]),
    )
