"""The int8 arithmetic of ``export.int8.arithmetic`` on PyTorch tensors, with gradients for training.

Rounding passes gradients straight through (Bengio et al., arXiv 1308.3432). The gradient of an activation's scale is
that of LSQ (Esser et al., "Learned Step Size Quantization", arXiv 1902.08153, equation 3), with two differences: values
up to half a step beyond the range count as inside, because they round to its last level without being cut (LSQ ends at
that level), and the gradient is not divided by LSQ's √(N·Q), as the scale is learned by its logarithm.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from export.int8.arithmetic import INT8_MAX, INT8_MIN, SMALLEST_SCALE, WEIGHT_MAX, weight_scale

__all__ = ["bias_levels", "bias_scale", "channel_scale", "fake_quantize", "per_channel", "weight_levels"]


def channel_scale(weights: Tensor) -> Tensor:
    """Return the scale ``[out]`` of weights whose first axis is the output channel."""
    return weight_scale(weights.flatten(1).abs().amax(dim=1)).clamp_min(SMALLEST_SCALE)


def per_channel(scale: Tensor, values: Tensor) -> Tensor:
    """Return ``scale`` ``[out]`` in a shape that broadcasts against ``values`` ``[out, ...]``."""
    return scale.reshape(-1, *[1] * (values.ndim - 1))


def weight_levels(weights: Tensor, scale: Tensor) -> Tensor:
    """Return the levels -127..127, as floats, of weights ``[out, ...]`` with scales ``[out]``."""
    return (weights / per_channel(scale, weights)).round().clamp(-WEIGHT_MAX, WEIGHT_MAX)


def bias_scale(weights: Tensor, inputs: Tensor) -> Tensor:
    """Return the scale of a bias, given the scales of weights ``[out]`` and inputs (a scalar), both float32."""
    return weights * inputs


def bias_levels(bias: Tensor, scale: Tensor) -> Tensor:
    """Return the levels, as floats, of a bias with this scale; both ``[out]``."""
    return (bias / scale).round()


def fake_quantize(values: Tensor, scale: Tensor, zero_point: int) -> Tensor:
    """Return the values that an int8 tensor holds in place of ``values``; differentiable in ``values`` and ``scale``.

    Args:
        values: any shape.
        scale: float32 scalar, above 0.
        zero_point: -128..127.
    """
    return _Round.apply(values, scale, zero_point, INT8_MIN, INT8_MAX)


class _Round(torch.autograd.Function):
    """``values`` to the nearest of ``(level - zero_point) * scale``, level in ``low..high``."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, zero_point: int, low: int, high: int) -> Tensor:
        steps = values / scale
        ctx.save_for_backward(steps)
        ctx.limits = low - zero_point, high - zero_point
        return steps.round().clamp_(*ctx.limits).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (steps,) = ctx.saved_tensors
        low, high = ctx.limits
        inside = (steps >= low - 0.5) & (steps <= high + 0.5)
        to_scale = None
        if ctx.needs_input_grad[1]:
            error = steps.round().clamp_(low, high).sub_(steps.mul(inside))
            to_scale = (gradient * error).sum()
        return gradient * inside, to_scale, None, None, None
