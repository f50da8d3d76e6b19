"""Attention transfer: match where the teacher's stage maps are active."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.losses.pairs import checked_maps, safe_sqrt, same_grid
from distill.losses.spec import LossSpec

__all__ = ["ATTENTION", "AttentionLoss", "attention_map"]


def attention_map(maps: Tensor) -> Tensor:
    """Mean of squared activations over channels, flattened and scaled to length 1.

    Args:
        maps: ``[n, C, h, w]``.

    Returns:
        ``[n, h·w]``; each row ≥ 0 and of length 1 (0 for a map of zeros).
    """
    return functional.normalize(maps.square().mean(dim=1).flatten(1), dim=1, eps=1e-6)


class AttentionLoss(nn.Module):
    """Difference of the normalised attention maps.

    ``L = Σ_stages 1/n · Σ_i ‖ q_S,i / ‖q_S,i‖₂ − q_T,i / ‖q_T,i‖₂ ‖₂`` with
    ``q = mean over channels of A²``, flattened. Maps of different height or width are
    average-pooled to the smaller first.

    Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, equation 2 with
    p = 2, without its β/2, with the norm as in that equation: the authors' code takes the mean of the squared
    difference instead, whose slope vanishes as the maps agree. Used on blocks 2 to 4 in Yu et al., CVPR 2019.

    | input | shape | |
    |---|---|---|
    | student | list of [n, C_S, h, w] | one map for each chosen stage |
    | teacher | list of [n, C_T, H, W] | the same stages; channels may differ |

    Returns:
        Scalar, 0..√2 per stage (attention is never negative).

    Example:
        >>> import torch
        >>> student = torch.tensor([[[[1.0, 0.0]]]])  # active on the left
        >>> teacher = torch.tensor([[[[0.0, 2.0]]]])  # active on the right
        >>> round(AttentionLoss()([student], [teacher]).item(), 4)
        1.4142
    """

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        losses = []
        for maps in checked_maps(student, teacher):
            student_map, teacher_map = same_grid(*maps)
            difference = attention_map(student_map) - attention_map(teacher_map)
            losses.append(safe_sqrt(difference.square().sum(dim=1)).mean())
        return torch.stack(losses).sum()


ATTENTION = LossSpec(
    help="be active where the teacher's stage maps are",
    equation="`1/n Σ_i ‖q_S/‖q_S‖ − q_T/‖q_T‖‖₂`, `q = mean_c A_c²`",
    source="Zagoruyko and Komodakis, ICLR 2017",
    build=lambda context: AttentionLoss(),
    stages="maps",
    default_stages=(2, 3, 4),
    teacher_map="attention",
)
