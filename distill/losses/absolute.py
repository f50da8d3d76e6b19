"""Absolute teacher: be where the teacher is."""

from __future__ import annotations

from torch import Tensor, nn

from distill.console.errors import Failure
from distill.losses.pairs import checked_pair, safe_sqrt

__all__ = ["AbsoluteLoss"]


class AbsoluteLoss(nn.Module):
    """Mean distance between student and teacher embeddings of the same image.

    ``L = 1/n · Σ_i ‖s_i − t_i‖₂``

    Yu et al., "Learning Metrics from Teachers", CVPR 2019 (arXiv 1904.03624), absolute teacher.

    | input | shape | |
    |---|---|---|
    | student | [n, d] | embeddings, L2-normalised in the paper, used as given |
    | teacher | [n, d] | the teacher's of the same images |

    Returns:
        Scalar ≥ 0; at most 2 for unit rows. 0 where both agree, with slope 0 there.

    Raises:
        Failure: dimensions differ, or not the same number of images.

    Example:
        >>> import torch
        >>> AbsoluteLoss()(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])).item()
        5.0
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        own, other = checked_pair(student, teacher)
        check_same_size(own.shape[1], other.shape[1], "absolute")
        return safe_sqrt((own - other).square().sum(dim=1)).mean()


def check_same_size(student: int, teacher: int, name: str) -> None:
    """Refuse what compares coordinates where the coordinates do not match.

    Raises:
        Failure: ``student != teacher``.
    """
    if student != teacher:
        raise Failure(
            f"{name}: the student's embedding has {student} dimensions, the teacher's {teacher}",
            f"use --embedding-size {teacher}, or a method that compares distances, such as relative",
        )
