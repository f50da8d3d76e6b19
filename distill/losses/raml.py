"""RAML: regression onto the teacher together with two kinds of similarities."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from distill.losses.absolute import check_same_size
from distill.losses.pairs import checked_pair, off_diagonal_mean

__all__ = ["RamlLoss"]


class RamlLoss(nn.Module):
    """Absolute term, plus similarities student-teacher, plus similarities student-student.

    With unit rows::

        absolute   1/n · Σ_i (1 − s_i·t_i)²
        rel_ts     mean over i ≠ j of (s_i·t_j − t_i·t_j)²
        rel_ss     mean over i ≠ j of (s_i·s_j − t_i·t_j)²
        L = absolute + λ1·rel_ts + λ2·rel_ss

    Suma and Tolias, "Large-to-small Image Resolution Asymmetry in Deep Metric Learning", WACV
    2023. There i and j are crops of one image; here they are all crops of the batch, several of
    an image among them. λ1 = λ2 = 0.7 is near what they tuned for all three sets (0.64 to 0.77).

    | input | shape | |
    |---|---|---|
    | student | [n, d] | embeddings, L2-normalised here |
    | teacher | [n, d] | of the same crops, L2-normalised here |

    Args:
        student_teacher: λ1 ≥ 0.
        student_student: λ2 ≥ 0.

    Returns:
        Scalar ≥ 0, 0 where student and teacher agree.

    Raises:
        Failure: dimensions differ.

    Example:
        >>> import torch
        >>> rows = torch.nn.functional.normalize(torch.rand(4, 8))
        >>> round(RamlLoss()(rows, rows).item(), 6)
        0.0
    """

    def __init__(self, student_teacher: float = 0.7, student_student: float = 0.7) -> None:
        super().__init__()
        self.student_teacher = student_teacher
        self.student_student = student_student

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        own, other = checked_pair(student, teacher)
        check_same_size(own.shape[1], other.shape[1], "raml")
        own, other = functional.normalize(own, dim=1, eps=1e-6), functional.normalize(other, dim=1, eps=1e-6)
        target = other @ other.T
        absolute = (1 - (own * other).sum(dim=1)).square().mean()
        across = off_diagonal_mean((own @ other.T - target).square())
        within = off_diagonal_mean((own @ own.T - target).square())
        return absolute + self.student_teacher * across + self.student_student * within
