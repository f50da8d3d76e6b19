"""Read nodes and weights of an ONNX file without the ``onnx`` package, which is not in the ``run`` extra.

Parses Protocol Buffers' wire format and the few fields of onnx.proto that are needed here. onnxruntime has just
written the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Graph", "Weights", "read_graph"]

# Bytes of one value, by TensorProto.DataType.
SIZES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
MODEL_GRAPH, GRAPH_NODE, GRAPH_WEIGHTS = 7, 1, 5
NODE_INPUT, NODE_NAME = 1, 3
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME = 1, 2, 8
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Weights:
    """Shape and size of a constant of the graph."""

    shape: tuple[int, ...]
    bytes: int


@dataclass
class Graph:
    """``nodes``: names of the inputs by name of the node; ``weights``: constants by name."""

    nodes: dict[str, list[str]] = field(default_factory=dict)
    weights: dict[str, Weights] = field(default_factory=dict)


def read_graph(content: bytes) -> Graph:
    """Read the main graph of a model.

    Raises:
        ValueError: the content is not in the wire format.
    """
    found = Graph()
    for number, value in _fields(content):
        if number != MODEL_GRAPH or not isinstance(value, bytes):
            continue
        for part, message in _fields(value):
            if part == GRAPH_NODE and isinstance(message, bytes):
                node = list(_fields(message))
                name = next((_text(entry) for key, entry in node if key == NODE_NAME), "")
                found.nodes[name] = [_text(entry) for key, entry in node if key == NODE_INPUT]
            elif part == GRAPH_WEIGHTS and isinstance(message, bytes):
                name, weights = _weights(message)
                found.weights[name] = weights
    return found


def _weights(message: bytes) -> tuple[str, Weights]:
    shape: list[int] = []
    kind, name = 0, ""
    for key, value in _fields(message):
        if key == TENSOR_DIMS:
            shape += [value] if isinstance(value, int) else _packed(value)
        elif key == TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif key == TENSOR_NAME:
            name = _text(value)
    return name, Weights(tuple(shape), math.prod(shape) * SIZES.get(kind, 0))


def _text(value: int | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _packed(data: bytes) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("cut off")
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise ValueError("a number without end")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        length = {FIXED64: 8, FIXED32: 4}.get(kind)
        if kind == BYTES:
            length, at = _varint(data, at)
        if length is None or at + length > len(data):
            raise ValueError("not in the wire format of Protocol Buffers")
        yield tag >> 3, data[at : at + length]
        at += length
