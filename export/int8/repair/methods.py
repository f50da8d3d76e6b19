"""What ``--repair`` can name: a table. A new repair is one more row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distill.console import Failure, UsageFailure, suggest

if TYPE_CHECKING:
    from export.graph.folded import FoldedGraph
    from export.int8.integers import QuantizedGraph
    from export.int8.training_images import TrainingImages
    from export.samples.calibration import CalibrationImages

__all__ = [
    "AUTO",
    "METHODS",
    "Method",
    "QatSettings",
    "Repaired",
    "is_trained",
    "methods_of",
    "repair",
    "without_training",
]

AUTO = "auto"


def _equalize(graph: FoldedGraph, images: Iterable[np.ndarray]) -> FoldedGraph:
    from export.int8.repair.equalize import equalize  # torch

    return equalize(graph, images)


def _correct_bias(graph: FoldedGraph, images: Iterable[np.ndarray]) -> FoldedGraph:
    from export.int8.repair.bias import correct_bias  # torch

    return correct_bias(graph, images)


_Step = Callable[["FoldedGraph", Iterable[np.ndarray]], "FoldedGraph"]


@dataclass(frozen=True)
class Method:
    """One repair.

    Attributes:
        keeping: steps that keep the float function.
        changing: steps after these that do not.
        trained: whether quantization-aware training follows, which settles all ranges too.
        auto: whether ``auto`` tries it.
    """

    keeping: tuple[_Step, ...] = ()
    changing: tuple[_Step, ...] = ()
    trained: bool = False
    auto: bool = True


# From the cheapest on: the order in which ``auto`` tries. Of those that train it takes the one that starts with
# what costs seconds.
METHODS: dict[str, Method] = {
    "none": Method(),
    "cle": Method((_equalize,)),
    "bias": Method((), (_correct_bias,)),
    "cle+bias": Method((_equalize,), (_correct_bias,)),
    "qat": Method(trained=True, auto=False),
    "cle+qat": Method((_equalize,), trained=True, auto=False),
    "cle+bias+qat": Method((_equalize,), (_correct_bias,), trained=True),
}


@dataclass(frozen=True)
class QatSettings:
    """Quantization-aware training: how long and how fast.

    Attributes:
        steps: batches.
        batch_size: images in each.
        lr: Adam's step at the start, relative to the largest weight of a channel; falls to 0 as a cosine.
        seed: of order and crops.
    """

    steps: int = 150
    batch_size: int = 32
    lr: float = 1e-4
    seed: int = 0


@dataclass(frozen=True)
class Repaired:
    """``graph`` is to be quantized; ``exact`` computes the original function and has the same scales.

    After training, ``numbers`` are the integers that a file has to hold, ``graph`` the float weights behind
    them, and ``cosines`` the mean cosine to PyTorch on calibration images before and after.
    """

    method: str
    graph: FoldedGraph
    exact: FoldedGraph
    numbers: QuantizedGraph | None = None
    cosines: tuple[float, float] | None = None


def methods_of(text: str) -> tuple[str, ...]:
    """The methods to try for a value of ``--repair``, in order.

    Raises:
        UsageFailure: an unknown one.
    """
    if text == AUTO:
        return tuple(name for name, method in METHODS.items() if method.auto)
    if text not in METHODS:
        raise UsageFailure(f"--repair: unknown '{text}'", suggest(text, [*METHODS, AUTO]))
    return (text,)


def is_trained(text: str) -> bool:
    """Whether a value of ``--repair`` may train."""
    return any(METHODS[name].trained for name in methods_of(text))


def without_training(name: str) -> str:
    """The method that does the same but trains nothing."""
    row = METHODS[name]
    return next(other for other, it in METHODS.items() if it == replace(row, trained=False, auto=True))


def repair(
    graph: FoldedGraph,
    method: str,
    calibration: CalibrationImages,
    training: TrainingImages | None = None,
    settings: QatSettings | None = None,
) -> Repaired:
    """Apply one method of the table.

    Args:
        graph: the folded network.
        method: a name in ``METHODS``.
        calibration: images that set ranges.
        training: pictures to train on, where the method does.
        settings: of the training.

    Raises:
        Failure: the training has no pictures or did not stay finite.
    """
    row = METHODS[method]
    exact = graph
    for step in row.keeping:
        exact = step(exact, calibration.scaled())
    changed = exact
    for step in row.changing:
        changed = step(changed, calibration.scaled())
    if not row.trained:
        return Repaired(method, changed, exact)
    if training is None:
        raise Failure(f"--repair {method} needs pictures to train on", "give --calibration-data")
    from export.int8.repair.qat import train_quantized  # torch

    trained = train_quantized(changed, graph, calibration, training, settings or QatSettings())
    return Repaired(method, trained.numbers.graph, exact, trained.numbers, (trained.before, trained.after))
