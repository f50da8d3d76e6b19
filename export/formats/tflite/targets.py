"""Targets of the TFLite format."""

from __future__ import annotations

from export.bundle.schema import Scheme
from export.formats.tflite.build import build_float, build_int8, build_int16x8
from export.int8.layer_errors import compare_layers
from export.targets import EXACT, FLOAT16, FLOAT32, HALF, INT8, ROUNDED, Target

__all__ = [
    "TFLITE_FLOAT16",
    "TFLITE_FLOAT32",
    "TFLITE_INT8",
    "TFLITE_INT8_IO_FLOAT32",
    "TFLITE_INT8_IO_UINT8",
    "TFLITE_INT16X8",
    "TFLITE_INT16X8_IO_INT16",
]

_INT16X8 = Scheme(weights="int8", activations="int16", granularity="channel", method="post_training")

TFLITE_FLOAT32 = Target("tflite", "none", FLOAT32, build_float, EXACT, 0.99999)
TFLITE_FLOAT16 = Target(
    "tflite",
    "float16",
    FLOAT16,
    build_float,
    HALF,
    0.9999,
    summary="halves the file; arithmetic stays float32, and so does the speed.",
    needs_folding=True,
)


def _int8(input_type: str, io_auto: bool = False, needs_folding: bool = False) -> Target:
    return Target(
        "tflite",
        "int8",
        INT8,
        build_int8,
        ROUNDED,
        0.99,
        summary="full integer: the smallest file (335 kB), in 1.26 times float32's time.",
        input_type=input_type,
        io_auto=io_auto,
        needs_calibration=True,
        needs_folding=needs_folding,
        trainable=True,
        compare_layers=compare_layers,
    )


def _int16x8(input_type: str, io_auto: bool = False) -> Target:
    return Target(
        "tflite",
        "int16x8",
        _INT16X8,
        build_int16x8,
        ROUNDED,
        0.999,
        summary=(
            "int8 weights and 16-bit activations, for accelerators: on a CPU TFLite runs it without XNNPACK, about "
            "60 times slower than int8 (scripts/benchmarks/quantization_choices.py)."
        ),
        input_type=input_type,
        io_auto=io_auto,
        needs_calibration=True,
        needs_folding=True,
        compare_layers=compare_layers,
    )


TFLITE_INT8 = _int8("int8", io_auto=True)
TFLITE_INT8_IO_UINT8 = _int8("uint8", needs_folding=True)
TFLITE_INT8_IO_FLOAT32 = _int8("float32")
# int16 input saves one operator of 31, and only our own reader can feed it.
TFLITE_INT16X8 = _int16x8("float32", io_auto=True)
TFLITE_INT16X8_IO_INT16 = _int16x8("int16")
