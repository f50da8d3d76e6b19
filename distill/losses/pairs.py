"""What the losses share: checked pairs of batches, distances, square roots with finite slopes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from distill.console.errors import Failure

__all__ = [
    "checked_maps",
    "checked_pair",
    "off_diagonal_mean",
    "pairwise_distances",
    "safe_sqrt",
    "same_grid",
    "upcast",
]


def upcast(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 to float32: squares of their differences lose what is learned from."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def checked_pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both batches of embeddings, upcast; no gradient flows to the teacher.

    Raises:
        Failure: not two matrices with one row per image.
    """
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher) or len(student) == 0:
        raise Failure(
            f"embeddings: student {tuple(student.shape)}, teacher {tuple(teacher.shape)}, expected [images, dimensions] of the same images",
            "pass both networks' embeddings of one batch",
        )
    own = upcast(student)
    return own, upcast(teacher.detach()).to(own.dtype)


def checked_maps(student: list[Tensor], teacher: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Pairs of stage maps, upcast; no gradient flows to the teacher.

    Raises:
        Failure: lists of different length, or maps that are not ``[N, C, h, w]`` of one batch.
    """
    if len(student) != len(teacher) or not student:
        raise Failure(
            f"stage maps: {len(student)} of the student, {len(teacher)} of the teacher", "pass the same stages of both"
        )
    pairs = []
    for own, other in zip(student, teacher, strict=True):
        if own.ndim != 4 or other.ndim != 4 or len(own) != len(other):
            raise Failure(
                f"stage maps: student {tuple(own.shape)}, teacher {tuple(other.shape)}, expected [images, channels, height, width]",
                "pass both networks' maps of one batch",
            )
        mine = upcast(own)
        pairs.append((mine, upcast(other.detach()).to(mine.dtype)))
    return pairs


def same_grid(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool two maps ``[N, C, h, w]`` to the smaller height and the smaller width."""
    size = (min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3]))

    def pooled(maps: Tensor) -> Tensor:
        return maps if maps.shape[2:] == size else functional.adaptive_avg_pool2d(maps, size)

    return pooled(first), pooled(second)


def safe_sqrt(values: Tensor) -> Tensor:
    """Square root whose slope at 0 is 0, not infinite (infinity times zero is NaN)."""
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, 1.0).sqrt(), 0.0)


def pairwise_distances(rows: Tensor) -> Tensor:
    """Euclidean distances ``[n, n]`` between rows ``[n, d]``.

    Differences are taken, not products: equal rows are exactly 0 apart, with slope 0.
    """
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def off_diagonal_mean(matrix: Tensor) -> Tensor:
    """Mean over i ≠ j of ``[n, n]``; 0, connected to the graph, where n = 1."""
    n = len(matrix)
    kept = matrix.masked_fill(torch.eye(n, dtype=torch.bool, device=matrix.device), 0.0)
    return kept.sum() / max(n * (n - 1), 1)
