"""Real model files without training: the mean over patches of 4 x 4 pixels, as TFLite and as ONNX.

The same network as ``benchmark_fakes.ToyRunner``, which predicts its embeddings.
"""

from __future__ import annotations

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper


def onnx_model(side: int, patch: int = 4, channels: tuple[int, int, int] = (0, 1, 2), factor: float = 1.0) -> bytes:
    """float32 [1, 3, side, side] -> [1, 3 * (side / patch) ** 2], not normalised.

    Args:
        channels: Input channel of each channel of the network; (2, 1, 0): BGR.
        factor: Scale of all differences between images; 0: all embeddings are equal.
    """
    cells = side // patch
    constants = [
        helper.make_tensor("order", TensorProto.INT64, [3], channels),
        helper.make_tensor("factor", TensorProto.FLOAT, [], [factor]),
        helper.make_tensor("rest", TensorProto.FLOAT, [], [1.0 - factor]),
    ]
    nodes = [
        helper.make_node("Gather", ["x", "order"], ["c"], axis=1),
        helper.make_node("AveragePool", ["c"], ["p"], kernel_shape=[patch, patch], strides=[patch, patch]),
        helper.make_node("Mul", ["p", "factor"], ["m"]),
        helper.make_node("Add", ["m", "rest"], ["a"]),
        helper.make_node("Transpose", ["a"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["t"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "patches",
        [value("x", TensorProto.FLOAT, [1, 3, side, side])],
        [value("y", TensorProto.FLOAT, [1, 3 * cells * cells])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def tflite_model(side: int, patch: int = 4) -> bytes:
    """float32 [1, side, side, 3] -> [1, 3 * (side / patch) ** 2], not normalised."""
    cells = side // patch
    wide = 3 * cells * cells
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(np.array([1, wide], "<i4").tobytes(), np.uint8)

    def tensor(name: str, shape: list[int], kind: int = schema.TensorType.FLOAT32, buffer: int = 0):
        found = schema.TensorT()
        found.name, found.shape, found.type, found.buffer = name.encode(), shape, kind, buffer
        return found

    def code(builtin: int):
        found = schema.OperatorCodeT()
        found.builtinCode = found.deprecatedBuiltinCode = builtin
        found.version = 1
        return found

    model.operatorCodes = [code(schema.BuiltinOperator.AVERAGE_POOL_2D), code(schema.BuiltinOperator.RESHAPE)]
    pool, reshape = schema.OperatorT(), schema.OperatorT()
    pool.opcodeIndex, pool.inputs, pool.outputs = 0, [0], [1]
    pool.builtinOptionsType, pool.builtinOptions = schema.BuiltinOptions.Pool2DOptions, schema.Pool2DOptionsT()
    pool.builtinOptions.padding = schema.Padding.VALID
    pool.builtinOptions.strideW = pool.builtinOptions.strideH = patch
    pool.builtinOptions.filterWidth = pool.builtinOptions.filterHeight = patch
    reshape.opcodeIndex, reshape.inputs, reshape.outputs = 1, [1, 2], [3]
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("x", [1, side, side, 3]),
        tensor("p", [1, cells, cells, 3]),
        tensor("shape", [2], schema.TensorType.INT32, 1),
        tensor("y", [1, wide]),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [pool, reshape]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
