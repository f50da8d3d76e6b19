"""The network that all builders share: a plain list of layers with numpy constants.

Batch norm is folded away and ReLU6 is a flag, so that a builder has one operator to write
for each layer. ``run`` computes it in numpy float64: the reference in tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Convolution", "FoldedGraph", "L2Norm", "Layer", "Linear", "MeanPool", "same_padding"]


@dataclass(frozen=True)
class Convolution:
    """Convolution with TensorFlow's SAME padding, bias, and ReLU6 where ``relu6``.

    kernel: float32 ``[h, w, in, out]``; depthwise: ``[h, w, channels, 1]``. bias: float32 ``[out]``.
    At stride 2 and an even side, SAME pads nothing before and one row/column after.
    """

    name: str
    kernel: np.ndarray
    bias: np.ndarray
    stride: int
    relu6: bool
    depthwise: bool = False

    @property
    def channels(self) -> int:
        """Output channels."""
        return len(self.bias)


@dataclass(frozen=True)
class MeanPool:
    """Mean over height and width: ``[N, h, w, C]`` to ``[N, C]``."""

    name: str


@dataclass(frozen=True)
class Linear:
    """``x @ weight + bias``; weight float32 ``[in, out]``, bias float32 ``[out]``."""

    name: str
    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class L2Norm:
    """Each row divided by its length."""

    name: str


Layer = Convolution | MeanPool | Linear | L2Norm


@dataclass(frozen=True)
class FoldedGraph:
    """Layers in order, from the scaled image ``[N, side, side, 3]`` to unit rows ``[N, D]``."""

    side: int
    layers: tuple[Layer, ...]

    @property
    def embedding_size(self) -> int:
        """Length of an embedding."""
        sizes = [len(layer.bias) for layer in self.layers if isinstance(layer, (Convolution, Linear))]
        return sizes[-1]

    def run(self, images: np.ndarray) -> np.ndarray:
        """Reference arithmetic in float64, slow: images scaled, ``[N, H, W, 3]``; returns ``[N, D]``."""
        values = images.astype(np.float64)
        for layer in self.layers:
            values = _apply(layer, values)
        return values


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Rows (or columns) that TensorFlow's SAME adds before and after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _apply(layer: Layer, values: np.ndarray) -> np.ndarray:
    match layer:
        case Convolution():
            return _convolve(layer, values)
        case MeanPool():
            return values.mean(axis=(1, 2))
        case Linear():
            return values @ layer.weight.astype(np.float64) + layer.bias
        case L2Norm():
            return values / np.linalg.norm(values, axis=1, keepdims=True)


def _convolve(layer: Convolution, values: np.ndarray) -> np.ndarray:
    rows, columns = layer.kernel.shape[:2]
    pads = [same_padding(side, k, layer.stride) for side, k in zip(values.shape[1:3], (rows, columns), strict=True)]
    padded = np.pad(values, [(0, 0), *pads, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns), axis=(1, 2))
    windows = windows[:, :: layer.stride, :: layer.stride]  # [N, h, w, C, rows, columns]
    kernel = layer.kernel.astype(np.float64)
    if layer.depthwise:
        result = np.einsum("nhwcij,ijc->nhwc", windows, kernel[..., 0])
    else:
        result = np.einsum("nhwcij,ijco->nhwo", windows, kernel, optimize=True)
    result += layer.bias
    return np.clip(result, 0, 6) if layer.relu6 else result
