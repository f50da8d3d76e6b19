"""How a teacher's stage maps are stored, reduced to what the losses of a method use.

A row of a store is one image's map as float16 times a power of two of its own, so that large activations do not
overflow and small ones do not vanish. Element 0 is the exponent; the map follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from distill.console import Failure
from distill.losses.spec import TeacherMap
from distill.models.embedder import Embedder

__all__ = ["StoredStage", "decode", "encode", "stage_shapes", "stored_stages"]

# Below it, 2^−e leaves the range of float32; such maps are zero for all purposes.
_SMALLEST_EXPONENT = -126


@dataclass(frozen=True)
class StoredStage:
    """How the maps of one stage are stored.

    Attributes:
        stage: 1 to 4.
        form: ``whole``, the map itself; ``grid``, the map average-pooled to the student's height and width
            where these are smaller; ``attention``, the root mean square over channels of the latter.
        shape: (channels, height, width) as stored.
    """

    stage: int
    form: TeacherMap
    shape: tuple[int, int, int]

    @property
    def name(self) -> str:
        """Prefix of its files' names."""
        return f"stage{self.stage}-{self.form}-{'x'.join(map(str, self.shape))}"

    @property
    def row(self) -> int:
        """Numbers in a stored row."""
        channels, height, width = self.shape
        return 1 + channels * height * width

    def of(self, maps: Tensor) -> Tensor:
        """Reduce the teacher's maps [n, C, H, W] to the stored form: float32 [n, *shape]."""
        maps = maps.float()
        if maps.shape[2:] != self.shape[1:]:
            # As the losses pool them (distill.losses.pairs.same_grid).
            maps = functional.adaptive_avg_pool2d(maps, self.shape[1:])
        if self.form == "attention":
            # The square of this one channel is the mean of squares over all channels, which is all that attention uses.
            maps = maps.square().mean(dim=1, keepdim=True).sqrt()
        return maps


def stored_stages(
    needed: Mapping[int, TeacherMap], teacher: Sequence[tuple[int, int, int]], student: Sequence[tuple[int, int, int]]
) -> list[StoredStage]:
    """Choose what to store for the stages that a method needs.

    Args:
        needed: stage → form, see :attr:`distill.losses.method.Method.teacher_maps`.
        teacher, student: shapes of their four stage maps.
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
    """Return (channels, height, width) of a network's four stage maps, leaving the network unchanged."""
    was_training = model.training
    model.eval()
    pixels = torch.zeros(1, 3, input_size, input_size, device=next(model.parameters()).device)
    maps = model.backbone.stages(pixels)
    model.train(was_training)
    return [(m.shape[1], m.shape[2], m.shape[3]) for m in maps]


def encode(maps: Tensor) -> np.ndarray:
    """Encode maps [n, c, h, w] as float16 rows [n, 1 + c·h·w].

    Precise to 2⁻¹¹ of each number, or 2⁻²⁵ of the largest number of its map.

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
    """Decode rows of :func:`encode` to float32 maps [n, *shape]."""
    exponent = rows[:, :1].astype(np.int32)
    return torch.from_numpy(np.ldexp(rows[:, 1:].astype(np.float32), exponent)).unflatten(1, shape)
