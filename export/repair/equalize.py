"""Cross-layer equalization: channels of an activation brought to similar ranges, the function kept.

For a positive factor s per channel, ``W2 relu(W1 x + b1) = (W2 s) relu((W1 x + b1) / s)`` (Nagel et al.,
"Data-Free Quantization", arXiv 1906.04721, section 4.1). Two things differ from the paper:

**ReLU6 clips at 6 and is not homogeneous.** The identity holds for a channel only while neither side
clips. So a channel is rescaled only if its largest value over the calibration images, times
``HEADROOM``, is below 6, and only so far that this still holds afterwards. Channels that do clip keep
their scale. For every input whose channels stay within ``HEADROOM`` times the calibrated peaks the
network computes the same function up to float rounding; beyond that a value may be clipped that was
not, or the other way round. ReLU6 stays fused: no operator is added, no activation replaced.

**Weights are quantized per channel here, activations per tensor.** What suffers from unequal channels is
the activation, and the weights of a pointwise layer along its inputs. Between the two the factors
``s = peak^a / column^(1 - a)`` trade off (Xiao et al., "SmoothQuant", arXiv 2211.10438, equation 4; a = 1/2
is the paper's choice); ``a`` is the one of five with the least expected rounding noise, or no change at
all. Before a depthwise layer, whose weights have a scale for each channel, a = 1 is free.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from export.graph import Convolution, FoldedGraph, Layer, Linear
from export.repair.network import Observed, observe

__all__ = ["HEADROOM", "equalize", "factors"]

HEADROOM = 1.25
EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
CLIP = 6.0
_SMALLEST = 2.0**-20  # of a channel's range to the largest: below it the channel is as good as dead


def equalize(graph: FoldedGraph, images: Iterable[np.ndarray]) -> FoldedGraph:
    """The same function with more equal channels.

    Args:
        graph: the folded network.
        images: calibration images, scaled, float32 ``[1, side, side, 3]``.
    """
    seen = observe(graph, images)
    layers = list(graph.layers)
    for place, layer in enumerate(layers):
        after = _next_weights(layers, place)
        if after is None or not isinstance(layer, Convolution) or not layer.relu6:
            continue
        following = layers[after]
        scale = factors(seen[layer.name], _columns(following), seen[following.name], _per_channel(following))
        layers[place] = _scale_outputs(layer, 1 / scale)
        layers[after] = _scale_inputs(following, scale)
    return FoldedGraph(graph.side, tuple(layers))


def factors(seen: Observed, columns: np.ndarray, following: Observed, free: bool) -> np.ndarray:
    """By what each channel is divided here and multiplied in the next layer.

    Args:
        seen: the activation.
        columns: the next layer's weights, ``[out, in]``, in magnitude.
        following: the next layer's values, whose variances say how much noise matters.
        free: the next layer has a weight scale for each of these channels (depthwise).

    Returns:
        float64 ``[in]``, 1 where a channel has to stay as it is.
    """
    peak = np.minimum(seen.peak, CLIP)
    highest = float(peak.max(initial=0.0))
    movable = (seen.peak * HEADROOM <= CLIP) & (peak > highest * _SMALLEST)
    if not movable.any():
        return np.ones_like(peak)
    limit = min(highest, CLIP / HEADROOM)
    # A column of zeros passes nothing on: any factor will do.
    column = np.maximum(columns.max(axis=0), columns.max() * _SMALLEST + 1e-30)
    candidates = [np.ones_like(peak)]
    for exponent in (1.0,) if free else EXPONENTS:
        raw = np.where(movable, np.maximum(peak, 1e-30) ** exponent / column ** (1 - exponent), 1.0)
        raw *= (peak[movable] / raw[movable]).max() / limit
        candidates.append(np.where(movable, raw, 1.0))
    importance = 1 / np.maximum(following.variance, following.variance.max() * 1e-6 + 1e-30)
    noises = [_noise(scale, peak, seen.mean_square, columns, importance, free) for scale in candidates]
    return candidates[int(np.argmin(noises))]


def _noise(
    scale: np.ndarray, peak: np.ndarray, mean_square: np.ndarray, columns: np.ndarray, importance: np.ndarray, free: bool
) -> float:
    """Expected squared rounding error of the next layer's outputs, in units of their variance, times 12.

    A rounding step d makes an error of variance d²/12: one step of the activation, and one of
    each output channel's weights.
    """
    scaled = columns * scale
    step = (peak / scale).max() / 255
    noise = step**2 * (importance * (scaled**2).sum(axis=1)).sum()
    if not free:  # a depthwise channel's weights round as before, whatever its scale
        weight_steps = scaled.max(axis=1) / 127
        noise += (importance * weight_steps**2).sum() * (mean_square / scale**2).sum()
    return float(noise)


def _next_weights(layers: list[Layer], place: int) -> int | None:
    return next((n for n in range(place + 1, len(layers)) if isinstance(layers[n], (Convolution, Linear))), None)


def _per_channel(layer: Layer) -> bool:
    return isinstance(layer, Convolution) and layer.depthwise


def _columns(layer: Layer) -> np.ndarray:
    """Magnitudes ``[out, in]``; kernels by their largest tap, depthwise as a diagonal."""
    if isinstance(layer, Linear):
        return np.abs(layer.weight.T.astype(np.float64))
    largest = np.abs(layer.kernel.astype(np.float64)).max(axis=(0, 1))
    return np.diag(largest[:, 0]) if layer.depthwise else largest.T


def _scale_outputs(layer: Convolution, scale: np.ndarray) -> Convolution:
    shape = (-1, 1) if layer.depthwise else (-1,)
    kernel = layer.kernel * scale.reshape(shape)
    return replace(layer, kernel=kernel.astype(np.float32), bias=(layer.bias * scale).astype(np.float32))


def _scale_inputs(layer: Layer, scale: np.ndarray) -> Layer:
    if isinstance(layer, Linear):
        return replace(layer, weight=(layer.weight * scale[:, None]).astype(np.float32))
    return replace(layer, kernel=(layer.kernel * scale[:, None]).astype(np.float32))
