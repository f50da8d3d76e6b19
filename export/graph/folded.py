"""The folded network: a list of layers with NumPy constants, from which all files of our own route are built.

Batch norm is folded away and ReLU6 is a flag, so that each layer corresponds to about one operator in a file. A layer reads the
output of the one before it; ``Add`` also names an earlier one. ``FoldedGraph.flow`` implements this traversal; callers
supply only the computation of a single layer. ``FoldedGraph.run`` computes the network in NumPy float64 and is the
reference in tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from distill.models.padding import same_padding

__all__ = ["INPUT", "Add", "Convolution", "FoldedGraph", "L2Norm", "Layer", "Linear", "MeanPool"]

INPUT = "image"
Value = TypeVar("Value")


@dataclass(frozen=True)
class Convolution:
    """Convolution, bias, and ReLU6 where ``relu6``.

    Attributes:
        kernel: float32 ``[h, w, in, out]``; depthwise: ``[h, w, channels, 1]``.
        bias: float32 ``[out]``.
        padding: ``None`` for TensorFlow's SAME. An integer: zeros on every side of a square kernel, as in PyTorch;
            this differs from SAME at stride 2 and an even side, where SAME pads only one row and column at the end.
            ``"right"``: rows as SAME, columns at the end only, so that each window begins at a multiple of the stride.
    """

    name: str
    kernel: np.ndarray
    bias: np.ndarray
    stride: int
    relu6: bool
    depthwise: bool = False
    padding: int | Literal["right"] | None = None

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return len(self.bias)

    def pads(self, sides: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the rows, and the columns, of zeros before and after a map of these sides that windows read."""
        rows, columns = (self._pads(side, size) for side, size in zip(sides, self.kernel.shape[:2], strict=True))
        if self.padding == "right":
            columns = (0, (self.cells(sides[1]) - 1) * self.stride + self.kernel.shape[1] - sides[1])
        return rows, columns

    def _pads(self, side: int, size: int) -> tuple[int, int]:
        if not isinstance(self.padding, int):
            return same_padding(side, size, self.stride)
        cells = (side + 2 * self.padding - size) // self.stride + 1
        return self.padding, max((cells - 1) * self.stride + size - side - self.padding, 0)

    def cells(self, side: int) -> int:
        """Return the side of the output for an input of this side."""
        if not isinstance(self.padding, int):
            return -(-side // self.stride)
        return (side + 2 * self.padding - self.kernel.shape[0]) // self.stride + 1

    def is_same(self, sides: Sequence[int]) -> bool:
        """Return whether SAME pads a map of these sides in the same way."""
        sizes = zip(sides, self.kernel.shape[:2], strict=True)
        return self.pads(sides) == tuple(same_padding(side, size, self.stride) for side, size in sizes)

    def grouped_kernel(self, width: int) -> np.ndarray | None:
        """Return the kernel for a map reshaped to ``[h, width / stride, stride * in]``, its order in memory.

        Stride 1 along the rows and SAME then give the same sums: ``[h, w / stride, stride * in, out]``. ``None`` if
        windows do not begin and end between such groups of columns.
        """
        height, across, channels, out = self.kernel.shape
        if self.padding != "right" or width % self.stride or across != 2 * self.stride:
            return None
        return self.kernel.reshape(height, 2, self.stride * channels, out)


@dataclass(frozen=True)
class Add:
    """Sum of the preceding layer and the earlier layer ``other``, of the same shape."""

    name: str
    other: str


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


Layer = Convolution | Add | MeanPool | Linear | L2Norm


@dataclass(frozen=True)
class FoldedGraph:
    """Layers in order, from the scaled image ``[N, side, side, 3]`` to unit rows ``[N, D]``.

    Raises:
        ValueError: two layers share a name, or an ``Add`` names no earlier layer.
    """

    side: int
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        known: set[str] = set()
        for layer in self.layers:
            if layer.name in known:
                raise ValueError(f"{layer.name}: a layer of this name exists already")
            if isinstance(layer, Add) and layer.other not in known:
                raise ValueError(f"{layer.name}: adds {layer.other}, which is no earlier layer")
            known.add(layer.name)

    def flow(self, image: Value, compute: Callable[[Layer, tuple[Value, ...]], Value]) -> Value:
        """Pass ``image`` through all layers and return the output of the last one.

        Args:
            image: input of the first layer: an array, the name of a tensor, or anything else.
            compute: gives the output of a layer from its inputs (two for ``Add``, otherwise one).

        Outputs that no later ``Add`` reads are not kept.
        """
        asked = [layer.other for layer in self.layers if isinstance(layer, Add)]
        kept: dict[str, Value] = {}
        value = image
        for layer in self.layers:
            inputs: tuple[Value, ...] = (value,)
            if isinstance(layer, Add):
                inputs = (value, kept[layer.other])
                asked.remove(layer.other)
                if layer.other not in asked:
                    del kept[layer.other]
            value = compute(layer, inputs)
            if layer.name in asked:
                kept[layer.name] = value
        return value

    @property
    def embedding_size(self) -> int:
        """Length of an embedding."""
        sizes = [len(layer.bias) for layer in self.layers if isinstance(layer, (Convolution, Linear))]
        return sizes[-1]

    def run(self, images: np.ndarray) -> np.ndarray:
        """Compute the network in float64, slowly: scaled images ``[N, H, W, 3]`` to ``[N, D]``."""
        return self.flow(images.astype(np.float64), lambda layer, inputs: _apply(layer, *inputs))


def _apply(layer: Layer, values: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
    match layer:
        case Convolution():
            return _convolve(layer, values)
        case Add():
            return values + other
        case MeanPool():
            return values.mean(axis=(1, 2))
        case Linear():
            return values @ layer.weight.astype(np.float64) + layer.bias
        case L2Norm():
            return values / np.linalg.norm(values, axis=1, keepdims=True)


def _convolve(layer: Convolution, values: np.ndarray) -> np.ndarray:
    rows, columns = layer.kernel.shape[:2]
    padded = np.pad(values, [(0, 0), *layer.pads(values.shape[1:3]), (0, 0)])
    windows: np.ndarray = np.lib.stride_tricks.sliding_window_view(padded, [rows, columns], axis=(1, 2))  # type: ignore[call-overload]
    windows = windows[:, :: layer.stride, :: layer.stride]  # [N, h, w, C, rows, columns]
    kernel = layer.kernel.astype(np.float64)
    if layer.depthwise:
        result = np.einsum("nhwcij,ijc->nhwc", windows, kernel[..., 0])
    else:
        result = np.einsum("nhwcij,ijco->nhwo", windows, kernel, optimize=True)
    result += layer.bias
    return np.clip(result, 0, 6) if layer.relu6 else result
