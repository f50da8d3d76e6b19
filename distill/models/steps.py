"""A backbone as a list of convolutions and residual additions, from which export folds its batch norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Residual", "Step"]


@dataclass(frozen=True)
class Step:
    """A convolution without bias, its batch norm, and an optional ReLU6.

    Attributes:
        name: Unique within the network.
        conv: Square kernel and stride (except ``PatchConv2d``), no dilation; dense or depthwise.
        bn: The batch norm after it.
        relu6: Whether ReLU6 follows.
        padding: Zeros on every side, ``None`` for TensorFlow's SAME, ``"right"`` for the padding of ``PatchConv2d``.
    """

    name: str
    conv: nn.Conv2d
    bn: nn.Module
    relu6: bool
    padding: int | Literal["right"] | None


@dataclass(frozen=True)
class Residual:
    """The output of the step before, plus the output of the step named ``other``.

    Attributes:
        name: Unique within the network.
        other: Name of an earlier step.
    """

    name: str
    other: str
