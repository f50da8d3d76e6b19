"""The folded graph in PyTorch, layer by layer, and statistics of its values over the calibration images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from export.graph.folded import Add, Convolution, FoldedGraph, L2Norm, Layer, Linear, MeanPool

__all__ = ["LayerStatistics", "activate", "batches", "linear_part", "observe", "run", "weight"]


def batches(images: Iterable[np.ndarray], size: int = 16) -> Iterator[Tensor]:
    """Yield scaled images ``[1, side, side, 3]`` in batches: float32 ``[n, 3, side, side]``, n at most ``size``."""
    waiting: list[np.ndarray] = []
    for image in images:
        waiting.append(image)
        if len(waiting) == size:
            yield _stack(waiting)
            waiting = []
    if waiting:
        yield _stack(waiting)


def _stack(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.concatenate(images).transpose(0, 3, 1, 2)))


def weight(layer: Convolution | Linear) -> Tensor:
    """Return weights with the output channel first: ``[out, in / groups, h, w]`` or ``[out, in]``."""
    if isinstance(layer, Linear):
        return torch.from_numpy(layer.weight.T.copy())
    order = (2, 3, 0, 1) if layer.depthwise else (3, 2, 0, 1)
    return torch.from_numpy(layer.kernel.transpose(order).copy())


def linear_part(
    layer: Layer, values: Tensor, weights: Tensor | None = None, bias: Tensor | None = None, other: Tensor | None = None
) -> Tensor:
    """Compute a layer up to its activation, bias included.

    Args:
        layer: any layer of a folded graph.
        values: ``[n, C, h, w]``, after the mean ``[n, C]``.
        weights: used in place of the layer's weights, output channel first.
        bias: used in place of the layer's bias, ``[C]``.
        other: second input of an ``Add``.
    """
    match layer:
        case Convolution():
            kernel = weight(layer) if weights is None else weights
            added = torch.from_numpy(layer.bias) if bias is None else bias
            groups = layer.channels if layer.depthwise else 1
            rows, columns = layer.pads(values.shape[2:])
            if any(before != after for before, after in (rows, columns)):
                values, padding = F.pad(values, [*columns, *rows]), (0, 0)
            else:  # without a copy
                padding = (rows[0], columns[0])
            return F.conv2d(values, kernel, added, layer.stride, padding, groups=groups)
        case Add():
            assert other is not None
            return values + other
        case MeanPool():
            return values.mean(dim=(2, 3))
        case Linear():
            added = torch.from_numpy(layer.bias) if bias is None else bias
            return F.linear(values, weight(layer) if weights is None else weights, added)
        case L2Norm():
            return F.normalize(values, dim=1)
    raise TypeError(type(layer))


def activate(layer: Layer, values: Tensor) -> Tensor:
    """Apply the layer's ReLU6, if it has one."""
    return values.clamp(0, 6) if isinstance(layer, Convolution) and layer.relu6 else values


def run(graph: FoldedGraph, images: Tensor, visit: Callable[[Layer, Tensor, Tensor], None] | None = None) -> Tensor:
    """Compute the network: ``[n, 3, side, side]`` to ``[n, D]``.

    Args:
        graph: the folded network.
        images: scaled images.
        visit: called for each layer with the layer and its output before and after the activation.
    """

    def step(layer: Layer, inputs: tuple[Tensor, ...]) -> Tensor:
        values, *others = inputs
        before = linear_part(layer, values, None, None, *others)
        after = activate(layer, before)
        if visit:
            visit(layer, before, after)
        return after

    return graph.flow(images, step)


@dataclass
class LayerStatistics:
    """Statistics of one layer's output over all calibration images.

    Attributes:
        peak: float64 ``[C]``, largest value of each channel before the activation.
        lowest: float64 ``[C]``, smallest value of each channel before the activation.
        mean_square: float64 ``[C]``, mean square of each channel after the activation.
        variance: float64 ``[C]``, variance of each channel before the activation.
        low, high: smallest and largest value after the activation, as in min/max calibration.
    """

    peak: np.ndarray
    lowest: np.ndarray
    mean_square: np.ndarray
    variance: np.ndarray
    low: float
    high: float


def observe(graph: FoldedGraph, images: Iterable[np.ndarray]) -> dict[str, LayerStatistics]:
    """Return the statistics of every layer, by layer name.

    Args:
        graph: the folded network.
        images: scaled, float32 ``[1, side, side, 3]``, one by one.
    """
    seen: dict[str, LayerStatistics] = {}
    counts: dict[str, int] = {}
    sums: dict[str, list[np.ndarray]] = {}

    def visit(layer: Layer, before: Tensor, after: Tensor) -> None:
        axes = [axis for axis in range(before.ndim) if axis != 1]
        exact = before.double()
        parts = [exact.sum(axes).numpy(), (exact**2).sum(axes).numpy(), (after.double() ** 2).sum(axes).numpy()]
        peak, lowest = (ends.double().numpy() for ends in (before.amax(axes), before.amin(axes)))
        low, high = float(after.min()), float(after.max())
        counts[layer.name] = counts.get(layer.name, 0) + before.numel() // before.shape[1]
        if layer.name in seen:
            old = seen[layer.name]
            peak, lowest = np.maximum(peak, old.peak), np.minimum(lowest, old.lowest)
            low, high = min(low, old.low), max(high, old.high)
            parts = [new + sum_ for new, sum_ in zip(parts, sums[layer.name], strict=True)]
        sums[layer.name] = parts
        count = counts[layer.name]
        variance = np.maximum(parts[1] / count - (parts[0] / count) ** 2, 0)
        seen[layer.name] = LayerStatistics(peak, lowest, parts[2] / count, variance, low, high)

    with torch.inference_mode():
        for batch in batches(images):
            run(graph, batch, visit)
    return seen
