"""The folded network in PyTorch as int8 computes it, with gradients.

Training learns the logarithm of each activation's scale. Zero points stay as calibrated: -128 after ReLU6 and its mean,
elsewhere the level of 0. The scale of weights is max / 127 per output channel at every step. ReLU6 needs no separate
operation: levels cannot go below 0, and the scale is kept at 6 / 255 or below. Rounding and its gradients are in
``export.int8.torch_arithmetic``.

Weights are held relative to the largest of their output channel and biases relative to the channel's
standard deviation, so that one optimizer step has the same effect on channels of small and of large values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from export.graph.folded import Convolution, FoldedGraph, L2Norm, Layer, Linear
from export.graph.torch_network import LayerStatistics, linear_part, weight
from export.int8.arithmetic import INT8_STEPS, L2_SCALE, QuantParams, scale_and_zero_point
from export.int8.quantized_graph import IntegerLayer, IntegerWeights, QuantizedGraph
from export.int8.torch_arithmetic import (
    bias_levels,
    bias_scale,
    channel_scale,
    fake_quantize,
    per_channel,
    weight_levels,
)

__all__ = ["FakeQuantNetwork"]

_CLIP = 6.0
_MOST_BIAS = 2.0**30  # levels: leaves room in an int32 for the sum that the bias is added to
_SMALLEST = 2.0**-20
_Rounded = tuple[Tensor, Tensor]  # rounded values, and their scale


class FakeQuantNetwork(nn.Module):
    """A folded network whose weights, biases and activation scales can be trained.

    Args:
        graph: the folded network to start from.
        seen: statistics of its layers over the calibration images; the initial ranges are their min/max.
        entry: scale and zero point of the input.
    """

    def __init__(self, graph: FoldedGraph, seen: Mapping[str, LayerStatistics], entry: QuantParams) -> None:
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
            scale, self._zero[key] = scale_and_zero_point(seen[layer.name].low, seen[layer.name].high)
            self.scales[key] = nn.Parameter(torch.tensor(math.log(scale)))
            if isinstance(layer, (Convolution, Linear)):
                first = weight(layer)
                largest = first.flatten(1).abs().amax(dim=1)
                unit = largest.clamp_min(max(float(largest.max()) * _SMALLEST, 1e-30))
                deviation = torch.from_numpy(np.sqrt(seen[layer.name].variance)).float()
                self._weight_unit[key] = per_channel(unit, first)
                self._bias_unit[key] = deviation.clamp_min(max(float(deviation.max()) * _SMALLEST, 1e-30))
                self.weights[key] = nn.Parameter(first / self._weight_unit[key])
                self.biases[key] = nn.Parameter(torch.from_numpy(layer.bias) / self._bias_unit[key])
        self.stay_in_range()

    def forward(self, images: Tensor) -> Tensor:
        """Map scaled images ``[n, 3, side, side]`` to ``[n, D]``: multiples of 1/128, so not exactly of unit length."""
        return self.trace(images)[-1]

    def trace(self, images: Tensor) -> list[Tensor]:
        """Return the output of every layer, in order."""
        outputs: list[Tensor] = []

        def step(layer: Layer, inputs: tuple[_Rounded, ...]) -> _Rounded:
            (values, input_scale), *others = inputs
            rounded = self.layer(layer, input_scale, values, *(other for other, _ in others))
            outputs.append(rounded)
            return rounded, self._output_params(layer)[0]

        scale = torch.tensor(self.entry.scale)
        self.graph.flow((fake_quantize(images, scale, self.entry.zero_point), scale), step)
        return outputs

    def layer(self, layer: Layer, input_scale: Tensor, values: Tensor, other: Tensor | None = None) -> Tensor:
        """Compute one layer.

        Args:
            layer: the layer.
            input_scale: scale of ``values``.
            values: its input, rounded.
            other: second input of an ``Add``, rounded.
        """
        weights, bias = None, None
        if isinstance(layer, (Convolution, Linear)):
            exact, scale, bias, step = self._weights(layer, input_scale)
            rounded = weight_levels(exact.detach(), scale) * per_channel(scale, exact)
            weights = exact + (rounded - exact).detach()
            bias = bias + (bias_levels(bias.detach(), step) * step - bias).detach()
        return fake_quantize(linear_part(layer, values, weights, bias, other), *self._output_params(layer))

    @torch.no_grad()
    def stay_in_range(self) -> None:
        """Limit scales after ReLU6, which would lose the levels above 6. Call it after every optimizer step."""
        for layer in self.graph.layers:
            if isinstance(layer, Convolution) and layer.relu6:
                self.scales[_key(layer)].clamp_(max=math.log(_CLIP / INT8_STEPS))

    def quantized(self) -> QuantizedGraph:
        """Return the integers that ``forward`` computes with, and the float network that they round.

        Raises:
            FloatingPointError: a parameter is not finite.
        """
        layers, floats = [], []

        def settle(layer: Layer, inputs: tuple[Tensor, ...]) -> Tensor:
            weights, exact = None, layer
            if isinstance(layer, (Convolution, Linear)):
                values, step, bias, bias_step = self._weights(layer, inputs[0])
                levels, whole = weight_levels(values, step), bias_levels(bias, bias_step)
                if not (torch.isfinite(levels).all() and torch.isfinite(whole).all()):
                    raise FloatingPointError(layer.name)
                weights = IntegerWeights(
                    levels.to(torch.int8).numpy(), step.numpy(), whole.to(torch.int32).numpy(), bias_step.numpy()
                )
                exact = _replaced(layer, values, bias)
            scale, zero = self._output_params(layer)
            layers.append(IntegerLayer(layer.name, QuantParams(float(scale), zero), weights))
            floats.append(exact)
            return scale

        with torch.no_grad():
            self.graph.flow(torch.tensor(self.entry.scale), settle)
        return QuantizedGraph(FoldedGraph(self.graph.side, tuple(floats)), self.entry, tuple(layers))

    def _output_params(self, layer: Layer) -> tuple[Tensor, int]:
        if isinstance(layer, L2Norm):
            return torch.tensor(L2_SCALE), 0
        return self.scales[_key(layer)].exp(), self._zero[_key(layer)]

    def _weights(self, layer: Convolution | Linear, input_scale: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return weights, their scale ``[out]``, bias and its scale ``[out]``; no gradient through the scales."""
        key = _key(layer)
        exact = self.weights[key] * self._weight_unit[key]
        bias = self.biases[key] * self._bias_unit[key]
        with torch.no_grad():
            # A channel of tiny weights and a large bias would need more than 32 bits for the bias.
            scale = torch.maximum(channel_scale(exact), bias.abs() / (input_scale * _MOST_BIAS))
            return exact, scale, bias, bias_scale(scale, input_scale)


def _key(layer: Layer) -> str:
    return layer.name.replace(".", "_")  # module names cannot contain dots


def _replaced(layer: Convolution | Linear, weights: Tensor, bias: Tensor) -> Layer:
    if isinstance(layer, Linear):
        return replace(layer, weight=weights.numpy().T.copy(), bias=bias.numpy())
    order = (2, 3, 0, 1) if layer.depthwise else (2, 3, 1, 0)
    return replace(layer, kernel=np.ascontiguousarray(weights.numpy().transpose(order)), bias=bias.numpy())
