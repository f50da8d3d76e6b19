"""Write integers, scales and zero points into an ONNX QDQ file of the same network.

The counterpart of ``export.formats.tflite.integers``: replaces the choices of onnxruntime's quantizer, initializer by
initializer. The L2 norm stays float in ONNX, so its scale and zero point are not written.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distill.console import Failure
from export.graph.folded import INPUT, L2Norm
from export.int8.arithmetic import QuantParams
from export.int8.quantized_graph import QuantizedGraph

if TYPE_CHECKING:
    import onnx

__all__ = ["onnx_integers", "write_onnx_integers"]


def onnx_integers(numbers: QuantizedGraph) -> dict[str, np.ndarray]:
    """Return the initializers by the names that ``quantize_static`` gives them."""
    named: dict[str, np.ndarray] = {}

    def add(name: str, params: QuantParams) -> None:
        named[f"{name}_scale"] = np.array(params.scale, np.float32)
        named[f"{name}_zero_point"] = np.array(params.zero_point, np.int8)

    add(INPUT, numbers.input)
    for layer, integers in zip(numbers.graph.layers, numbers.layers, strict=True):
        if isinstance(layer, L2Norm):
            continue
        add(layer.name, integers.output)
        if integers.weights is not None:
            named[f"{layer.name}.weight_quantized"] = integers.weights.weight
            named[f"{layer.name}.weight_scale"] = integers.weights.scale
            named[f"{layer.name}.weight_zero_point"] = np.zeros(len(integers.weights.scale), np.int8)
            named[f"{layer.name}.bias_quantized"] = integers.weights.bias
            named[f"{layer.name}.bias_quantized_scale"] = integers.weights.bias_scale
            named[f"{layer.name}.bias_quantized_zero_point"] = np.zeros(len(integers.weights.scale), np.int32)
    return named


def write_onnx_integers(path: Path, numbers: QuantizedGraph) -> None:
    """Replace the numbers in the file at ``path``, which ``quantize_onnx`` made from ``numbers.graph``.

    Raises:
        Failure: the file lacks an initializer of the expected name and shape.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load_model(path)
    wanted = onnx_integers(numbers)
    found: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, values in wanted.items():
        tensor = found.get(name)
        if tensor is None or tuple(tensor.dims) != np.shape(values):
            raise Failure(f"onnxruntime's quantizer left no {name} of shape {np.shape(values)}", "report it")
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), name))
    onnx.save_model(model, path)
