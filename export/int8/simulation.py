"""Single layers as an int8 file computes them, in PyTorch and without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from export.graph.folded import Convolution, L2Norm, Layer, Linear
from export.graph.torch_network import weight
from export.int8.arithmetic import L2_SCALE, scale_and_zero_point
from export.int8.torch_arithmetic import channel_scale, fake_quantize, per_channel, weight_levels

__all__ = ["as_int8", "quantized_weight", "round_to_range"]


def quantized_weight(layer: Convolution | Linear) -> Tensor:
    """Return a layer's weights as int8 holds them, output channel first."""
    exact = weight(layer)
    scale = channel_scale(exact)
    return weight_levels(exact, scale) * per_channel(scale, exact)


def round_to_range(values: Tensor, low: float, high: float) -> Tensor:
    """Return values as an int8 tensor of this range holds them; the range is widened to hold 0 exactly."""
    scale, zero_point = scale_and_zero_point(low, high)
    return fake_quantize(values, torch.tensor(scale), zero_point)


def as_int8(layer: Layer, values: Tensor, low: float, high: float) -> Tensor:
    """Return a layer's activated output as the file holds it, given the range that it has in float."""
    if isinstance(layer, L2Norm):
        return fake_quantize(values, torch.tensor(L2_SCALE), 0)
    return round_to_range(values, low, high)
