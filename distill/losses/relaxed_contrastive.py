"""Relaxed contrastive loss: the teacher's similarities instead of labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.losses.pairs import checked_pair, pairwise_distances

__all__ = ["RelaxedContrastiveLoss"]


class RelaxedContrastiveLoss(nn.Module):
    """Contrastive loss whose labels are the teacher's similarities, between 0 and 1.

    With ``w(i,j) = exp(−‖t_i − t_j‖²/σ)`` and the student's distances in units of each image's
    mean, ``d(i,j) = ‖s_i − s_j‖ / μ_i``, ``μ_i = 1/n · Σ_k ‖s_i − s_k‖``::

        L = 1/n · Σ_i Σ_{j≠i} w(i,j)·d(i,j)² + (1 − w(i,j))·max(0, δ − d(i,j))²

    Kim et al., "Embedding Transfer with Label Relaxation for Improved Metric Learning", CVPR
    2021. The teacher's embeddings are L2-normalised; the student's are used
    as given (the paper leaves them unnormalised: dividing by μ makes their scale irrelevant).
    The paper shows each image in two crops: concatenate the views of the batch.

    | input | shape | |
    |---|---|---|
    | student | [n, d] | embeddings as given, of all views |
    | teacher | [n, D] | of the same crops; D may differ from d |

    Pairs of equal student embeddings are left out: they have no direction to move in.

    Args:
        sigma: width of the teacher's kernel, above 0.
        delta: margin in mean distances, above 0.

    Returns:
        Scalar ≥ 0. Not 0 where the student equals the teacher.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> # both distances are 2 means: no push; pull exp(−2)·2²
        >>> round(RelaxedContrastiveLoss()(teacher, teacher).item(), 4)
        0.5413
    """

    def __init__(self, sigma: float = 1.0, delta: float = 1.0) -> None:
        super().__init__()
        self.sigma = sigma
        self.delta = delta

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        own, other = checked_pair(student, teacher)
        weight = torch.exp(-pairwise_distances(functional.normalize(other, dim=1)).square() / self.sigma)
        raw = pairwise_distances(own)
        apart = raw > 0
        mean = raw.mean(dim=1, keepdim=True)
        distance = raw / torch.where(mean > 0, mean, 1.0)
        pull = weight * distance.square()
        push = (1 - weight) * functional.relu(self.delta - distance).square()
        return torch.where(apart, pull + push, 0.0).sum() / len(own)
