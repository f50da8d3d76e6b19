"""A quantization scheme: ONNX files with float16 weights, half as large; arithmetic stays float32.

Register the row under ``distill_to_phone.targets`` (CONTRIBUTING.md, "Add a quantization scheme").
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from export.job import BuiltFile, Job
from export.targets import FLOAT16, HALF, Target

SMALLEST = 64  # values: biases and limits of ReLU6 cost nothing in float32


def build_float16(target: Target, job: Job, path: Path, repaired: Any) -> BuiltFile:
    """Store the weights as float16, each with a Cast to float32, which onnxruntime computes once on loading."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from export.formats.onnx.convert import describe_onnx

    model = onnx.ModelProto()
    model.CopyFrom(job.onnx_float32[0])  # other builders share the original
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.float16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)
    return BuiltFile(*describe_onnx(path), producer=f"{job.onnx_float32[1]}, float16 by numpy {version('numpy')}")


ONNX_FLOAT16 = Target(
    "onnx", "float16", FLOAT16, build_float16, HALF, 0.9999, summary="halves the file; arithmetic stays float32."
)
