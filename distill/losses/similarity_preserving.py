"""Similarity-preserving distillation: match the pattern of similarities within a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.losses.pairs import checked_pair
from distill.losses.spec import LossSpec

__all__ = ["SIMILARITY_PRESERVING", "SimilarityPreservingLoss"]


class SimilarityPreservingLoss(nn.Module):
    """Difference of the row-normalised similarity matrices.

    ``L = 1/n² · ‖ G_T − G_S ‖_F²``, where ``G̃ = Q·Qᵀ`` for activations Q flattened to ``[n, …]``, and
    each row of G is that of G̃ scaled to length 1. For lists of maps, the losses of the stages add up.

    Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019
    (their weight: 3000, for classification on CIFAR-10).

    | input | shape | |
    |---|---|---|
    | student | [n, d], [n, C, h, w] or list of the latter | embeddings, or maps of one or several stages |
    | teacher | [n, D], [n, C', H, W] or list of the latter | of the same images; sizes may differ |

    Returns:
        Scalar, 0..4/n per stage.

    Example:
        >>> import torch
        >>> rows = torch.rand(4, 8)
        >>> SimilarityPreservingLoss()(rows, rows).item()
        0.0
    """

    def forward(self, student: Tensor | Sequence[Tensor], teacher: Tensor | Sequence[Tensor]) -> Tensor:
        if isinstance(student, Tensor) and isinstance(teacher, Tensor):
            return self._one(student, teacher)
        return torch.stack([self._one(s, t) for s, t in zip(student, teacher, strict=True)]).sum()

    def _one(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = checked_pair(student.flatten(1), teacher.flatten(1))
        return (_pattern(student) - _pattern(teacher)).square().mean()


def _pattern(rows: Tensor) -> Tensor:
    """Similarity matrix ``[n, n]`` with rows of length 1."""
    return functional.normalize(rows @ rows.T, dim=1, eps=1e-6)


SIMILARITY_PRESERVING = LossSpec(
    help="match the teacher's similarity matrix, row by row",
    equation="`1/n² ‖G_T − G_S‖_F²`, G the Gram matrix with rows of length 1",
    source="Tung and Mori, ICCV 2019",
    build=lambda context: SimilarityPreservingLoss(),
    stages="optional",
)
