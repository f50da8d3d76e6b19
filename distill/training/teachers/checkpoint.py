"""A checkpoint of this project, of any backbone, as a teacher."""

from __future__ import annotations

from pathlib import Path

from distill.models.checkpoint import load_checkpoint
from distill.models.info import INFO_FILE
from distill.training.precision import in_bfloat16
from distill.training.teacher import LiveTeacher
from distill.training.teachers.kind import TeacherContext, TeacherKind

__all__ = ["CHECKPOINT"]


def _open(path: Path, context: TeacherContext) -> LiveTeacher:
    model, info = load_checkpoint(path)
    autocast = in_bfloat16(model, context.precision, context.device)
    return LiveTeacher(model, info, context.device, autocast, context.mirror, path)


CHECKPOINT = TeacherKind(
    help="the folder of a run of distill-train", claims=lambda path: (path / INFO_FILE).is_file(), open=_open
)
