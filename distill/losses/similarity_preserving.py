"""Similarity-preserving distillation: the same pattern of similarities in a batch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from distill.losses.pairs import checked_pair

__all__ = ["SimilarityPreservingLoss"]


class SimilarityPreservingLoss(nn.Module):
    """Difference of the row-normalised similarity matrices.

    ``L = 1/n² · ‖ G_T − G_S ‖_F²``, ``G̃ = Q·Qᵀ`` with Q the activations flattened to ``[n, …]``
    and each row of G that of G̃ scaled to length 1.

    Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019
    (their weight: 3000, for classification on CIFAR-10).

    | input | shape | |
    |---|---|---|
    | student | [n, d] or [n, C, h, w] | embeddings, or maps of one stage |
    | teacher | [n, D] or [n, C', H, W] | of the same images; sizes may differ |

    Returns:
        Scalar, 0..4/n.

    Example:
        >>> import torch
        >>> rows = torch.rand(4, 8)
        >>> SimilarityPreservingLoss()(rows, rows).item()
        0.0
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        own, other = checked_pair(student.flatten(1), teacher.flatten(1))
        return (_pattern(own) - _pattern(other)).square().mean()


def _pattern(rows: Tensor) -> Tensor:
    return functional.normalize(rows @ rows.T, dim=1, eps=1e-6)
