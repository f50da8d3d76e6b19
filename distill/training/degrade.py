"""Degradation of the student's crops, which keeps the geometry: cross-quality distillation.

Source: "Learning Metrics from Teachers", CVPR 2019, cross-quality experiments: the teacher sees
the clean image, the student a degraded one.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from distill.console import UsageFailure, suggest

__all__ = ["Degrade", "degrade_rows", "parse_degrade"]

Degrade = Callable[[torch.Tensor], torch.Tensor]


def _lowres(factor: float) -> Degrade:
    def apply(pixels: torch.Tensor) -> torch.Tensor:
        height, width = pixels.shape[-2:]
        small = [max(1, round(height / factor)), max(1, round(width / factor))]
        return F.resize(F.resize(pixels, small, antialias=True), [height, width], antialias=True)

    return apply


def _blur(sigma: float) -> Degrade:
    kernel = 2 * max(1, round(3 * sigma)) + 1
    return lambda pixels: F.gaussian_blur(pixels, [kernel, kernel], [sigma, sigma])


def _jpeg(quality: float) -> Degrade:
    def apply(pixels: torch.Tensor) -> torch.Tensor:
        buffer = io.BytesIO()
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=int(quality))
        with Image.open(buffer) as image:
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    return apply


# name → (maker, lowest, highest, meaning of the number)
_KINDS: dict[str, tuple[Callable[[float], Degrade], float, float, str]] = {
    "lowres": (_lowres, 1, 64, "factor by which the resolution is reduced"),
    "blur": (_blur, 0.1, 32, "standard deviation of the Gaussian in pixels"),
    "jpeg": (_jpeg, 1, 100, "JPEG quality"),
}


def degrade_rows(text: str | None) -> Callable[[np.ndarray], np.ndarray] | None:
    """Parse like :func:`parse_degrade`, for pixels as decoders return them: uint8 [H, W, 3]."""
    degrade = parse_degrade(text, "--degrade")
    if degrade is None:
        return None
    return lambda pixels: degrade(torch.from_numpy(pixels).permute(2, 0, 1)).permute(1, 2, 0).numpy()


def parse_degrade(text: str | None, flag: str = "--student-degrade") -> Degrade | None:
    """Parse ``"lowres:4+jpeg:20"`` to a function on uint8 [3, H, W] that applies the steps left to right.

    Args:
        text: names and numbers joined by ``+``; None gives None.
        flag: name of the flag, for error messages.

    Raises:
        UsageFailure: unknown kind or a number out of range.
    """
    if not text:
        return None
    steps = []
    for part in text.split("+"):
        name, _, number = part.strip().partition(":")
        if name not in _KINDS:
            raise UsageFailure(f"{flag} {text}: unknown '{name}'", suggest(name, _KINDS))
        make, low, high, meaning = _KINDS[name]
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise UsageFailure(f"{flag} {text}: '{name}' needs a number from {low} to {high}", meaning)
        steps.append(make(value))

    def apply(pixels: torch.Tensor) -> torch.Tensor:
        for step in steps:
            pixels = step(pixels)
        return pixels

    return apply
