"""Write integers, scales and zero points into a TFLite file of the same network, and read them from one.

TFLiteConverter chooses its own ranges. The numbers from quantization-aware training replace them one by one in the
tensors of each operator. Operators, their order and shapes stay as the converter wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.console import Failure
from export.formats.tflite.metadata import pack_model
from export.formats.tflite.operators import builtin_name, layer_operators
from export.graph.folded import Convolution, FoldedGraph, Linear
from export.int8.arithmetic import QuantParams
from export.int8.quantized_graph import IntegerLayer, IntegerWeights, QuantizedGraph

__all__ = ["read_integers", "write_integers"]


def write_integers(content: bytes, numbers: QuantizedGraph) -> bytes:
    """Return the file with its numbers replaced by ``numbers``.

    Args:
        content: a TFLite int8 file that ``export.formats.tflite.convert`` made from ``numbers.graph``, of any
            input and output type.
        numbers: integers of input, outputs, weights and biases.

    Raises:
        Failure: the operators in the file do not match the layers one by one, or shapes differ.
    """
    file = _File.read(content)
    operators = file.operators(numbers.graph)
    _set_params(file.tensor(operators[0][0].inputs[0]), numbers.input)
    before = numbers.input
    for (*pads, operator), layer, integers in zip(operators, numbers.graph.layers, numbers.layers, strict=True):
        for pad in pads:
            _set_params(file.tensor(pad.outputs[0]), before)
        before = integers.output
        output = file.tensor(operator.outputs[0])
        if output.type != _int8():
            raise Failure(
                f"{layer.name}: not int8 in the file",
                "training needs every layer in int8: leave none out, or do not train",
            )
        _set_params(output, integers.output)
        if integers.weights is not None and isinstance(layer, (Convolution, Linear)):
            _set_weights(file, operator, layer, integers.weights)
    return pack_model(file.model, len(content))


def read_integers(content: bytes, graph: FoldedGraph) -> QuantizedGraph:
    """Return the integers that a TFLite int8 file holds.

    Args:
        content: the file, of any input and output type.
        graph: the folded network that it was made from, in float.

    Raises:
        Failure: the operators in the file do not match the layers one by one.
    """
    file, layers = _File.read(content), []
    operators = file.operators(graph)
    for (*_, operator), layer in zip(operators, graph.layers, strict=True):
        weights = _weights(file, operator, layer) if isinstance(layer, (Convolution, Linear)) else None
        layers.append(IntegerLayer(layer.name, _params(file.tensor(operator.outputs[0])), weights))
    return QuantizedGraph(graph, _params(file.tensor(operators[0][0].inputs[0])), tuple(layers))


@dataclass(frozen=True)
class _File:
    model: Any

    @classmethod
    def read(cls, content: bytes) -> _File:
        from ai_edge_litert import schema_py_generated as schema

        return cls(schema.ModelT.InitFromPackedBuf(content, 0))

    def tensor(self, index: int) -> Any:
        return self.model.subgraphs[0].tensors[index]

    def operators(self, graph: FoldedGraph) -> list[tuple[Any, ...]]:
        """Return the operators of each layer, without QUANTIZE and DEQUANTIZE; a PAD or RESHAPE comes first."""
        return layer_operators(graph, self.model.subgraphs[0].operators, lambda one: builtin_name(self.model, one))


def _int8() -> int:
    from ai_edge_litert import schema_py_generated as schema

    return schema.TensorType.INT8


def _set_params(tensor: Any, params: QuantParams) -> None:
    _set_scales(tensor, np.array([params.scale], np.float32), np.array([params.zero_point], np.int64), 0)


def _set_scales(tensor: Any, scales: np.ndarray, zero_points: np.ndarray, axis: int) -> None:
    quantization = tensor.quantization
    quantization.scale, quantization.zeroPoint, quantization.quantizedDimension = scales, zero_points, axis
    quantization.min = quantization.max = None


def _set_weights(file: _File, operator: Any, layer: Convolution | Linear, weights: IntegerWeights) -> None:
    channels = len(weights.scale)
    values, axis = _stored(weights.weight, layer)
    for index, numbers, scale, where in (
        (operator.inputs[1], values, weights.scale, axis),
        (operator.inputs[2], weights.bias, weights.bias_scale, 0),
    ):
        tensor = file.tensor(index)
        # A convolution on groups of columns has the same numbers in the same order, but another shape.
        shape = tuple(tensor.shape)
        if (numbers.ndim, numbers.shape[0], numbers.size) != (len(shape), shape[0], np.prod(shape)):
            raise Failure(f"{layer.name}: {tuple(tensor.shape)} in the file, {numbers.shape} here", "report it")
        _set_scales(tensor, scale, np.zeros(channels, np.int64), where)
        file.model.buffers[tensor.buffer] = _buffer(numbers)


def _buffer(numbers: np.ndarray) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    little = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))
    return schema.BufferT(data=little.reshape(-1).view(np.uint8))


def _stored(weight: np.ndarray, layer: Convolution | Linear) -> tuple[np.ndarray, int]:
    """Return the weights in TFLite's order of axes, and which axis is the output channel."""
    if isinstance(layer, Linear):
        return weight, 0
    if layer.depthwise:
        return weight.transpose(1, 2, 3, 0), 3
    return weight.transpose(0, 2, 3, 1), 0


def _params(tensor: Any) -> QuantParams:
    return QuantParams(float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]))


def _weights(file: _File, operator: Any, layer: Convolution | Linear) -> IntegerWeights:
    weight, bias = (file.tensor(index) for index in operator.inputs[1:3])
    values = _data(file, weight, np.int8)
    if isinstance(layer, Convolution):
        height, width, channels, out = layer.kernel.shape
        if layer.depthwise:
            values = values.transpose(3, 0, 1, 2)
        else:
            values = values.reshape(out, height, width, channels).transpose(0, 3, 1, 2)
    return IntegerWeights(
        values,
        np.asarray(weight.quantization.scale, np.float32),
        _data(file, bias, np.int32),
        np.asarray(bias.quantization.scale, np.float32),
    )


def _data(file: _File, tensor: Any, dtype: type) -> np.ndarray:
    raw = np.asarray(file.model.buffers[tensor.buffer].data, np.uint8)
    return raw.view(np.dtype(dtype).newbyteorder("<")).reshape(tuple(tensor.shape))
