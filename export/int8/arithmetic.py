"""Scale and zero-point arithmetic of TFLite's int8 scheme, in NumPy.

A level ``q`` stands for the value ``(q - zero_point) * scale`` (Jacob et al., arXiv 1712.05877, equation 1; TFLite's
"8-bit quantization specification"):

| tensor           | levels        | scale                                  | zero point | function                        |
|------------------|---------------|----------------------------------------|------------|---------------------------------|
| activation       | -128..127     | one per tensor: range / 255            | -128..127  | ``scale_and_zero_point``        |
| weights          | -127..127     | one per output channel: largest / 127  | 0          | ``weight_scale``                |
| bias             | int32         | input scale * weight scale, in float32 | 0          | ``torch_arithmetic.bias_scale`` |
| int8 L2 norm     | -128..127     | 1 / 128                                | 0          | ``L2_SCALE``                    |
| int16 activation | -32767..32767 | one per tensor: largest / 32767        | 0          | ``symmetric_scale``             |

All rounding is half to even. ``quantize`` is the rule by which apps and :func:`~export.bundle.open_variant` make a
file's input. Files hold scales as float32, and so does :class:`QuantParams`; zero points are computed from the float64
scale. ``export.int8.torch_arithmetic`` has the PyTorch functions, with gradients where training needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from export.bundle.runtime import quantize

if TYPE_CHECKING:
    import torch

    from distill.data.preprocess import Preprocessing

__all__ = [
    "INT8_MAX",
    "INT8_MIN",
    "INT8_STEPS",
    "INT16_MAX",
    "L2_SCALE",
    "SMALLEST_SCALE",
    "WEIGHT_MAX",
    "QuantParams",
    "dequantize",
    "input_params",
    "pixel_range",
    "quantize",
    "real_zero_point",
    "scale_and_zero_point",
    "symmetric_scale",
    "weight_scale",
    "widened",
]

INT8_MIN, INT8_MAX = -128, 127
INT8_STEPS = INT8_MAX - INT8_MIN  # steps between the lowest and the highest level of an activation
WEIGHT_MAX = 127  # weights do not use -128
INT16_MAX = 32767
L2_SCALE = 1 / 128  # TFLite's int8 L2_NORMALIZATION allows no other
SMALLEST_SCALE = 1e-30  # of weights: an output channel of zeros must not divide by zero

Array = TypeVar("Array", float, np.ndarray, "torch.Tensor")


@dataclass(frozen=True)
class QuantParams:
    """Scale and zero point of an int8 tensor.

    Attributes:
        scale: distance of two levels, rounded to float32 because that is what files hold.
        zero_point: level that stands for 0, -128..127.
    """

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", float(np.float32(self.scale)))


def widened(low: float, high: float) -> tuple[float, float]:
    """Return the smallest range that holds both this range and 0.

    Zero must be exact: padding and ReLU depend on it.
    """
    return min(low, 0.0), max(high, 0.0)


def real_zero_point(low: float, scale: float) -> float:
    """Return the int8 zero point of a range that starts at ``low``, not yet rounded."""
    return INT8_MIN - low / scale


def scale_and_zero_point(low: float, high: float) -> tuple[float, int]:
    """Return the float64 scale and the zero point of an int8 activation.

    Args:
        low, high: range of its values; it is widened to hold 0. A range of width 0 gets scale 1.

    >>> scale_and_zero_point(-1.0, 127 / 128)
    (0.0078125, 0)
    >>> scale_and_zero_point(1.0, 255 / 64)
    (0.015625, -128)
    """
    low, high = widened(low, high)
    scale = (high - low) / INT8_STEPS or 1.0
    return scale, round(real_zero_point(low, scale))


def symmetric_scale(low: float, high: float, most: int) -> float:
    """Return the scale of a tensor with zero point 0 and the levels ``-most..most``.

    >>> symmetric_scale(-0.5, 1.0, INT16_MAX) == 1 / 32767
    True
    """
    return max(-low, high) / most


def weight_scale(largest: Array) -> Array:
    """Return the scale of weights whose largest magnitude is ``largest``: a number, array or tensor, ``>= 0``."""
    return largest / WEIGHT_MAX


def dequantize(levels: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Return the float64 values that integer levels stand for."""
    return (levels.astype(np.float64) - zero_point) * scale


def pixel_range(preprocessing: Preprocessing) -> tuple[float, float]:
    """Return the smallest and the largest value that a scaled pixel can have, widened to hold 0."""
    ends = preprocessing.scale(np.array([[0, 0, 0], [255, 255, 255]], np.uint8)).astype(np.float64)
    return widened(float(ends.min()), float(ends.max()))


def input_params(preprocessing: Preprocessing) -> QuantParams:
    """Return scale and zero point of an int8 image: 255 steps over ``pixel_range``.

    With mean = std = 128 these are 1/128 and 0, so that the int8 input is ``pixel - 128``.
    """
    return QuantParams(*scale_and_zero_point(*pixel_range(preprocessing)))
