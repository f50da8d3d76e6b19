"""RAML: regression onto the teacher's embedding, with two similarity terms."""

from __future__ import annotations

from torch import Tensor, nn

from distill.losses.pairs import checked_unit_pair, off_diagonal_mean
from distill.losses.spec import LossSpec

__all__ = ["RAML", "RamlLoss"]


class RamlLoss(nn.Module):
    """Absolute term, plus student-teacher similarities, plus student-student similarities.

    With unit rows::

        absolute   1/n · Σ_i (1 − s_i·t_i)²
        rel_ts     mean over i ≠ j of (s_i·t_j − t_i·t_j)²
        rel_ss     mean over i ≠ j of (s_i·s_j − t_i·t_j)²
        L = absolute + λ1·rel_ts + λ2·rel_ss

    Suma and Tolias, "Large-to-small Image Resolution Asymmetry in Deep Metric Learning", WACV
    2023. In the paper i and j are crops of one image; here they are all crops of the batch, several
    of each image among them. λ1 = λ2 = 0.7 is close to the paper's values for its three sets (0.64 to 0.77).

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
        student, teacher = checked_unit_pair(student, teacher, "raml")
        target = teacher @ teacher.T
        absolute = (1 - (student * teacher).sum(dim=1)).square().mean()
        across = off_diagonal_mean((student @ teacher.T - target).square())
        within = off_diagonal_mean((student @ student.T - target).square())
        return absolute + self.student_teacher * across + self.student_student * within


RAML = LossSpec(
    help="match the teacher's embedding and its similarities",
    equation="`1/n Σ(1 − s_i·t_i)² + λ1·mean(s_i·t_j − t_i·t_j)² + λ2·mean(s_i·s_j − t_i·t_j)²`",
    source="Suma and Tolias, WACV 2023",
    build=lambda context: RamlLoss(),
    space="teacher",
    views=2,
)
