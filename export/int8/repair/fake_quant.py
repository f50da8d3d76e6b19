"""The folded network in PyTorch as int8 will compute it, with gradients.

Rounding passes gradients straight through (Bengio et al., arXiv 1308.3432). The scale of each activation is
learned with LSQ's gradient (Esser et al., "Learned Step Size Quantization", arXiv 1902.08153, equation 3) in
its logarithm; zero points stay as calibrated: -128 behind ReLU6 and the mean of it, elsewhere wherever 0 lies.
Weights get max / 127 per output channel at every step. ReLU6 is no operation of its own: levels cannot go below 0, and the
scale is kept at 6 / 255 or below.

Weights are held relative to the largest of their output channel and biases relative to the channel's
standard deviation, so that one step of the optimizer is as large for a channel of small values as for one of large ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from export.graph.folded import Convolution, FoldedGraph, L2Norm, Layer, Linear
from export.int8.integers import L2_SCALE, Grid, IntegerLayer, IntegerWeights, QuantizedGraph
from export.int8.repair.network import Observed, linear_part, weight

__all__ = ["FakeQuantNetwork", "on_grid"]

_CLIP = 6.0
_MOST_BIAS = 2.0**30  # levels: an int32 with room for the sum that it is added to
_SMALLEST = 2.0**-20
_Rounded = tuple[Tensor, Tensor]  # values on a grid, and its scale


class _Round(torch.autograd.Function):
    """``values`` to the nearest of ``(level - zero) * scale``, level in ``low..high``."""

    @staticmethod
    def forward(ctx, values: Tensor, scale: Tensor, zero: int, low: int, high: int) -> Tensor:  # type: ignore[override]
        steps = values / scale
        ctx.save_for_backward(steps)
        ctx.limits = low - zero, high - zero
        return steps.round().clamp_(*ctx.limits).mul_(scale)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[override]
        (steps,) = ctx.saved_tensors
        low, high = ctx.limits
        inside = (steps >= low - 0.5) & (steps <= high + 0.5)
        to_scale = None
        if ctx.needs_input_grad[1]:
            error = steps.round().clamp_(low, high).sub_(steps.mul(inside))
            to_scale = (gradient * error).sum()
        return gradient * inside, to_scale, None, None, None


def on_grid(values: Tensor, scale: Tensor, zero_point: int) -> Tensor:
    """Values as an int8 tensor holds them; gradients for ``values`` and ``scale``.

    Args:
        values: any shape.
        scale: float32 scalar, above 0.
        zero_point: -128..127.
    """
    return _Round.apply(values, scale, zero_point, -128, 127)


class FakeQuantNetwork(nn.Module):
    """A folded network whose weights, biases and activation scales can be trained.

    Args:
        graph: the folded network to start from.
        seen: what its layers do over the calibration images: first ranges are min/max.
        entry: grid of the input.
    """

    def __init__(self, graph: FoldedGraph, seen: Mapping[str, Observed], entry: Grid) -> None:
        super().__init__()
        self.graph, self.entry = graph, entry
        self.weights, self.biases, self.scales = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        self._weight_unit: dict[str, Tensor] = {}
        self._bias_unit: dict[str, Tensor] = {}
        self._zero: dict[str, int] = {}
        for layer in graph.layers:
            key = _key(layer)
            if isinstance(layer, L2Norm):
                continue
            scale, self._zero[key] = _first_grid(layer, seen[layer.name])
            self.scales[key] = nn.Parameter(torch.tensor(math.log(scale)))
            if isinstance(layer, (Convolution, Linear)):
                first = weight(layer)
                largest = first.flatten(1).abs().amax(dim=1)
                unit = largest.clamp_min(max(float(largest.max()) * _SMALLEST, 1e-30))
                deviation = torch.from_numpy(np.sqrt(seen[layer.name].variance)).float()
                self._weight_unit[key] = unit.reshape(-1, *[1] * (first.ndim - 1))
                self._bias_unit[key] = deviation.clamp_min(max(float(deviation.max()) * _SMALLEST, 1e-30))
                self.weights[key] = nn.Parameter(first / self._weight_unit[key])
                self.biases[key] = nn.Parameter(torch.from_numpy(layer.bias) / self._bias_unit[key])
        self.stay_in_range()

    def forward(self, images: Tensor) -> Tensor:
        """Scaled images ``[n, 3, side, side]`` to ``[n, D]``, rows on the grid of 1/128, not exactly unit."""
        return self.trace(images)[-1]

    def trace(self, images: Tensor) -> list[Tensor]:
        """The output of every layer, in order."""
        outputs: list[Tensor] = []

        def step(layer: Layer, inputs: tuple[_Rounded, ...]) -> _Rounded:
            (values, input_scale), *others = inputs
            rounded = self.layer(layer, input_scale, values, *(other for other, _ in others))
            outputs.append(rounded)
            return rounded, self._grid(layer)[0]

        scale = torch.tensor(self.entry.scale)
        self.graph.flow((on_grid(images, scale, self.entry.zero_point), scale), step)
        return outputs

    def layer(self, layer: Layer, input_scale: Tensor, values: Tensor, other: Tensor | None = None) -> Tensor:
        """One layer of rounded values, whose scale is ``input_scale``; ``other``: what an ``Add`` adds."""
        weights, bias = None, None
        if isinstance(layer, (Convolution, Linear)):
            exact, scale, bias, bias_scale = self._weights(layer, input_scale)
            levels = (exact.detach() / _like(scale, exact)).round().clamp_(-127, 127) * _like(scale, exact)
            weights = exact + (levels - exact).detach()
            bias = bias + ((bias.detach() / bias_scale).round() * bias_scale - bias).detach()
        return on_grid(linear_part(layer, values, weights, bias, other), *self._grid(layer))

    @torch.no_grad()
    def stay_in_range(self) -> None:
        """To be called after every step: levels above 6 would be lost behind ReLU6."""
        for layer in self.graph.layers:
            if isinstance(layer, Convolution) and layer.relu6:
                self.scales[_key(layer)].clamp_(max=math.log(_CLIP / 255))

    def quantized(self) -> QuantizedGraph:
        """The integers that ``forward`` computes with, and the float network behind them.

        Raises:
            FloatingPointError: a parameter is not finite.
        """
        layers, floats = [], []

        def settle(layer: Layer, inputs: tuple[Tensor, ...]) -> Tensor:
            weights, exact = None, layer
            if isinstance(layer, (Convolution, Linear)):
                values, step, bias, bias_step = self._weights(layer, inputs[0])
                levels = (values / _like(step, values)).round().clamp_(-127, 127)
                whole = (bias / bias_step).round()
                if not (torch.isfinite(levels).all() and torch.isfinite(whole).all()):
                    raise FloatingPointError(layer.name)
                weights = IntegerWeights(
                    levels.to(torch.int8).numpy(), step.numpy(), whole.to(torch.int32).numpy(), bias_step.numpy()
                )
                exact = _replaced(layer, values, bias)
            scale, zero = self._grid(layer)
            layers.append(IntegerLayer(layer.name, Grid(float(scale), zero), weights))
            floats.append(exact)
            return scale

        with torch.no_grad():
            self.graph.flow(torch.tensor(self.entry.scale), settle)
        return QuantizedGraph(FoldedGraph(self.graph.side, tuple(floats)), self.entry, tuple(layers))

    def _grid(self, layer: Layer) -> tuple[Tensor, int]:
        if isinstance(layer, L2Norm):
            return torch.tensor(L2_SCALE), 0
        return self.scales[_key(layer)].exp(), self._zero[_key(layer)]

    def _weights(self, layer: Convolution | Linear, input_scale: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights, their scale ``[out]`` and the bias and its scale ``[out]``; no gradient through the scales."""
        key = _key(layer)
        exact = self.weights[key] * self._weight_unit[key]
        bias = self.biases[key] * self._bias_unit[key]
        with torch.no_grad():
            scale = exact.flatten(1).abs().amax(dim=1) / 127
            # A channel of tiny weights and a large bias would need more than 32 bits for the bias.
            scale = torch.maximum(scale, bias.abs() / (input_scale * _MOST_BIAS)).clamp_min(1e-30)
            return exact, scale, bias, scale * input_scale


def _first_grid(layer: Layer, seen: Observed) -> tuple[float, int]:
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    scale = (high - low) / 255 or 1.0
    return scale, round(-128 - low / scale)


def _key(layer: Layer) -> str:
    return layer.name.replace(".", "_")  # module names know no dots


def _like(scale: Tensor, values: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (values.ndim - 1))


def _replaced(layer: Convolution | Linear, weights: Tensor, bias: Tensor) -> Layer:
    from dataclasses import replace

    if isinstance(layer, Linear):
        return replace(layer, weight=weights.numpy().T.copy(), bias=bias.numpy())
    order = (2, 3, 0, 1) if layer.depthwise else (2, 3, 1, 0)
    return replace(layer, kernel=np.ascontiguousarray(weights.numpy().transpose(order)), bias=bias.numpy())
