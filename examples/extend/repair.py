"""A repair of int8: clip weights far from zero, which leave few levels to the others of their channel.

Register the method under ``distill_to_phone.repairs``, e.g. ``clip = "my_package.repair:CLIP"``; ``distill-export --repair
clip`` then applies it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from export.graph.folded import Convolution, FoldedGraph, Layer, Linear
from export.int8.repair.methods import RepairMethod

DEVIATIONS = 2.5


def clip_weights(graph: FoldedGraph, images: Iterable[np.ndarray]) -> FoldedGraph:
    """Clip the weights of each output channel at ``DEVIATIONS`` times their root mean square."""
    return replace(graph, layers=tuple(map(_clipped, graph.layers)))


def _clipped(layer: Layer) -> Layer:
    if isinstance(layer, Linear):
        return replace(layer, weight=_clip(layer.weight, axis=0))
    if isinstance(layer, Convolution):
        return replace(layer, kernel=_clip(layer.kernel, axis=(0, 1) if layer.depthwise else (0, 1, 2)))
    return layer


def _clip(weights: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    limit = DEVIATIONS * np.sqrt((weights**2).mean(axis=axis, keepdims=True))
    return np.clip(weights, -limit, limit)


CLIP = RepairMethod(changing=(f"{__name__}:clip_weights",), auto=False)
