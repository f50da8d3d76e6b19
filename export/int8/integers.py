"""A folded network as integers: what quantization-aware training hands to the writers of model files.

TFLite's int8 scheme (Jacob et al., arXiv 1712.05877; TFLite's "8-bit quantization specification"): weights
symmetric, one scale for each output channel, -127..127; activations one scale and zero point a tensor,
-128..127; biases int32 with zero point 0 and the scale input scale * weight scale. A value is
``(level - zero_point) * scale``; halves round to even.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distill.data.preprocess import Preprocessing
from export.graph.folded import FoldedGraph

__all__ = ["L2_SCALE", "Grid", "IntegerLayer", "IntegerWeights", "QuantizedGraph", "input_grid"]

L2_SCALE = 1 / 128  # TFLite's int8 L2_NORMALIZATION has no other


@dataclass(frozen=True)
class Grid:
    """The values an int8 tensor can hold: ``(level - zero_point) * scale``, level in -128..127.

    ``scale`` is a float32 number, for that is what files hold.
    """

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", float(np.float32(self.scale)))


@dataclass(frozen=True)
class IntegerWeights:
    """Weights and bias of one layer.

    Attributes:
        weight: int8, -127..127, the output channel first: ``[out, in / groups, h, w]`` or ``[out, in]``.
        scale: float32 ``[out]``.
        bias: int32 ``[out]``, of scale ``bias_scale``.
        bias_scale: float32 ``[out]``: the input's scale times ``scale``, multiplied in float32.
    """

    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    bias_scale: np.ndarray


@dataclass(frozen=True)
class IntegerLayer:
    """One layer's output grid, and its weights where it has any."""

    name: str
    output: Grid
    weights: IntegerWeights | None = None


@dataclass(frozen=True)
class QuantizedGraph:
    """Integers for every layer of ``graph``, in order.

    Attributes:
        graph: the float network that they are the rounding of.
        input: grid of the image.
        layers: one for each layer of ``graph``.
    """

    graph: FoldedGraph
    input: Grid
    layers: tuple[IntegerLayer, ...]


def input_grid(preprocessing: Preprocessing) -> Grid:
    """From the smallest to the largest scaled pixel in 255 steps.

    1/128 with zero point 0 for mean = std = 128, so that the int8 input is pixel - 128.
    """
    ends = preprocessing.scale(np.array([[0, 0, 0], [255, 255, 255]], np.uint8)).astype(np.float64)
    low, high = min(float(ends.min()), 0.0), max(float(ends.max()), 0.0)
    scale = (high - low) / 255
    return Grid(scale, round(-128 - low / scale))
