"""A folded network in integers: the result of quantization-aware training, from which model files are written.

``export.int8.arithmetic`` describes the scheme.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.graph.folded import FoldedGraph
from export.int8.arithmetic import QuantParams

__all__ = ["IntegerLayer", "IntegerWeights", "QuantizedGraph"]


@dataclass(frozen=True)
class IntegerWeights:
    """Weights and bias of one layer.

    Attributes:
        weight: int8, -127..127, the output channel first: ``[out, in / groups, h, w]`` or ``[out, in]``.
        scale: float32 ``[out]``.
        bias: int32 ``[out]``, of scale ``bias_scale``.
        bias_scale: float32 ``[out]``: the input's scale times ``scale``, multiplied in float32.
    """

    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    bias_scale: np.ndarray


@dataclass(frozen=True)
class IntegerLayer:
    """Integers of one layer.

    Attributes:
        name: name of the layer.
        output: scale and zero point of its output.
        weights: its weights and bias; ``None`` for a layer without any.
    """

    name: str
    output: QuantParams
    weights: IntegerWeights | None = None


@dataclass(frozen=True)
class QuantizedGraph:
    """Integers of every layer of a graph.

    Attributes:
        graph: the float network that the integers round.
        input: scale and zero point of the image.
        layers: integers of each layer of ``graph``, in order.
    """

    graph: FoldedGraph
    input: QuantParams
    layers: tuple[IntegerLayer, ...]
