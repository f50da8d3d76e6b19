"""Describe a TFLite file, with ai-edge-litert alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from distill.console import Failure
from export.bundle.engines.tflite import interpreter_for
from export.bundle.schema import InputSpec, Operator, OutputSpec

__all__ = ["count_operators", "describe_tflite", "interpreter_for", "list_operators"]


def count_operators(names: list[str]) -> tuple[Operator, ...]:
    """Return the operators with their counts, in order of first appearance."""
    return tuple(Operator(name=name, count=count) for name, count in Counter(names).items())


def list_operators(path: Path) -> tuple[Operator, ...]:
    """Return the file's operators with their counts."""
    return describe_tflite(path)[2]


def describe_tflite(path: Path) -> tuple[InputSpec, OutputSpec, tuple[Operator, ...]]:
    """Return the input tensor, the output tensor and the operators of the file.

    Raises:
        Failure: not one input and one output, or types that a bundle does not allow.
    """
    # Without delegates: XNNPACK would show as one DELEGATE operator.
    interpreter = interpreter_for(path.read_bytes(), delegates=False)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise Failure(f"{path}: {len(inputs)} inputs and {len(outputs)} outputs", "a bundle takes one of each")
    operators = count_operators([operator["op_name"] for operator in interpreter._get_ops_details()])
    unit = any(operator.name == "L2_NORMALIZATION" for operator in operators)
    first, last = _tensor(inputs[0]), _tensor(outputs[0])
    # Int8 L2_NORMALIZATION has a fixed scale of 1/128: rows of length 0.985 to 1.017.
    exact = unit and last["dtype"] == "float32"
    return (
        InputSpec(layout="NHWC", **first),
        OutputSpec(unit_norm=exact, renormalise=not exact, **last),
        operators,
    )


def _tensor(details: dict[str, Any]) -> dict[str, Any]:
    dtype = np.dtype(details["dtype"]).name
    scale, zero_point = details["quantization"]
    quantized = dtype != "float32"
    return {
        "name": details["name"],
        "shape": tuple(int(side) for side in details["shape"]),
        "dtype": dtype,
        "scale": float(scale) if quantized else None,
        "zero_point": int(zero_point) if quantized else None,
    }
