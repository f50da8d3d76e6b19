"""Profile TFLite files by truncated graphs: cut the model after each operator and time every cut.

The ai-edge-litert wheel has no profiler. An operator's time is the median with it minus the median without it, so it
includes the effect of fusions by the delegate. The cuts are timed in turns, like the variants of a bundle
(:mod:`benchmark.timing`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmark.operators.profile import ProfiledOperator
from benchmark.timing import Plan, interleave
from distill.console import Failure
from export.bundle.engines.tflite import interpreter_for

__all__ = ["cuts", "profile_tflite"]


def cuts(content: bytes) -> list[tuple[ProfiledOperator, bytes]]:
    """Return every operator, with time 0, and the model that ends with it.

    Raises:
        Failure: the model has several subgraphs, or no operator.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    if len(model.subgraphs) != 1 or not model.subgraphs[0].operators:
        raise Failure("the model is not one graph with operators", "profile another variant")
    graph = model.subgraphs[0]
    operators = graph.operators
    # They refer to tensors that a cut lacks, and are not read here.
    model.signatureDefs, model.metadata, model.metadataBuffer = [], [], []
    found = []
    for index, operator in enumerate(operators):
        graph.operators = operators[: index + 1]
        graph.outputs = np.asarray([operator.outputs[0]], np.int32)
        builder = flatbuffers.Builder(len(content))
        builder.Finish(model.Pack(builder), b"TFL3")
        code = model.operatorCodes[operator.opcodeIndex]
        kind = names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        output = graph.tensors[operator.outputs[0]]
        shape = tuple(int(side) for side in output.shape)
        found.append(
            (
                ProfiledOperator(
                    kind,
                    shape,
                    _macs(kind, operator, graph.tensors, shape),
                    output.type == schema.TensorType.INT8,
                    0.0,
                    _bytes(operator, graph.tensors),
                ),
                bytes(builder.Output()),
            )
        )
    return found


def _macs(kind: str, operator: Any, tensors: list[Any], shape: tuple[int, ...]) -> int:
    if kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return 0
    weights = [int(side) for side in tensors[operator.inputs[1]].shape]
    # [out, h, w, in]; [1, h, w, channels], each output channel from one input channel; [out, in].
    each = math.prod(weights[1:3]) if kind == "DEPTHWISE_CONV_2D" else math.prod(weights[1:])
    return math.prod(shape) * each


# By TensorType: float32, float16, int32, uint8, int64, bool, int16, int8, float64.
_SIZES = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 9: 1, 10: 8}


def _bytes(operator: Any, tensors: list[Any]) -> int:
    """Count the bytes that an operator reads and writes; input -1 is absent."""
    moved = [tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    return sum(
        _SIZES.get(tensor.type, 0) * math.prod(int(side) for side in tensor.shape)
        for tensor in moved
        if tensor.shape is not None
    )


class _Cut:
    """A truncated model; its input is set once."""

    def __init__(self, content: bytes, threads: int, values: np.ndarray) -> None:
        self._interpreter = interpreter_for(content, threads)
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], values)
        self.invoke = self._interpreter.invoke

    def prepare(self, pixels: np.ndarray) -> None:
        pass


def profile_tflite(
    content: bytes, values: np.ndarray, plan: Plan, show: Callable[[float], None] = lambda share: None
) -> list[ProfiledOperator]:
    """Time every operator.

    Args:
        values: Input tensor.
        plan: Its ``end_to_end`` is ignored.
        show: Called with the share done.

    Raises:
        Failure: see :func:`cuts`.
    """
    parts = cuts(content)
    runners = {str(index): _Cut(part, plan.threads, values) for index, (_, part) in enumerate(parts)}
    samples, _ = interleave(runners, np.zeros((1, 1, 1, 3), np.uint8), replace(plan, end_to_end=0), show=show)
    medians = [float(np.median(samples[name].invoke)) / 1e6 for name in runners]
    steps = np.diff([0.0, *medians])
    return [replace(operator, ms=round(float(step), 6)) for (operator, _), step in zip(parts, steps, strict=True)]
