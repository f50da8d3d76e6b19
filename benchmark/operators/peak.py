"""Measure the machine's peak: the highest rate at which the TFLite engine multiplies."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from export.bundle.engines.tflite import interpreter_for

__all__ = ["measured_peak", "pointwise_model"]

SIDE, CHANNELS = 32, 256  # 67 million multiply-accumulates; weights and a tile of pixels fit in the caches
SECONDS = 1.0


def pointwise_model(integer: bool) -> bytes:
    """Return a TFLite file with one 1 × 1 convolution, [1, 32, 32, 256] to the same shape: engines run it fastest."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    random = np.random.default_rng(0)
    kind = schema.TensorType.INT8 if integer else schema.TensorType.FLOAT32
    weights = (
        random.integers(-127, 128, (CHANNELS, 1, 1, CHANNELS), np.int8)
        if integer
        else (random.normal(0, 0.05, (CHANNELS, 1, 1, CHANNELS)).astype("<f4"))
    )
    bias = np.zeros(CHANNELS, "<i4" if integer else "<f4")
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT() for _ in range(3)]
    model.buffers[1].data = np.frombuffer(weights.tobytes(), np.uint8)
    model.buffers[2].data = np.frombuffer(bias.tobytes(), np.uint8)

    def tensor(name: str, shape: list[int], type_: int, buffer: int, scale: float) -> Any:
        found = schema.TensorT()
        found.name, found.shape, found.type, found.buffer = name, np.asarray(shape, np.int32), type_, buffer
        if integer:
            found.quantization = schema.QuantizationParametersT()
            found.quantization.scale, found.quantization.zeroPoint = (
                np.array([scale], np.float32),
                np.array([0], np.int64),
            )
        return found

    image = [1, SIDE, SIDE, CHANNELS]
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("x", image, kind, 0, 0.02), tensor("w", list(weights.shape), kind, 1, 0.001),
        tensor("b", [CHANNELS], schema.TensorType.INT32 if integer else kind, 2, 0.02 * 0.001), tensor("y", image, kind, 0, 0.05),
    ]  # fmt: skip
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([3], np.int32)
    convolution = schema.OperatorT()
    convolution.inputs, convolution.outputs = np.array([0, 1, 2], np.int32), np.array([3], np.int32)
    convolution.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    convolution.builtinOptions = schema.Conv2DOptionsT()
    convolution.builtinOptions.strideH = convolution.builtinOptions.strideW = 1
    convolution.builtinOptions.padding = schema.Padding.VALID
    convolution.builtinOptions.dilationHFactor = convolution.builtinOptions.dilationWFactor = 1
    graph.operators = [convolution]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3 if integer else 1
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def measured_peak(integer: bool, threads: int) -> float:
    """Return the multiply-accumulates per second of that convolution, in the fastest of many runs."""
    interpreter = interpreter_for(pointwise_model(integer), threads)
    details = interpreter.get_input_details()[0]
    random = np.random.default_rng(1)
    values = random.integers(-127, 128, details["shape"]).astype(details["dtype"])
    interpreter.set_tensor(details["index"], values)
    best, until = float("inf"), time.perf_counter() + SECONDS
    runs = 0
    while runs < 20 or time.perf_counter() < until:
        begun = time.perf_counter()
        interpreter.invoke()
        best = min(best, time.perf_counter() - begun)
        runs += 1
    return SIDE * SIDE * CHANNELS * CHANNELS / best
