"""Measures how much the embedding changes when a single layer is rounded to int8.

The layer report (``export.int8.layer_errors``) shows every layer's error including those of earlier layers. Here each
convolution and linear layer is rounded alone, weights and output, while all other layers stay float. The
sensitivity is 1 - cosine of the embeddings, mean over images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from distill.console import UsageFailure, suggest
from export.graph.folded import Convolution, FoldedGraph, Layer, Linear

if TYPE_CHECKING:
    import torch

__all__ = ["SENSITIVITY_IMAGES", "Exclusion", "chosen_layers", "parse_exclusion", "sensitivities"]

SENSITIVITY_IMAGES = 16


@dataclass(frozen=True)
class Exclusion:
    """Layers that stay float.

    Attributes:
        worst: number of most sensitive layers.
        names: further layers, by name.
    """

    worst: int = 0
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ",".join([*([str(self.worst)] if self.worst else []), *self.names])

    def __bool__(self) -> bool:
        return bool(self.worst or self.names)


def parse_exclusion(text: str) -> Exclusion:
    """Parse ``3``, ``conv1,conv_dw_1`` or ``2,conv1``: a number of most sensitive layers, names, or both.

    Raises:
        UsageFailure: two numbers, a number below 0, or only commas.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    numbers = [word for word in words if word.lstrip("-").isdigit()]
    if len(numbers) > 1 or any(int(number) < 0 for number in numbers) or (text and not words):
        raise UsageFailure(
            f"--exclude-layers {text}", "write a number or comma-separated names, e.g. 3 or conv1,conv_dw_1"
        )
    return Exclusion(int(numbers[0]) if numbers else 0, tuple(word for word in words if word not in numbers))


def chosen_layers(exclusion: Exclusion, graph: FoldedGraph, images: Iterable[np.ndarray]) -> tuple[str, ...]:
    """Return the names of the layers to keep in float, in the order of the network.

    Raises:
        UsageFailure: the graph has no layer of this name, or no layer would remain.
    """
    known = [layer.name for layer in graph.layers]
    for name in exclusion.names:
        if name not in known:
            raise UsageFailure(f"--exclude-layers: no layer '{name}'", suggest(name, known))
    chosen = set(exclusion.names)
    if exclusion.worst >= len(known):
        raise UsageFailure(
            f"--exclude-layers {exclusion.worst}: the network has {len(known)} layers",
            "keep some in int8, or use --quantize none",
        )
    if exclusion.worst:
        losses = sensitivities(graph, images)
        chosen |= set(sorted(losses, key=lambda name: -losses[name])[: exclusion.worst])
    return tuple(name for name in known if name in chosen)


def sensitivities(graph: FoldedGraph, images: Iterable[np.ndarray]) -> dict[str, float]:
    """Return the mean of 1 - cosine by layer name, for layers with weights.

    Args:
        graph: the folded network.
        images: scaled, float32 ``[1, side, side, 3]``; the first ``SENSITIVITY_IMAGES`` are used.
    """
    import torch
    from torch.nn import functional as F

    from export.graph.torch_network import batches, run

    with torch.inference_mode():
        first = torch.cat(list(batches(islice(images, SENSITIVITY_IMAGES))))
        exact: dict[str, torch.Tensor] = {}
        values = run(graph, first, lambda layer, _, after: exact.update({layer.name: after}))
        losses = {}
        for layer in graph.layers:
            if isinstance(layer, (Convolution, Linear)):
                coarse = graph.flow(first, _rounding_one(layer, exact))
                losses[layer.name] = float(1 - F.cosine_similarity(coarse, values).mean())
    return losses


def _rounding_one(rounded: Convolution | Linear, exact: Mapping[str, torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a function for ``FoldedGraph.flow`` that rounds one layer; outputs before it are taken from ``exact``."""
    from export.graph.torch_network import activate, linear_part

    passed = False

    def step(layer: Layer, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        nonlocal passed
        values, *others = inputs
        if layer is rounded:
            passed = True
            return _rounded(rounded, values)
        return activate(layer, linear_part(layer, values, None, None, *others)) if passed else exact[layer.name]

    return step


def _rounded(layer: Convolution | Linear, values: torch.Tensor) -> torch.Tensor:
    from export.graph.torch_network import activate, linear_part
    from export.int8.simulation import as_int8, quantized_weight

    exact = activate(layer, linear_part(layer, values))
    coarse = activate(layer, linear_part(layer, values, quantized_weight(layer)))
    return as_int8(layer, coarse, float(exact.min()), float(exact.max()))
