"""What of a teacher's stage maps is stored, and how: no more than the losses of a method look at.

A row of a store is one image's map as float16 times a power of two of its own, so that neither large
activations overflow nor small ones vanish: element 0 is the exponent, the map follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from distill.console import Failure
from distill.models.embedder import Embedder

__all__ = ["StoredStage", "decode", "encode", "stage_shapes", "stored_stages"]

# Below it 2^−e would leave float32; such maps are zero for all purposes.
_SMALLEST_EXPONENT = -126


@dataclass(frozen=True)
class StoredStage:
    """One stage's entry in a store.

    Attributes:
        stage: 1 to 4.
        form: ``whole`` map; ``grid``, average-pooled to the student's height and width where these
            are smaller; ``attention``, of that the root mean square over channels.
        shape: (channels, height, width) as stored.
    """

    stage: int
    form: str
    shape: tuple[int, int, int]

    @property
    def name(self) -> str:
        """What its files are called after."""
        return f"stage{self.stage}-{self.form}-{'x'.join(map(str, self.shape))}"

    @property
    def row(self) -> int:
        """Numbers in a stored row."""
        channels, height, width = self.shape
        return 1 + channels * height * width

    def of(self, maps: Tensor) -> Tensor:
        """From the teacher's maps [n, C, H, W] what is stored: float32 [n, *shape]."""
        maps = maps.float()
        if maps.shape[2:] != self.shape[1:]:
            # As the losses would pool them (distill.losses.pairs.same_grid).
            maps = functional.adaptive_avg_pool2d(maps, self.shape[1:])
        if self.form == "attention":
            # The mean of its square over its one channel is the mean of squares over all channels.
            maps = maps.square().mean(dim=1, keepdim=True).sqrt()
        return maps


def stored_stages(
    needed: Mapping[int, str], teacher: Sequence[tuple[int, int, int]], student: Sequence[tuple[int, int, int]]
) -> list[StoredStage]:
    """What to store for the stages that a method needs.

    Args:
        needed: stage → form, see :attr:`distill.losses.method.Method.teacher_maps`.
        teacher, student: shapes of their four maps.
    """
    found = []
    for stage, form in sorted(needed.items()):
        channels, height, width = teacher[stage - 1]
        if form != "whole":
            height, width = min(height, student[stage - 1][1]), min(width, student[stage - 1][2])
        found.append(StoredStage(stage, form, (1 if form == "attention" else channels, height, width)))
    return found


@torch.no_grad()
def stage_shapes(model: Embedder, input_size: int) -> list[tuple[int, int, int]]:
    """(channels, height, width) of the four maps of an image; the model stays as it is."""
    was_training = model.training
    model.eval()
    pixels = torch.zeros(1, 3, input_size, input_size, device=next(model.parameters()).device)
    maps = model.backbone.stages(pixels)
    model.train(was_training)
    return [tuple(m.shape[1:]) for m in maps]  # type: ignore[misc]


def encode(maps: Tensor) -> np.ndarray:
    """Maps [n, c, h, w] to rows float16 [n, 1 + c·h·w], precise to 2⁻¹¹ of each number (2⁻²⁵ of the map's largest).

    Raises:
        Failure: NaN or infinity.
    """
    flat = maps.float().cpu().flatten(1).numpy()
    largest = np.abs(flat).max(axis=1, keepdims=True)
    if not np.isfinite(largest).all():
        raise Failure("the teacher's stage maps are not finite", "train the teacher again, or use --precision float32")
    exponent = np.frexp(largest)[1].clip(_SMALLEST_EXPONENT)
    return np.concatenate([exponent.astype(np.float32), np.ldexp(flat, -exponent)], axis=1).astype(np.float16)


def decode(rows: np.ndarray, shape: tuple[int, int, int]) -> Tensor:
    """Rows of :func:`encode` to maps float32 [n, *shape]."""
    exponent = rows[:, :1].astype(np.int32)
    return torch.from_numpy(np.ldexp(rows[:, 1:].astype(np.float32), exponent)).unflatten(1, shape)
