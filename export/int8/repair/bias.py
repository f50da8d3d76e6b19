"""Bias correction: what rounding adds to each channel on average is taken off its bias.

Nagel et al., "Data-Free Quantization" (arXiv 1906.04721), section 4.2, in the form that uses data: layer by
layer from the input on, the mean over calibration images of the difference between quantized and float
outputs before the activation, with all layers before it quantized and already corrected.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from export.graph.folded import Convolution, FoldedGraph, L2Norm, Layer, Linear
from export.int8.repair.network import activate, batches, linear_part, weight

__all__ = ["CORRECTION_IMAGES", "as_int8", "correct_bias", "quantized_weight", "rounded"]

CORRECTION_IMAGES = 64  # means over images and places: more change the biases by less than a step


def quantized_weight(layer: Convolution | Linear) -> Tensor:
    """Weights as int8 holds them: one scale per output channel, -127..127, zero point 0; output channel first."""
    exact = weight(layer)
    flat = exact.flatten(1).abs().amax(dim=1)
    step = (flat / 127).clamp_min(1e-30).reshape(-1, *[1] * (exact.ndim - 1))
    return (exact / step).round().clamp(-127, 127) * step


def rounded(values: Tensor, low: float, high: float) -> Tensor:
    """Values as an int8 tensor of this range holds them; the range is widened to hold 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255 or 1.0
    zero = round(-128 - low / step)
    return ((values / step).round().add(zero).clamp(-128, 127) - zero) * step


def correct_bias(graph: FoldedGraph, images: Iterable[np.ndarray]) -> FoldedGraph:
    """The graph with corrected biases: worse as float, better as int8.

    Args:
        graph: the folded network, equalized or not.
        images: calibration images, scaled, float32 ``[1, side, side, 3]``; the first
            ``CORRECTION_IMAGES`` of them are used.
    """
    layers = []

    def step(layer: Layer, inputs: tuple[_Both, ...]) -> _Both:
        corrected, both = _correct(layer, inputs)
        layers.append(corrected)
        return both

    with torch.inference_mode():
        exact = list(batches(islice(images, CORRECTION_IMAGES)))
        graph.flow((exact, exact), step)
    return FoldedGraph(graph.side, tuple(layers))


_Both = tuple[list[Tensor], list[Tensor]]  # batches of an activation in float, and as int8 holds them


def _correct(layer: Layer, inputs: tuple[_Both, ...]) -> tuple[Layer, _Both]:
    exact, coarse = (zip(*batches_of, strict=True) for batches_of in zip(*inputs, strict=True))
    weights = _weights(layer)
    wanted = [linear_part(layer, values, None, None, *others) for values, *others in exact]
    got = [linear_part(layer, values, weights, None, *others) for values, *others in coarse]
    if isinstance(layer, (Convolution, Linear)):
        shift = _mean_error(got, wanted)
        layer = replace(layer, bias=layer.bias - shift.numpy())
        shift = shift.reshape(1, -1, *[1] * (got[0].ndim - 2))
        got = [values - shift for values in got]
    exact = [activate(layer, values) for values in wanted]
    # The converter measures ranges on the corrected network in float; these are nearly the same.
    low, high = min(float(v.min()) for v in exact), max(float(v.max()) for v in exact)
    return layer, (exact, [as_int8(layer, activate(layer, values), low, high) for values in got])


def _mean_error(got: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Mean of ``got - wanted`` over images and places, float32 ``[C]``."""
    sums, count = torch.zeros(got[0].shape[1], dtype=torch.float64), 0
    for one, other in zip(got, wanted, strict=True):
        difference = (one - other).double().transpose(0, 1).flatten(1)
        sums += difference.sum(dim=1)
        count += difference.shape[1]
    return (sums / count).float()


def _weights(layer: Layer) -> Tensor | None:
    return quantized_weight(layer) if isinstance(layer, (Convolution, Linear)) else None


def as_int8(layer: Layer, values: Tensor, low: float, high: float) -> Tensor:
    """A layer's activated output as the file holds it, given the range it takes in float."""
    if isinstance(layer, L2Norm):  # TFLite's int8 L2 norm has a fixed scale of 1/128
        return (values * 128).round().clamp(-128, 127) / 128
    return rounded(values, low, high)
