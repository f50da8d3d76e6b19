"""Settings and result of an int8 repair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.graph.folded import FoldedGraph
    from export.int8.quantized_graph import QuantizedGraph

__all__ = ["QatSettings", "Repaired"]


@dataclass(frozen=True)
class QatSettings:
    """Settings of quantization-aware training.

    Attributes:
        steps: number of batches.
        batch_size: images per batch.
        lr: initial learning rate of Adam, relative to the largest weight of a channel; decays to 0 as a cosine.
        seed: seed of image order and crops.
    """

    steps: int = 150
    batch_size: int = 32
    lr: float = 1e-4
    seed: int = 0


@dataclass(frozen=True)
class Repaired:
    """A network ready to be quantized.

    Attributes:
        method: name of the repair method.
        graph: the network to quantize; after training, the float weights that ``numbers`` rounds.
        exact: a network that computes the original function with the channel scales of ``graph``.
        numbers: after training, the integers that a file has to hold.
        cosines: after training, mean cosine to PyTorch on calibration images before and after it.
    """

    method: str
    graph: FoldedGraph
    exact: FoldedGraph
    numbers: QuantizedGraph | None = None
    cosines: tuple[float, float] | None = None
