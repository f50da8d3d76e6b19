"""What a loss declares about itself. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LossContext", "LossSpec", "StudentRows", "TeacherMap"]

StudentRows = Literal["unit", "raw"]
TeacherMap = Literal["attention", "grid", "whole"]


@dataclass(frozen=True)
class LossContext:
    """The sizes that a loss may need to build its module.

    Attributes:
        student_size: dimensions of the student's embedding.
        teacher_size: dimensions of the teacher's embedding, None without a teacher.
        num_classes: number of labelled training classes; labels are 0..num_classes−1.
        student_channels: channels of the student's map at each stage the loss works on; empty for a
            loss on embeddings.
        teacher_channels: channels of the teacher's maps at the same stages.
    """

    student_size: int
    teacher_size: int | None
    num_classes: int
    student_channels: tuple[int, ...] = ()
    teacher_channels: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """One loss that ``--method`` can name.

    The module that ``build`` returns is called as ``module(student[, teacher][, labels])`` and returns a
    scalar. ``student`` and ``teacher`` are embeddings ``[n, d]`` and ``[n, D]``, or, if the term has
    stages, lists of maps ``[n, C, h, w]``, one for each stage. ``labels`` is int64 ``[n]``. ``teacher`` and
    ``labels`` are passed if the spec sets them to True; with labels, only labelled rows are passed.

    Attributes:
        help: what the loss asks of the student, in one line.
        equation: the formula, or the loss and its miner, as docs/methods.md shows it.
        source: the paper, e.g. ``"Yu et al., CVPR 2019"``.
        build: makes the module.
        weight: default weight.
        teacher: whether the loss needs the teacher's embeddings or maps.
        labels: whether the loss needs labels. Unlabelled images are then left out.
        stages: ``"none"`` works on embeddings, ``"maps"`` on stage maps, ``"optional"`` on maps if the
            method names stages and on embeddings otherwise.
        default_stages: stages used if the method names none.
        teacher_map: which reduction of the teacher's map suffices: ``"whole"``, the map itself;
            ``"grid"``, its average over the cells of the student's map where that is coarser;
            ``"attention"``, the mean square over channels of that average.
        space: ``"teacher"`` if the loss ties the student's embedding space to the teacher's, so that
            student queries can search a gallery indexed by the teacher. Dimensions must then be equal.
        views: crops of each image that a batch should hold.
        student_rows: ``"unit"``, the student's embeddings as they are deployed; ``"raw"``, the rows before
            their L2 norm. For losses on embeddings; the teacher's embeddings are of unit length either way.
        lr_factor: factor on the learning rate of the loss's own parameters.

    Raises:
        ValueError: ``default_stages`` is missing for a loss on maps, or given for a loss on embeddings, or a loss on
            maps asks for raw rows.
    """

    help: str
    equation: str
    source: str
    build: Callable[[LossContext], nn.Module]
    weight: float = 1.0
    teacher: bool = True
    labels: bool = False
    stages: Literal["none", "optional", "maps"] = "none"
    default_stages: tuple[int, ...] = ()
    teacher_map: TeacherMap = "whole"
    space: Literal["teacher", "own"] = "own"
    views: int = 1
    student_rows: StudentRows = "unit"
    lr_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.stages == "maps" and not self.default_stages:
            raise ValueError("a loss on stage maps needs default_stages")
        if self.stages == "none" and self.default_stages:
            raise ValueError("default_stages are given, but the loss works on embeddings: set stages")
        if self.stages != "none" and self.student_rows != "unit":
            raise ValueError("raw rows are for a loss on embeddings, but the spec sets stages")
