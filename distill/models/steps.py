"""A backbone as a list of convolutions and residual additions, which export folds into constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn

__all__ = ["AddStep", "ConvStep", "Foldable", "Step"]


@dataclass(frozen=True)
class ConvStep:
    """A convolution without bias, its batch norm, and ReLU6 where ``relu6``.

    Attributes:
        name: unique name of the step.
        conv: its weight is ``[out, in, h, w]``, or ``[C, 1, h, w]`` for a depthwise convolution.
        bn: the batch norm that follows it.
        relu6: whether ReLU6 follows; no other activation can be folded.
        padding: zeros on every side; ``None`` for TensorFlow's SAME; ``"right"`` for the padding of ``PatchConv2d``.
    """

    name: str
    conv: nn.Conv2d
    bn: nn.Module
    relu6: bool
    padding: int | Literal["right"] | None


@dataclass(frozen=True)
class AddStep:
    """The sum of the preceding step's output and that of the earlier step ``other``."""

    name: str
    other: str


Step = ConvStep | AddStep


@runtime_checkable
class Foldable(Protocol):
    """A backbone that export folds: TFLite files without a further converter, every scheme, and int8 repairs.

    A network that computes anything else than these steps must not have the method.
    """

    def folding_steps(self) -> list[Step]:
        """Return all steps from the image to the last feature map, in order; each reads the one before it."""
        ...
