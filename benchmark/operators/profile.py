"""What is found of one operator."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ProfiledOperator"]


@dataclass(frozen=True)
class ProfiledOperator:
    """One step of the model, in the order of execution.

    Attributes:
        kind: as the format names it, e.g. ``CONV_2D``.
        shape: of its output.
        macs: multiply-accumulates of one picture; 0 where it is no convolution or matrix product.
        integer: whether it computes with int8.
        ms: its time; differences of medians may come out a little below 0 where it is next to nothing.
        bytes: of its inputs, outputs and weights together: what it has to move at least.
    """

    kind: str
    shape: tuple[int, ...]
    macs: int
    integer: bool
    ms: float
    bytes: int = 0
