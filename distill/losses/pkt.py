"""Probabilistic knowledge transfer: match the teacher's neighbour probabilities."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.losses.pairs import checked_pair
from distill.losses.spec import LossSpec

__all__ = ["PKT", "PktLoss"]


class PktLoss(nn.Module):
    """Kullback-Leibler divergence between the two networks' neighbour probabilities.

    Similarity ``k(i,j) = (cos(s_i, s_j) + 1)/2``, probability ``p(j|i) = k(i,j) / Σ_{m≠i} k(i,m)``::

        L = 1/n · Σ_i Σ_{j≠i} p_T(j|i) · log( p_T(j|i) / p_S(j|i) )

    Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer",
    ECCV 2018, with the cosine kernel. Their sum over i is a mean here, so that the weight does not
    depend on the batch size. The authors' code differs from their equation and from this loss: it keeps the diagonal,
    j = i with k(i,i) = 1, in the probabilities and divides the sum by n², so its values are more than n times smaller.

    | input | shape | |
    |---|---|---|
    | student | [n, d] | embeddings of any length |
    | teacher | [n, D] | of the same images; D may differ from d |

    Returns:
        Scalar ≥ 0, 0 where the probabilities agree.

    Example:
        >>> import torch
        >>> rows = torch.rand(4, 8)
        >>> abs(PktLoss()(3 * rows, rows).item()) < 1e-6
        True
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = checked_pair(student, teacher)
        learned, target = _log_probabilities(student), _log_probabilities(teacher)
        return (target.exp() * (target - learned)).sum() / len(student)


def _log_probabilities(rows: Tensor) -> Tensor:
    """``log p(j|i)`` as ``[n, n − 1]``, without the diagonal."""
    n = len(rows)
    unit = functional.normalize(rows, dim=1, eps=1e-6)
    kernel = (unit @ unit.T + 1) / 2
    neighbours = kernel[~torch.eye(n, dtype=torch.bool, device=rows.device)].view(n, n - 1)
    # Opposite embeddings have similarity 0; the floor keeps the logarithm and its gradient finite.
    neighbours = neighbours.clamp(min=1e-6)
    return (neighbours / neighbours.sum(dim=1, keepdim=True)).log()


PKT = LossSpec(
    help="match the teacher's neighbour probabilities",
    equation="`1/n Σ_i KL(p_T(·∣i) ‖ p_S(·∣i))`, `p(j∣i) ∝ (cos(i,j) + 1)/2`, j ≠ i",
    source="Passalis and Tefas, ECCV 2018",
    build=lambda context: PktLoss(),
)
