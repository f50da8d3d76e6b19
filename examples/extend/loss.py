"""A loss in one file: match the direction of the teacher's embedding.

Registered as ``cosine = "my_package.cosine:COSINE"``, it is trained with ``--method cosine``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from distill.losses import LossSpec
from distill.losses.pairs import check_same_size, checked_pair


class CosineLoss(nn.Module):
    """Mean cosine distance between student and teacher embeddings of the same image.

    ``L = 1/n · Σ_i (1 − cos(s_i, t_i))``, in 0..2. Student and teacher: ``[n, d]``, of any length.
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = checked_pair(student, teacher)
        check_same_size(student.shape[1], teacher.shape[1], "cosine")
        return (1 - functional.cosine_similarity(student, teacher, dim=1)).mean()


COSINE = LossSpec(
    help="match the direction of the teacher's embedding",
    equation="`1/n Σ_i (1 − cos(s_i, t_i))`",
    source="Grill et al., NeurIPS 2020, equation 2, halved",
    build=lambda context: CosineLoss(),
    space="teacher",
)
