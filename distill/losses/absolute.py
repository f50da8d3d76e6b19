"""Absolute teacher loss: match the teacher's embedding."""

from __future__ import annotations

from torch import Tensor, nn

from distill.losses.pairs import check_same_size, checked_pair, safe_sqrt
from distill.losses.spec import LossSpec

__all__ = ["ABSOLUTE", "AbsoluteLoss"]


class AbsoluteLoss(nn.Module):
    """Mean distance between student and teacher embeddings of the same image.

    ``L = 1/n · Σ_i ‖s_i − t_i‖₂``

    Yu et al., "Learning Metrics from Teachers", CVPR 2019 (arXiv 1904.03624), absolute teacher.

    | input | shape | |
    |---|---|---|
    | student | [n, d] | embeddings, L2-normalised in the paper, used as given |
    | teacher | [n, d] | the teacher's embeddings of the same images |

    Returns:
        Scalar ≥ 0; at most 2 for unit rows. 0 where both agree, with gradient 0 there.

    Raises:
        Failure: dimensions or numbers of images differ.

    Example:
        >>> import torch
        >>> AbsoluteLoss()(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])).item()
        5.0
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = checked_pair(student, teacher)
        check_same_size(student.shape[1], teacher.shape[1], "absolute")
        return safe_sqrt((student - teacher).square().sum(dim=1)).mean()


ABSOLUTE = LossSpec(
    help="match the teacher's embedding of the same image",
    equation="`1/n Σ_i ‖s_i − t_i‖₂`",
    source="Yu et al., CVPR 2019",
    build=lambda context: AbsoluteLoss(),
    space="teacher",
)
