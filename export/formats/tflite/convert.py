"""Convert folded networks to TFLite with as few operators as possible: one ``tf.function``, TFLiteConverter.

SAME padding is part of the convolutions, so no PAD is left over; mean, fully connected and
L2 are one operator each: 30 in all for MobileNetV1, as for the Keras model of the same network.
Where PyTorch pads differently (timm's networks, at stride 2 and an even side), a PAD precedes the convolution. A
RESHAPE precedes a patch stem.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.console import Failure, progress
from distill.console.errors import first_line
from distill.data.preprocess import Preprocessing
from export.bundle.quiet import quiet_stderr
from export.bundle.tflite_file import interpreter_for
from export.formats.tflite.quantize import quantize_tflite
from export.graph.folded import Add, Convolution, FoldedGraph, L2Norm, Linear, MeanPool
from export.int8.arithmetic import INT16_MAX, pixel_range, real_zero_point, scale_and_zero_point, symmetric_scale
from export.int8.ranges import MINMAX, RangeRule, graph_ranges
from export.samples.calibration import CalibrationImages

__all__ = ["check_input_scale", "to_function", "to_tflite"]


def to_tflite(
    graph: FoldedGraph,
    precision: str,
    calibration: CalibrationImages | None = None,
    debug: bool = False,
    input_type: str = "int8",
    rule: RangeRule = MINMAX,
    in_float: Sequence[str] = (),
) -> bytes:
    """Convert to a TFLite file with a fixed input ``[1, side, side, 3]``.

    Args:
        graph: the folded network.
        precision: ``"float32"``; ``"float16"``: weights stored in half precision, arithmetic in
            float32; ``"int8"``: weights (per-channel, symmetric) and activations; ``"int16x8"``: int8
            weights, int16 activations (symmetric), the L2 norm in float32.
        calibration: images that set the ranges of activations.
        debug: show TensorFlow's messages.
        input_type: for ``"int8"``: type of input and output, ``"int8"``, ``"uint8"`` (a QUANTIZE
            operator at each end) or ``"float32"`` (QUANTIZE and DEQUANTIZE); for ``"int16x8"``: type of
            the input, ``"int16"`` or ``"float32"``; the output is float32.
        rule: how the ranges of int8 activations are chosen; int16x8 always uses minimum and maximum.
        in_float: for ``"int8"``: names of layers that stay float32.

    Raises:
        Failure: int8 without calibration images, or the converter failed.
    """
    if precision in ("int8", "int16x8"):
        _required(calibration)
    with quiet_stderr(not debug):
        tf = _import_tensorflow()
        function = to_function(graph, tf)
        # The converter reads constants out of the function; `holder` keeps it alive.
        holder = tf.Module()
        holder.function = function
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], holder)
        if precision in ("float16", "int16x8"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int16x8":
            # L2_NORMALIZATION has no int16 kernel: the float operators are allowed for it.
            int16 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            converter.target_spec.supported_ops = [int16, tf.lite.OpsSet.TFLITE_BUILTINS]
            converter.inference_input_type = tf.dtypes.as_dtype(input_type)
            images = _required(calibration)
            converter.representative_dataset = lambda: ([image] for image in _shown(images))
        try:
            content = bytes(converter.convert())
            if precision != "int8":
                return content
            images = _required(calibration)
            ranges = graph_ranges(graph, lambda: _shown(images), rule)
            return quantize_tflite(content, graph, ranges, input_type, in_float)
        except (RuntimeError, ValueError) as error:
            first = first_line(error)
            raise Failure(f"TFLiteConverter failed: {first}", "run again with --debug and report it") from error


def to_function(graph: FoldedGraph, tf: Any) -> Any:
    """Return the network as a ``tf.function`` of one float32 image ``[1, side, side, 3]``."""

    # AutoGraph does not know match statements, and there is no control flow on tensors.
    @tf.function(
        input_signature=[tf.TensorSpec([1, graph.side, graph.side, 3], tf.float32, name="image")], autograph=False
    )
    def embedding(image: Any) -> Any:
        return graph.flow(image, lambda layer, inputs: _layer(tf, layer, *inputs))

    return embedding


def _layer(tf: Any, layer: Any, values: Any, other: Any = None) -> Any:
    match layer:
        case Convolution():
            kernel, strides, padding = layer.kernel, [1, layer.stride, layer.stride, 1], "SAME"
            convolve = tf.nn.depthwise_conv2d if layer.depthwise else tf.nn.conv2d
            _, height, width, channels = values.shape
            grouped = layer.grouped_kernel(width)
            if grouped is not None:
                # Three channels leave most SIMD lanes empty; a group of pixels fills them.
                values = tf.reshape(values, [1, height, width // layer.stride, layer.stride * channels])
                kernel, strides = grouped, [1, layer.stride, 1, 1]
            elif not layer.is_same((height, width)):
                values, padding = tf.pad(values, [(0, 0), *layer.pads((height, width)), (0, 0)]), "VALID"
            values = convolve(values, tf.constant(kernel), strides, padding, name=layer.name)
            values = tf.nn.bias_add(values, tf.constant(layer.bias))
            return tf.nn.relu6(values) if layer.relu6 else values
        case Add():
            return tf.add(values, other)
        case MeanPool():
            return tf.reduce_mean(values, [1, 2])
        case Linear():
            return tf.nn.bias_add(tf.linalg.matmul(values, tf.constant(layer.weight)), tf.constant(layer.bias))
        case L2Norm():
            return tf.math.l2_normalize(values, axis=-1)
    raise TypeError(type(layer))


def _required(calibration: CalibrationImages | None) -> CalibrationImages:
    if not calibration:
        raise Failure("int8 needs calibration images", "give --calibration-data")
    return calibration


def _shown(images: CalibrationImages) -> Iterator[np.ndarray]:
    with progress("calibrating TFLite", total=len(images)) as bar:
        for image in images.scaled():
            yield image
            bar.advance()


def _import_tensorflow() -> Any:
    """Import TensorFlow for the CPU, without its start-up messages."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    try:
        import tensorflow as tf
    except ImportError:
        raise Failure("tensorflow is not installed", "pip install 'distill-to-phone[export]'") from None
    tf.get_logger().setLevel(logging.ERROR)
    return tf


def check_input_scale(path: Path, preprocessing: Preprocessing) -> None:
    """Check that the integer tensor at the input spans exactly the range of pixels.

    int8: from the smallest to the largest scaled pixel in 255 steps, i.e. scale 1/128 with zero point 0 for
    mean = std = 128. Otherwise the host's ``pixel - 128`` would be wrong for this file. int16:
    32767 steps up to the larger of the two magnitudes, zero point 0.
    If the input has another type, the output of the QUANTIZE operator after it is checked.

    Raises:
        Failure: the converter chose another range.
    """
    low, high = pixel_range(preprocessing)
    dtype, found, found_zero = _first_quantized(path)
    if dtype == np.int16:
        scale, zero_point = symmetric_scale(low, high, INT16_MAX), 0.0
    else:
        scale, _ = scale_and_zero_point(low, high)
        zero_point = real_zero_point(low, scale)
    if (
        not found or abs(found / scale - 1) > 1e-6 or abs(found_zero - zero_point) > 0.501
    ):  # halves may round up or down
        raise Failure(
            f"the {np.dtype(dtype)} input has scale {found:.8g} and zero point {found_zero}, "
            f"not {scale:.8g} and {round(zero_point)}",
            "report it: the converter did not see the whole pixel range",
        )


def _first_quantized(path: Path) -> tuple[type, float, int]:
    interpreter = interpreter_for(path.read_bytes(), delegates=False)
    tensor = interpreter.get_input_details()[0]
    if tensor["dtype"] not in (np.int8, np.int16):
        first = interpreter._get_ops_details()[0]
        if first["op_name"] != "QUANTIZE":
            raise Failure(f"{path}: starts with {first['op_name']}, not QUANTIZE", "report it")
        tensor = next(t for t in interpreter.get_tensor_details() if t["index"] == first["outputs"][0])
    scale, zero_point = tensor["quantization"]
    return tensor["dtype"], float(scale), int(zero_point)
