"""Profile the operators of a variant, by the profiler of its format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.timing import Plan
from distill.console import UsageFailure
from distill.registry import load_object
from export.bundle import Bundle, open_variant
from export.bundle.formats import FORMATS

__all__ = ["ProfiledOperator", "profile"]


@dataclass(frozen=True)
class ProfiledOperator:
    """An operator with its time, in the order of execution.

    Attributes:
        kind: Name in the format, e.g. ``CONV_2D``.
        shape: Shape of its output.
        macs: Multiply-accumulates for one image; 0 unless it is a convolution or matrix product.
        integer: Whether it computes with int8.
        ms: Time in milliseconds. The difference of two medians may be slightly negative for very short times.
        bytes: Bytes of its inputs, outputs and weights: the least that it has to move.
    """

    kind: str
    shape: tuple[int, ...]
    macs: int
    integer: bool
    ms: float
    bytes: int = 0


def profile(
    bundle: Bundle, name: str, plan: Plan, show: Callable[[float], None] = lambda share: None
) -> list[ProfiledOperator]:
    """Time every operator of a variant on the bundle's first golden image.

    Args:
        plan: Threads and time; the format's profiler may ignore the rest.
        show: Called with the share done.

    Raises:
        UsageFailure: the format has no profiler.
        Failure: the engine is not installed, or the model cannot be profiled.
    """
    variant = bundle.variant(name)
    target = FORMATS[variant.format].profile
    if not target:
        known = [other for other, form in FORMATS.items() if form.profile]
        raise UsageFailure(
            f"--variant {name}: {variant.format} has no profiler", f"formats with one: {', '.join(known)}"
        )
    profiler = load_object(target)
    assert callable(profiler)
    values = open_variant(bundle, name, plan.threads).tensor(bundle.golden_pixels()[:1])
    return profiler(bundle.path(variant).read_bytes(), values, plan, show)
