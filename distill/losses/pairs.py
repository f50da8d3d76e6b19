"""Shared by the losses: input checks, pairwise distances, square roots with finite gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from distill.console.errors import Failure

__all__ = [
    "check_same_size",
    "checked_maps",
    "checked_pair",
    "checked_unit_pair",
    "off_diagonal_mean",
    "pairwise_distances",
    "safe_sqrt",
    "same_grid",
    "upcast",
]


def upcast(tensor: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32, which keeps squares of small differences."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def checked_pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return both batches of embeddings, upcast, the teacher's detached.

    Raises:
        Failure: not two matrices with one row for each image.
    """
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher) or len(student) == 0:
        raise Failure(
            f"embeddings: student {tuple(student.shape)}, teacher {tuple(teacher.shape)}, expected [images, dimensions] of the same images",
            "pass both networks' embeddings of one batch",
        )
    student = upcast(student)
    return student, upcast(teacher.detach()).to(student.dtype)


def checked_unit_pair(student: Tensor, teacher: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Do the same for a loss that compares coordinates, and L2-normalise the rows of both.

    Raises:
        Failure: as :func:`checked_pair`, or different dimensions; ``name`` is the loss.
    """
    student, teacher = checked_pair(student, teacher)
    check_same_size(student.shape[1], teacher.shape[1], name)
    return functional.normalize(student, dim=1, eps=1e-6), functional.normalize(teacher, dim=1, eps=1e-6)


def check_same_size(student: int, teacher: int, name: str) -> None:
    """Refuse embeddings of different dimension, for losses that compare coordinates.

    Raises:
        Failure: ``student != teacher``.
    """
    if student != teacher:
        raise Failure(
            f"{name}: the student's embedding has {student} dimensions, the teacher's {teacher}",
            f"use --embedding-size {teacher}, or a method that compares distances, such as relative",
        )


def checked_maps(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return the pairs of stage maps, upcast, the teacher's detached.

    Raises:
        Failure: lists of different length, or maps that are not ``[n, C, h, w]`` of one batch.
    """
    if len(student) != len(teacher) or not student:
        raise Failure(
            f"stage maps: {len(student)} of the student, {len(teacher)} of the teacher", "pass the same stages of both"
        )
    pairs = []
    for student_map, teacher_map in zip(student, teacher, strict=True):
        if student_map.ndim != 4 or teacher_map.ndim != 4 or len(student_map) != len(teacher_map):
            raise Failure(
                f"stage maps: student {tuple(student_map.shape)}, teacher {tuple(teacher_map.shape)}, expected [images, channels, height, width]",
                "pass both networks' maps of one batch",
            )
        student_map = upcast(student_map)
        pairs.append((student_map, upcast(teacher_map.detach()).to(student_map.dtype)))
    return pairs


def same_grid(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool two maps ``[n, C, h, w]`` to the smaller height and the smaller width."""
    size = (min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3]))

    def pooled(maps: Tensor) -> Tensor:
        return maps if maps.shape[2:] == size else functional.adaptive_avg_pool2d(maps, size)

    return pooled(first), pooled(second)


def safe_sqrt(values: Tensor) -> Tensor:
    """Square root with gradient 0 at 0, where the true one is infinite (infinity times zero is NaN)."""
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, 1.0).sqrt(), 0.0)


def pairwise_distances(rows: Tensor) -> Tensor:
    """Euclidean distances ``[n, n]`` between rows ``[n, d]``.

    Computed from differences, not from products: equal rows are exactly 0 apart, with gradient 0.
    """
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def off_diagonal_mean(matrix: Tensor) -> Tensor:
    """Mean of ``[n, n]`` over i ≠ j; for n = 1 a 0 that is connected to the graph."""
    n = len(matrix)
    kept = matrix.masked_fill(torch.eye(n, dtype=torch.bool, device=matrix.device), 0.0)
    return kept.sum() / max(n * (n - 1), 1)
