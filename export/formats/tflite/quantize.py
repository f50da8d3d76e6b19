"""Quantizes a float32 TFLite file to int8 with given ranges, by TensorFlow's quantizer without its calibration.

TFLiteConverter calibrates by running the file image by image and supports min/max ranges only. It passes its quantizer
the float file with ``min`` and ``max`` at every activation; here the caller supplies these numbers. With min/max
ranges the result equals the converter's own file (a test compares them).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from export.formats.tflite.metadata import pack_model
from export.formats.tflite.operators import builtin_name, layer_operators
from export.graph.folded import INPUT, FoldedGraph
from export.int8.ranges import Range

__all__ = ["quantize_tflite"]


def quantize_tflite(
    content: bytes, graph: FoldedGraph, ranges: Mapping[str, Range], io_type: str = "int8", in_float: Sequence[str] = ()
) -> bytes:
    """Quantize weights per channel, symmetric, and activations over ``ranges``.

    Args:
        content: a float32 TFLite file of ``graph``.
        graph: the folded network.
        ranges: ``(low, high)`` of the image (``image``) and of each layer's output.
        io_type: type of input and output: ``"int8"``, ``"uint8"`` or ``"float32"``.
        in_float: names of layers that stay float32, between a DEQUANTIZE and a QUANTIZE.

    Raises:
        Failure: the operators do not match the layers of the graph one by one.
        RuntimeError: the quantizer failed.
    """
    import tensorflow as tf
    from ai_edge_litert import schema_py_generated as schema
    from tensorflow.lite.python.convert import mlir_quantize

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    part = model.subgraphs[0]
    operators = layer_operators(graph, part.operators, lambda operator: builtin_name(model, operator))
    outputs = {layer.name: last.outputs[0] for layer, (*_, last) in zip(graph.layers, operators, strict=True)}
    for name, place in {INPUT: part.inputs[0], **outputs}.items():
        low, high = ranges[name]
        part.tensors[place].quantization = _span(schema, low, high)
    for before in (before for *before, _ in operators if before):  # a PAD or RESHAPE keeps the range of its input
        part.tensors[before[0].outputs[0]].quantization = part.tensors[before[0].inputs[0]].quantization
    held = {part.tensors[outputs[name]].name.decode() for name in in_float}
    kind = tf.dtypes.as_dtype(io_type)
    with contextlib.redirect_stdout(io.StringIO()):
        return bytes(
            mlir_quantize(
                pack_model(model, len(content)),
                input_data_type=kind,
                output_data_type=kind,
                denylisted_nodes=held or None,
            )
        )


def _span(schema: Any, low: float, high: float) -> Any:
    span = schema.QuantizationParametersT()
    span.min, span.max = [low], [high]
    return span
