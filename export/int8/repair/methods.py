"""The methods that ``--repair`` can name, and how one is applied.

A method is a sequence of steps, functions from a folded graph and calibration images to a folded graph. To add one,
write its step in a new file and add a line to ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from distill.console import Failure, UsageFailure, suggest
from distill.registry import Registry, load_object
from export.int8.repair.settings import QatSettings, Repaired

if TYPE_CHECKING:
    from export.graph.folded import FoldedGraph
    from export.int8.training_images import TrainingImages
    from export.samples.calibration import CalibrationImages

__all__ = [
    "AUTO",
    "METHODS",
    "RepairMethod",
    "RepairStep",
    "is_trained",
    "methods_of",
    "repair",
    "steps_of",
    "without_training",
]

AUTO = "auto"
RepairStep = Callable[["FoldedGraph", Iterable[np.ndarray]], "FoldedGraph"]


@dataclass(frozen=True)
class RepairMethod:
    """One value of ``--repair``.

    A step takes the graph and the scaled calibration images, float32 ``[1, side, side, 3]``. It is given as
    ``"module:function"``, which is imported when the method is applied: steps need torch, the table does not.

    Attributes:
        keeping: steps that keep the float function.
        changing: steps after these that change it.
        trained: whether quantization-aware training follows, which also sets all ranges.
        auto: whether ``--repair auto`` tries the method.
        help: what the method does, in a few words, for ``--help``; empty if its name is enough.
    """

    keeping: tuple[str, ...] = ()
    changing: tuple[str, ...] = ()
    trained: bool = False
    auto: bool = True
    help: str = ""


_EQUALIZE = "export.int8.repair.equalize:equalize"
_CORRECT_BIAS = "export.int8.repair.bias:correct_bias"

# Cheapest first: ``auto`` tries them in this order. Of the methods that train, it tries only the one that starts with the
# fast steps.
METHODS: Registry[RepairMethod] = Registry(
    "repair",
    RepairMethod,
    {
        "none": RepairMethod(),
        "cle": RepairMethod((_EQUALIZE,), help="equalize channels"),
        "bias": RepairMethod((), (_CORRECT_BIAS,), help="correct biases"),
        "cle+bias": RepairMethod((_EQUALIZE,), (_CORRECT_BIAS,)),
        "qat": RepairMethod(trained=True, auto=False, help="train with rounding, without labels"),
        "cle+qat": RepairMethod((_EQUALIZE,), trained=True, auto=False),
        "cle+bias+qat": RepairMethod((_EQUALIZE,), (_CORRECT_BIAS,), trained=True),
    },
    group="distill_to_phone.repairs",
)


def methods_of(text: str) -> tuple[str, ...]:
    """Return the methods to try for a value of ``--repair``, in order.

    Raises:
        UsageFailure: unknown method.
    """
    if text == AUTO:
        return tuple(name for name, method in METHODS.items() if method.auto)
    if text not in METHODS:
        raise UsageFailure(f"--repair: unknown '{text}'", suggest(text, [*METHODS.names(), AUTO]))
    return (text,)


def is_trained(text: str) -> bool:
    """Return whether a value of ``--repair`` may train."""
    return any(METHODS[name].trained for name in methods_of(text))


def steps_of(text: str) -> list[RepairStep]:
    """Return the steps that a value of ``--repair`` may apply. Imports them."""
    return [_load(step) for name in methods_of(text) for step in (*METHODS[name].keeping, *METHODS[name].changing)]


def without_training(name: str) -> str:
    """Return the method that has the same steps and does not train.

    Raises:
        Failure: the table has none.
    """
    row = METHODS[name]
    for other, method in METHODS.items():
        if (method.keeping, method.changing) == (row.keeping, row.changing) and not method.trained:
            return other
    raise Failure(f"--repair {name}: no method has its steps without training", "choose another --repair")


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
        training: images to train on; needed by methods that train.
        settings: settings of the training.

    Raises:
        Failure: no images to train on, or the loss did not stay finite.
    """
    row = METHODS[method]
    exact = _apply(row.keeping, graph, calibration)
    changed = _apply(row.changing, exact, calibration)
    if not row.trained:
        return Repaired(method, changed, exact)
    if training is None:
        raise Failure(f"--repair {method} needs images to train on", "give --calibration-data")
    from export.int8.repair.qat import train_quantized  # torch

    trained = train_quantized(changed, graph, calibration, training, settings or QatSettings())
    return Repaired(method, trained.numbers.graph, exact, trained.numbers, (trained.before, trained.after))


def _apply(steps: Sequence[str], graph: FoldedGraph, calibration: CalibrationImages) -> FoldedGraph:
    for step in map(_load, steps):
        graph = step(graph, calibration.scaled())
    return graph


def _load(step: str) -> RepairStep:
    return cast(RepairStep, load_object(step))
