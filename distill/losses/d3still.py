"""D3still: the order of the teacher's nearest images, wrong pairs and right pairs weighted apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.losses.pairs import checked_unit_pair, safe_sqrt
from distill.losses.spec import LossSpec

__all__ = ["D3STILL", "D3stillLoss"]

_SOFT = 0.1  # of the authors: keeps small differences of the teacher from dominating


class D3stillLoss(nn.Module):
    """Similarity to the own image, and differences of similarities to the K − 1 nearest other images.

    With unit rows, ``x_ij = s_i·t_j``, ``g_ij = t_i·t_j``, and j, k among the K − 1 images of the batch with the largest g_ij,
    i excluded::

        own       = ‖(1 − x_ii)_i‖₂ / n
        r_i(j, k) = ((x_ij − x_ik) − (g_ij − g_ik)) / (0.1 + |g_ij − g_ik|)
        wrong     = 1/n · Σ_i ‖r_i over the pairs that x and g order differently‖₂ / (K − 1)
        right     = 1/n · Σ_i ‖r_i over the pairs that they order alike‖₂ / (K − 1)
        L = α·own + β·wrong + γ·right

    Xie et al., "D3still: Decoupled Differential Distillation for Asymmetric Image Retrieval", CVPR 2024, with K, α, β, γ and the
    0.1 of the authors' code. Unlike there, image i is never among its own neighbours, and pairs that the teacher does not
    order (g_ij = g_ik) are left out: both differ in batches with equal embeddings only.

    | input | shape | |
    |---|---|---|
    | student | [n, d] | embeddings, L2-normalised here |
    | teacher | [n, d] | of the same crops, L2-normalised here |

    Args:
        nearest: K ≥ 1; at most n are used.
        own, wrong, right: α, β, γ ≥ 0.

    Returns:
        Scalar ≥ 0, 0 where student and teacher agree, with gradient 0 there.

    Raises:
        Failure: dimensions differ.

    Example:
        >>> import torch
        >>> rows = torch.nn.functional.normalize(torch.rand(4, 8, dtype=torch.float64))
        >>> round(D3stillLoss()(rows, rows).item(), 6)
        0.0
    """

    def __init__(self, nearest: int = 10, own: float = 50.0, wrong: float = 2.0, right: float = 1.0) -> None:
        super().__init__()
        self.nearest = nearest
        self.own, self.wrong, self.right = own, wrong, right

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = checked_unit_pair(student, teacher, "d3still")
        across, within = student @ teacher.T, teacher @ teacher.T
        missed = (student * teacher).sum(dim=1) - (teacher * teacher).sum(dim=1)
        loss = self.own * safe_sqrt(missed.square().sum()) / len(student)
        count = min(self.nearest, len(teacher)) - 1
        if count < 2:  # no pair to order
            return loss
        itself = torch.eye(len(teacher), dtype=torch.bool, device=teacher.device)
        wanted, nearest = within.masked_fill(itself, -torch.inf).topk(count, dim=1)
        wanted = wanted[:, :, None] - wanted[:, None, :]
        found = across.gather(1, nearest)
        found = found[:, :, None] - found[:, None, :]
        residual = (found - wanted) / (_SOFT + wanted.abs())
        for factor, sign in ((self.wrong, -1), (self.right, 1)):
            chosen = (found * wanted).detach().sign() == sign
            lengths = safe_sqrt((residual * chosen).square().sum(dim=(1, 2)))
            loss = loss + factor * lengths.mean() / count
        return loss


D3STILL = LossSpec(
    help="match the similarity to the own image, and the differences between those to its nearest images",
    equation="`α/n ‖1 − s_i·t_i‖₂ + 1/n Σ_i (β‖r_i wrong‖₂ + γ‖r_i right‖₂)/(K−1)`, r: relative error of differences `s_i·t_j − s_i·t_k`",
    source="Xie et al., CVPR 2024",
    build=lambda context: D3stillLoss(),
    space="teacher",
)
