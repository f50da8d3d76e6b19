"""Open the teacher of a run from its options: one, or several joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distill.console import UsageFailure
from distill.data.embeddings_file import read_embeddings
from distill.training.teacher import OpenTeacher
from distill.training.teachers.embeddings import EmbeddingsTeacher
from distill.training.teachers.joined import JoinedTeacher, parse_weights
from distill.training.teachers.kind import TeacherContext
from distill.training.teachers.registry import open_teacher

__all__ = ["open_teachers"]


def open_teachers(
    paths: Sequence[Path], embeddings: Path | None, weights: str | None, context: TeacherContext
) -> OpenTeacher | None:
    """Open ``--teacher`` (each) and ``--teacher-embeddings``.

    Args:
        paths: folders and files of teachers.
        embeddings: file of stored vectors, the last teacher.
        weights: ``--teacher-weights``, see :func:`~distill.training.teachers.joined.parse_weights`.
        context: how they are used.

    Returns:
        The teacher, several joined into one; None without any.

    Raises:
        UsageFailure: weights without several teachers, or stored vectors alone that are to be mirrored.
        Failure: one of them cannot be used.
    """
    count = len(paths) + (embeddings is not None)
    if weights is not None and count < 2:
        raise UsageFailure("--teacher-weights needs several teachers", "leave it out, or repeat --teacher")
    if not count:
        return None
    chosen = parse_weights(weights, count)
    # Joined embeddings are mirrored as a whole, so that their weights stay those of the unit embeddings.
    each = context if count == 1 else replace(context, mirror=False)
    teachers = [open_teacher(path, each) for path in paths]
    if embeddings is not None:
        teachers.append(EmbeddingsTeacher(read_embeddings(embeddings), each))
    if context.mirror and all(teacher.stored for teacher in teachers):
        raise UsageFailure("--teacher-mirror: stored vectors have no mirrored crops", "leave it out")
    return teachers[0] if count == 1 else JoinedTeacher(teachers, chosen, context.mirror)
