"""Bias correction: subtract from each bias the mean error that rounding adds to its channel.

Nagel et al., "Data-Free Quantization" (arXiv 1906.04721), section 4.2, in the variant that uses data: layer by
layer from the input on, the mean over calibration images of the difference between quantized and float
outputs before the activation, with all earlier layers quantized and already corrected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from export.graph.folded import Convolution, FoldedGraph, Layer, Linear
from export.graph.torch_network import activate, batches, linear_part
from export.int8.simulation import as_int8, quantized_weight

__all__ = ["CORRECTION_IMAGES", "correct_bias"]

CORRECTION_IMAGES = 64  # means over images and positions: more images change a bias by less than a level


def correct_bias(graph: FoldedGraph, images: Iterable[np.ndarray]) -> FoldedGraph:
    """Return the graph with corrected biases: less exact in float, more exact in int8.

    Args:
        graph: the folded network, equalized or not.
        images: calibration images, scaled, float32 ``[1, side, side, 3]``; the first
            ``CORRECTION_IMAGES`` of them are used.
    """
    layers: list[Layer] = []

    def step(layer: Layer, inputs: tuple[_Both, ...]) -> _Both:
        corrected, both = _correct(layer, inputs)
        layers.append(corrected)
        return both

    with torch.inference_mode():
        exact = list(batches(islice(images, CORRECTION_IMAGES)))
        graph.flow((exact, exact), step)
    return FoldedGraph(graph.side, tuple(layers))


_Both = tuple[list[Tensor], list[Tensor]]  # batches of an activation in float, and as int8 holds them


def _correct(layer: Layer, inputs: Sequence[_Both]) -> tuple[Layer, _Both]:
    weights = quantized_weight(layer) if isinstance(layer, (Convolution, Linear)) else None
    wanted = _outputs(layer, [exact for exact, _ in inputs], None)
    got = _outputs(layer, [coarse for _, coarse in inputs], weights)
    if isinstance(layer, (Convolution, Linear)):
        shift = _mean_error(got, wanted)
        layer = replace(layer, bias=layer.bias - shift.numpy())
        shift = shift.reshape(1, -1, *[1] * (got[0].ndim - 2))
        got = [values - shift for values in got]
    exact = [activate(layer, values) for values in wanted]
    # The converter measures ranges on the corrected network in float, which differ little from these.
    low, high = min(float(v.min()) for v in exact), max(float(v.max()) for v in exact)
    return layer, (exact, [as_int8(layer, activate(layer, values), low, high) for values in got])


def _outputs(layer: Layer, inputs: Sequence[list[Tensor]], weights: Tensor | None) -> list[Tensor]:
    """Return the layer's output before its activation for each batch of its one or two inputs."""
    return [linear_part(layer, values, weights, None, *others) for values, *others in zip(*inputs, strict=True)]


def _mean_error(got: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Return the mean of ``got - wanted`` over images and positions, float32 ``[C]``."""
    sums, count = torch.zeros(got[0].shape[1], dtype=torch.float64), 0
    for one, other in zip(got, wanted, strict=True):
        difference = (one - other).double().transpose(0, 1).flatten(1)
        sums += difference.sum(dim=1)
        count += difference.shape[1]
    return (sums / count).float()
