"""Our integers, scales and zero points put into a TFLite file of the same network, and read out of one.

TFLiteConverter chooses ranges by itself. What quantization-aware training has settled replaces them number by
number, in the tensors of each operator; operators, order and shapes stay as the converter wrote them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.console import Failure
from export.graph import Convolution, FoldedGraph, L2Norm, Layer, Linear, MeanPool
from export.metadata import pack_model
from export.quantized import Grid, IntegerLayer, IntegerWeights, QuantizedGraph

__all__ = ["read_integers", "write_integers"]

_BORDER = ("QUANTIZE", "DEQUANTIZE")


def write_integers(content: bytes, numbers: QuantizedGraph) -> bytes:
    """The file with the numbers of ``numbers``.

    Args:
        content: a TFLite int8 file that ``export.tflite`` made of ``numbers.graph``, with any border.
        numbers: input, outputs, weights and biases.

    Raises:
        Failure: the operators in the file are not the layers one by one, or shapes differ.
    """
    file = _File.read(content)
    for place, (operator, layer, integers) in enumerate(
        zip(file.operators(numbers.graph), numbers.graph.layers, numbers.layers, strict=True)
    ):
        if place == 0:
            _set_grid(file.tensor(operator.inputs[0]), numbers.input)
        output = file.tensor(operator.outputs[0])
        if output.type != _int8():
            raise Failure(f"{layer.name}: not int8 in the file", "training settles every layer: keep all, or do not train")
        _set_grid(output, integers.output)
        if integers.weights is not None:
            _set_weights(file, operator, layer, integers.weights)
    return pack_model(file.model, len(content))


def read_integers(content: bytes, graph: FoldedGraph) -> QuantizedGraph:
    """What a TFLite int8 file of ``graph`` holds.

    Args:
        content: the file, with any border.
        graph: the folded network that it was made of, in float.

    Raises:
        Failure: the operators in the file are not the layers one by one.
    """
    file, layers = _File.read(content), []
    operators = list(file.operators(graph))
    for operator, layer in zip(operators, graph.layers, strict=True):
        weights = _weights(file, operator, layer) if isinstance(layer, (Convolution, Linear)) else None
        layers.append(IntegerLayer(layer.name, _grid(file.tensor(operator.outputs[0])), weights))
    return QuantizedGraph(graph, _grid(file.tensor(operators[0].inputs[0])), tuple(layers))


@dataclass(frozen=True)
class _File:
    model: Any
    names: dict[int, str]

    @classmethod
    def read(cls, content: bytes) -> _File:
        from ai_edge_litert import schema_py_generated as schema

        names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
        return cls(schema.ModelT.InitFromPackedBuf(content, 0), names)

    def tensor(self, index: int) -> Any:
        return self.model.subgraphs[0].tensors[index]

    def operators(self, graph: FoldedGraph) -> Iterator[Any]:
        """Those of the layers, in order, without what stands at the border."""
        named = [(self._name(operator), operator) for operator in self.model.subgraphs[0].operators]
        inner = [(name, operator) for name, operator in named if name not in _BORDER]
        wanted = [_operator(layer) for layer in graph.layers]
        if [name for name, _ in inner] != wanted:
            raise Failure(
                f"{len(inner)} operators in the file are not the {len(wanted)} layers", "report it: the converter changed"
            )
        return (operator for _, operator in inner)

    def _name(self, operator: Any) -> str:
        code = self.model.operatorCodes[operator.opcodeIndex]
        return self.names[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _int8() -> int:
    from ai_edge_litert import schema_py_generated as schema

    return schema.TensorType.INT8


def _operator(layer: Layer) -> str:
    match layer:
        case Convolution():
            return "DEPTHWISE_CONV_2D" if layer.depthwise else "CONV_2D"
        case MeanPool():
            return "MEAN"
        case Linear():
            return "FULLY_CONNECTED"
        case L2Norm():
            return "L2_NORMALIZATION"
    raise TypeError(type(layer))


def _set_grid(tensor: Any, grid: Grid) -> None:
    _set_scales(tensor, np.float32([grid.scale]), np.int64([grid.zero_point]), 0)


def _set_scales(tensor: Any, scales: np.ndarray, zero_points: np.ndarray, axis: int) -> None:
    quantization = tensor.quantization
    quantization.scale, quantization.zeroPoint, quantization.quantizedDimension = scales, zero_points, axis
    quantization.min = quantization.max = None


def _set_weights(file: _File, operator: Any, layer: Layer, weights: IntegerWeights) -> None:
    channels = len(weights.scale)
    values, axis = _stored(weights.weight, layer)
    for index, numbers, scale, where in (
        (operator.inputs[1], values, weights.scale, axis),
        (operator.inputs[2], weights.bias, weights.bias_scale, 0),
    ):
        tensor = file.tensor(index)
        if tuple(tensor.shape) != numbers.shape:
            raise Failure(f"{layer.name}: {tuple(tensor.shape)} in the file, {numbers.shape} here", "report it")
        _set_scales(tensor, scale, np.zeros(channels, np.int64), where)
        file.model.buffers[tensor.buffer] = _buffer(numbers)


def _buffer(numbers: np.ndarray) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    little = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))
    return schema.BufferT(data=little.reshape(-1).view(np.uint8))


def _stored(weight: np.ndarray, layer: Layer) -> tuple[np.ndarray, int]:
    """TFLite's order of axes, and which of them is the output channel."""
    if isinstance(layer, Linear):
        return weight, 0
    if layer.depthwise:
        return weight.transpose(1, 2, 3, 0), 3
    return weight.transpose(0, 2, 3, 1), 0


def _grid(tensor: Any) -> Grid:
    return Grid(float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]))


def _weights(file: _File, operator: Any, layer: Layer) -> IntegerWeights:
    weight, bias = (file.tensor(index) for index in operator.inputs[1:3])
    values = _data(file, weight, np.int8)
    if isinstance(layer, Convolution):
        values = values.transpose((3, 0, 1, 2) if layer.depthwise else (0, 3, 1, 2))
    return IntegerWeights(
        values, np.float32(weight.quantization.scale), _data(file, bias, np.int32), np.float32(bias.quantization.scale)
    )


def _data(file: _File, tensor: Any, dtype: type) -> np.ndarray:
    raw = np.asarray(file.model.buffers[tensor.buffer].data, np.uint8)
    return raw.view(np.dtype(dtype).newbyteorder("<")).reshape(tuple(tensor.shape))
