"""Relaxed contrastive loss: the teacher's similarities replace labels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.losses.pairs import checked_pair, pairwise_distances
from distill.losses.spec import LossSpec

__all__ = ["RELAXED_CONTRASTIVE", "RELAXED_CONTRASTIVE_RAW", "RelaxedContrastiveLoss"]


class RelaxedContrastiveLoss(nn.Module):
    """Contrastive loss with the teacher's similarities, 0..1, as soft labels of pairs.

    With ``w(i,j) = exp(−‖t_i − t_j‖²/σ)`` and the student's distances divided by each image's
    mean distance, ``d(i,j) = ‖s_i − s_j‖ / μ_i``, ``μ_i = 1/n · Σ_k ‖s_i − s_k‖``::

        L = 1/n · Σ_i Σ_{j≠i} w(i,j)·d(i,j)² + (1 − w(i,j))·max(0, δ − d(i,j))²

    Kim et al., "Embedding Transfer with Label Relaxation for Improved Metric Learning", CVPR
    2021. The teacher's embeddings are L2-normalised here. The student's are used as given: dividing by μ makes
    their common scale irrelevant, but not the length of each row. ``--method relaxed_contrastive`` gives unit rows,
    which is what a gallery compares; the authors train and evaluate students without a norm, as
    ``--method relaxed_contrastive_raw`` does. The paper uses two crops of each image: concatenate the views of the batch.

    | input | shape | |
    |---|---|---|
    | student | [n, d] | embeddings of all views |
    | teacher | [n, D] | of the same crops; D may differ from d |

    Pairs of equal student embeddings are left out: their distance has no gradient.

    Args:
        sigma: width of the teacher's kernel, above 0.
        delta: margin in mean distances, above 0.

    Returns:
        Scalar ≥ 0. Not 0 where the student equals the teacher.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> # both distances are twice the mean: no push; pull exp(−2)·2²
        >>> round(RelaxedContrastiveLoss()(teacher, teacher).item(), 4)
        0.5413
    """

    def __init__(self, sigma: float = 1.0, delta: float = 1.0) -> None:
        super().__init__()
        self.sigma = sigma
        self.delta = delta

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = checked_pair(student, teacher)
        weight = torch.exp(-pairwise_distances(functional.normalize(teacher, dim=1)).square() / self.sigma)
        raw = pairwise_distances(student)
        apart = raw > 0
        mean = raw.mean(dim=1, keepdim=True)
        distance = raw / torch.where(mean > 0, mean, 1.0)
        pull = weight * distance.square()
        push = (1 - weight) * functional.relu(self.delta - distance).square()
        return torch.where(apart, pull + push, 0.0).sum() / len(student)


RELAXED_CONTRASTIVE = LossSpec(
    help="pull and push pairs by the teacher's similarities as soft labels",
    equation="`1/n Σ_{i≠j} w·d² + (1 − w)·max(0, δ − d)²`, `w = exp(−d_T²/σ)`, `d = d_S/μ_i`",
    source="Kim et al., CVPR 2021",
    build=lambda context: RelaxedContrastiveLoss(),
    views=2,
)

RELAXED_CONTRASTIVE_RAW = replace(
    RELAXED_CONTRASTIVE,
    help="relaxed_contrastive on the student's rows before their norm, as the authors' code computes it",
    equation="as `relaxed_contrastive`, on rows `s_i` before their norm",
    student_rows="raw",
)
