"""Hint losses: the teacher's stage maps as targets, absolute or relative."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.console.errors import Failure
from distill.losses.pairs import checked_maps, pairwise_distances, safe_sqrt, same_grid
from distill.losses.spec import LossSpec

__all__ = ["HINT", "HINT_RELATIVE", "HintLoss", "RelativeHintLoss"]


class HintLoss(nn.Module):
    """Regress the teacher's maps from the student's through a learned 1×1 convolution.

    ``L = Σ_stages ½ · mean (r(A_S) − A_T)²``, r: C_S → C_T channels, mean over images, channels
    and positions. FitNets sums over the latter two; the mean weighs stages of different size equally.
    Maps of different height or width are average-pooled to the smaller.

    Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, equation 3; as absolute hints
    in Yu et al., "Learning Metrics from Teachers", CVPR 2019.

    | input | shape | |
    |---|---|---|
    | student | list of [n, C_S, h, w] | one map for each chosen stage |
    | teacher | list of [n, C_T, H, W] | the same stages |

    The adaptors are parameters of this module: give them to the optimiser.

    Args:
        student_channels, teacher_channels: C_S and C_T of each chosen stage.

    Returns:
        Scalar ≥ 0.

    Raises:
        Failure: numbers of stages or channels that do not match.

    Example:
        >>> import torch
        >>> loss = HintLoss([8], [16])
        >>> loss([torch.rand(2, 8, 7, 7)], [torch.rand(2, 16, 14, 14)]).shape
        torch.Size([])
    """

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[int]) -> None:
        super().__init__()
        if len(student_channels) != len(teacher_channels) or not student_channels:
            raise Failure(
                f"hint: {len(student_channels)} stages of the student, {len(teacher_channels)} of the teacher",
                "pass the same stages of both",
            )
        self.adaptors = nn.ModuleList(
            nn.Conv2d(student, teacher, kernel_size=1)
            for student, teacher in zip(student_channels, teacher_channels, strict=True)
        )

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        pairs = checked_maps(student, teacher)
        if len(pairs) != len(self.adaptors):
            raise Failure(
                f"hint: {len(pairs)} maps for {len(self.adaptors)} adaptors", "pass the stages it was built for"
            )
        losses = []
        for adaptor, maps in zip(self.adaptors, pairs, strict=True):
            # Pooling and a 1×1 convolution commute; pooling first makes the convolution cheaper.
            student_map, teacher_map = same_grid(*maps)
            losses.append(0.5 * (adaptor(student_map) - teacher_map).square().mean())
        return torch.stack(losses).sum()


class RelativeHintLoss(nn.Module):
    """Match the distances between the images' maps, stage by stage, without an adaptor.

    ``L = Σ_stages √( 1/n² · Σ_ij (d_S(i,j) − d_T(i,j))² )``, the RMS form of the relative loss on maps
    that are flattened and scaled to length 1, because lengths of maps of different networks are not
    comparable. Distances are 0..2. Maps of different height or width are average-pooled to the smaller.

    Relative hints of Yu et al., "Learning Metrics from Teachers", CVPR 2019.

    | input | shape | |
    |---|---|---|
    | student | list of [n, C_S, h, w] | one map for each chosen stage |
    | teacher | list of [n, C_T, H, W] | the same stages |

    Returns:
        Scalar, 0..2 per stage.

    Example:
        >>> import torch
        >>> maps = [torch.rand(4, 8, 7, 7)]
        >>> RelativeHintLoss()(maps, maps).item()
        0.0
    """

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        losses = []
        for maps in checked_maps(student, teacher):
            student_map, teacher_map = same_grid(*maps)
            difference = pairwise_distances(_flat_unit(student_map)) - pairwise_distances(_flat_unit(teacher_map))
            losses.append(safe_sqrt(difference.square().mean()))
        return torch.stack(losses).sum()


def _flat_unit(maps: Tensor) -> Tensor:
    return functional.normalize(maps.flatten(1), dim=1, eps=1e-6)


HINT = LossSpec(
    help="regress the teacher's stage maps through a learned 1×1 adaptor",
    equation="`½ · mean (r(A_S) − A_T)²`, r a learned 1×1 convolution",
    source="Romero et al., ICLR 2015; Yu et al., CVPR 2019",
    build=lambda context: HintLoss(context.student_channels, context.teacher_channels),
    stages="maps",
    default_stages=(2, 3, 4),
    teacher_map="grid",
)
HINT_RELATIVE = LossSpec(
    help="match the distances between the teacher's stage maps",
    equation="`√(1/n² Σ_ij (d_S − d_T)²)` on flattened maps of length 1",
    source="Yu et al., CVPR 2019",
    build=lambda context: RelativeHintLoss(),
    stages="maps",
    default_stages=(2, 3, 4),
    teacher_map="grid",
)
