"""Contextual similarity distillation: the student's query ranks the teacher's gallery as the teacher's query does."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from distill.losses.pairs import checked_unit_pair
from distill.losses.spec import LossSpec

__all__ = ["CSD", "CsdLoss"]


class CsdLoss(nn.Module):
    """Divergence of two distributions over the teacher's nearest images in the batch.

    With unit rows, and N_i the K images of the batch (image i among them) whose teacher embeddings are nearest to t_i::

        p(j|i) = softmax over j in N_i of t_i·t_j / τ_g
        q(j|i) = softmax over j in N_i of s_i·t_j / τ_q
        L = 1/n · Σ_i KL(p(·|i) ‖ q(·|i))

    Wu, Wang, Zhou, Li, Tian, "Contextual Similarity Distillation for Asymmetric Image Retrieval", CVPR 2022. The paper
    takes the neighbours from features of the whole training set, which are extracted once; the batch in their place, K and
    the temperatures are those of the authors of D3still (CVPR 2024) in their comparison. As τ_q is larger than τ_g, the loss
    is not 0 where the student equals the teacher: it goes on to separate the query from images that are not near.

    | input | shape | |
    |---|---|---|
    | student | [n, d] | embeddings, L2-normalised here |
    | teacher | [n, d] | of the same crops, L2-normalised here |

    Args:
        nearest: K ≥ 1; at most n are used.
        query: τ_q > 0.
        gallery: τ_g > 0.

    Returns:
        Scalar ≥ 0.

    Raises:
        Failure: dimensions differ.

    Example:
        >>> import torch
        >>> rows = torch.nn.functional.normalize(torch.rand(4, 8))
        >>> round(CsdLoss(query=0.1, gallery=0.1)(rows, rows).item(), 6)
        0.0
    """

    def __init__(self, nearest: int = 96, query: float = 1.0, gallery: float = 0.01) -> None:
        super().__init__()
        self.nearest = nearest
        self.query = query
        self.gallery = gallery

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = checked_unit_pair(student, teacher, "csd")
        wanted, nearest = (teacher @ teacher.T).topk(min(self.nearest, len(teacher)), dim=1)
        found = (student @ teacher.T).gather(1, nearest)
        return functional.kl_div(
            functional.log_softmax(found / self.query, dim=1),
            functional.log_softmax(wanted / self.gallery, dim=1),
            reduction="batchmean",
            log_target=True,
        )


CSD = LossSpec(
    help="rank the teacher's gallery as the teacher does: match the probabilities of its nearest images",
    equation="`1/n Σ_i KL(p_i ‖ q_i)`, `p_i = softmax_j t_i·t_j/τ_g`, `q_i = softmax_j s_i·t_j/τ_q`, j among the K nearest",
    source="Wu et al., CVPR 2022",
    build=lambda context: CsdLoss(),
    space="teacher",
)
