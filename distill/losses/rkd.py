"""Relational knowledge distillation: match distances up to scale, and angles."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.losses.pairs import checked_pair, pairwise_distances, safe_sqrt
from distill.losses.spec import LossSpec

__all__ = ["RKD", "RKD_ANGLE", "RKD_DISTANCE", "RKD_RAW", "RkdAngleLoss", "RkdDistanceLoss", "RkdLoss"]


class RkdDistanceLoss(nn.Module):
    """Difference of the distances between images, each network's divided by its mean distance.

    ``L = 1/n² · Σ_ij huber( d_S(i,j)/μ_S − d_T(i,j)/μ_T )``, μ the mean of the positive
    distances, ``huber(x) = x²/2`` for |x| ≤ 1 and ``|x| − 1/2`` beyond.

    Park et al., "Relational Knowledge Distillation", CVPR 2019, distance-wise loss. The
    sum is a mean over all ordered pairs, i = j included, as their weights assume.

    | input | shape | |
    |---|---|---|
    | student | [n, d] | embeddings, used as given |
    | teacher | [n, D] | of the same images; D may differ from d |

    Returns:
        Scalar ≥ 0.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[0.0], [1.0], [3.0]])
        >>> RkdDistanceLoss()(10 * rows, rows).item()
        0.0
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = checked_pair(student, teacher)
        return functional.smooth_l1_loss(_in_means(pairwise_distances(student)), _in_means(pairwise_distances(teacher)))


def _in_means(distances: Tensor) -> Tensor:
    """Distances divided by the mean of the positive ones."""
    positive = distances > 0
    mean = distances.sum() / positive.sum().clamp(min=1)
    # If all rows are equal, there is no scale to divide by.
    return distances / torch.where(mean > 0, mean, 1.0)


class RkdAngleLoss(nn.Module):
    """Difference of the angles formed by triples of images.

    ``L = 1/n³ · Σ_ijk huber( cos ∠ s_i s_j s_k − cos ∠ t_i t_j t_k )``, where the cosine is
    ``⟨e_ij, e_kj⟩`` with ``e_ij = (s_i − s_j)/‖s_i − s_j‖₂`` (0 where s_i = s_j).

    Park et al., "Relational Knowledge Distillation", CVPR 2019, angle-wise loss. The sum
    is a mean over all ordered triples. Memory grows with n³ + n²·d.

    | input | shape | |
    |---|---|---|
    | student | [n, d] | embeddings, used as given |
    | teacher | [n, D] | of the same images; D may differ from d |

    Returns:
        Scalar, 0..1.5.

    Example:
        >>> import torch
        >>> corner = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
        >>> RkdAngleLoss()(5 * corner + 1, corner).item()
        0.0
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = checked_pair(student, teacher)
        return functional.smooth_l1_loss(_cosines(student), _cosines(teacher))


def _cosines(rows: Tensor) -> Tensor:
    """Cosines ``[n, n, n]``: at vertex j, between the directions to i and to k."""
    edges = rows.unsqueeze(0) - rows.unsqueeze(1)
    lengths = safe_sqrt(edges.square().sum(dim=2, keepdim=True))
    directions = edges / torch.where(lengths > 0, lengths, 1.0)
    return directions @ directions.transpose(1, 2)


class RkdLoss(nn.Module):
    """``rkd_distance + 2 · rkd_angle``, the combination of Park et al., "Relational Knowledge Distillation", CVPR 2019.

    Rows are used as given. ``--method rkd`` gives unit rows, which is what a gallery compares. The authors train and
    evaluate students without a norm (``--l2normalize false``): ``--method rkd_raw`` gives the rows before it.

    | input | shape | |
    |---|---|---|
    | student | [n, d] | embeddings, used as given |
    | teacher | [n, D] | of the same images; D may differ from d |

    Example:
        >>> import torch
        >>> rows = torch.rand(4, 8)
        >>> RkdLoss()(rows, rows).item()
        0.0
    """

    def __init__(self, angle_weight: float = 2.0) -> None:
        super().__init__()
        self.distance = RkdDistanceLoss()
        self.angle = RkdAngleLoss()
        self.angle_weight = angle_weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return self.distance(student, teacher) + self.angle_weight * self.angle(student, teacher)


RKD = LossSpec(
    help="match the teacher's distances (up to scale) and angles: rkd_distance + 2·rkd_angle",
    equation="`rkd_distance + 2 · rkd_angle`",
    source="Park et al., CVPR 2019",
    build=lambda context: RkdLoss(),
)
RKD_RAW = replace(
    RKD,
    help="rkd on the student's rows before their norm, as the authors' code computes it",
    equation="`rkd_distance + 2 · rkd_angle`, on rows `s_i` before their norm",
    student_rows="raw",
)
RKD_DISTANCE = LossSpec(
    help="match the teacher's distances up to scale",
    equation="`1/n² Σ_ij huber(d_S/μ_S − d_T/μ_T)`, μ the mean positive distance",
    source="Park et al., CVPR 2019",
    build=lambda context: RkdDistanceLoss(),
)
RKD_ANGLE = LossSpec(
    help="match the teacher's angles between triples of images",
    equation="`1/n³ Σ_ijk huber(cos∠s_i s_j s_k − cos∠t_i t_j t_k)`",
    source="Park et al., CVPR 2019",
    build=lambda context: RkdAngleLoss(),
    weight=2.0,
)
