"""Relative teacher loss: match the teacher's distances between images."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from distill.console.errors import UsageFailure, suggest
from distill.losses.pairs import checked_pair, pairwise_distances, safe_sqrt
from distill.losses.spec import LossSpec

__all__ = ["RELATIVE", "RELATIVE_RMS", "RelativeLoss"]


class RelativeLoss(nn.Module):
    """Difference of the two n × n distance matrices of a batch.

    With ``d_S(i,j) = ‖s_i − s_j‖₂``, and ``d_T`` likewise::

        frobenius   L = ‖D_S − D_T‖_F = √ Σ_ij (d_S(i,j) − d_T(i,j))²      as published
        rms         L = √ ( 1/n² · Σ_ij (d_S(i,j) − d_T(i,j))² )

    Since ``L_frobenius = n · L_rms``, a weight λ of the published form equals the weight
    ``λ_rms = n · λ_frobenius`` of the RMS form. The paper's λ = 0.3 (CUB), 0.1 (Cars) and 1.0
    (SOP) for batches of 32 are 9.6, 3.2 and 32 for the RMS form, which does not depend on n.

    Yu et al., "Learning Metrics from Teachers", CVPR 2019 (arXiv 1904.03624), relative teacher.

    | input | shape | |
    |---|---|---|
    | student | [n, d] | embeddings, L2-normalised in the paper, used as given |
    | teacher | [n, D] | of the same images; D may differ from d |

    Returns:
        Scalar ≥ 0. 0 where all distances agree, with gradient 0 there.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0, 0.0], [0.0, 3.0]])
        >>> round(RelativeLoss("frobenius")(student, teacher).item(), 4)  # √(2² + 2²)
        2.8284
        >>> round(RelativeLoss("rms")(student, teacher).item(), 4)
        1.4142
    """

    def __init__(self, form: Literal["frobenius", "rms"] = "frobenius") -> None:
        super().__init__()
        if form not in ("frobenius", "rms"):
            raise UsageFailure(f"relative: unknown form '{form}'", suggest(form, ("frobenius", "rms")))
        self.form = form

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = checked_pair(student, teacher)
        squares = (pairwise_distances(student) - pairwise_distances(teacher)).square()
        return safe_sqrt(squares.sum() if self.form == "frobenius" else squares.mean())


RELATIVE = LossSpec(
    help="match the teacher's distances between images (Frobenius norm, as published)",
    equation="`‖D_S − D_T‖_F` over the n × n distances",
    source="Yu et al., CVPR 2019",
    build=lambda context: RelativeLoss("frobenius"),
    weight=0.3,
)
RELATIVE_RMS = LossSpec(
    help="relative, independent of the batch size",
    equation="`√(1/n² Σ_ij (d_S − d_T)²)`",
    source="Yu et al., CVPR 2019",
    build=lambda context: RelativeLoss("rms"),
    weight=9.6,  # n · 0.3 at the paper's batch size n = 32
)
