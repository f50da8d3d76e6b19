"""Open the folder of a teacher that is made of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from distill.console import Failure
from distill.training.teacher import OpenTeacher
from distill.training.teachers.composite_file import COMPOSITE_FILE, read_composite
from distill.training.teachers.joined import JoinedTeacher
from distill.training.teachers.kind import TeacherContext, TeacherKind
from distill.training.teachers.projected import ProjectedTeacher

__all__ = ["COMPOSITE"]

_DEEPEST = 8  # teachers made of teachers made of …


def _open(path: Path, context: TeacherContext, depth: int = 0) -> OpenTeacher:
    record, layer = read_composite(path)
    teacher = _of(path, record.of, replace(context, mirror=False), depth)
    found: JoinedTeacher | ProjectedTeacher
    if layer is not None:
        if layer.weight.shape[1] != teacher.info.embedding_size:
            raise Failure(
                f"{path}: its layer takes {layer.weight.shape[1]} dimensions, its teacher has {teacher.info.embedding_size}",
                "train again with --overwrite",
            )
        found = ProjectedTeacher(teacher, layer, record.reduction or {}, record.data)
    elif isinstance(teacher, JoinedTeacher):
        found = teacher
    else:
        raise Failure(f"{path / COMPOSITE_FILE}: neither a layer nor several teachers", "train again with --overwrite")
    if found.info.id != record.id:
        raise Failure(
            f"{path}: its teachers are not those of {COMPOSITE_FILE} any more", "train again with --overwrite"
        )
    found.mirror = context.mirror
    found.path = path
    return found


def _of(path: Path, described: dict[str, Any], context: TeacherContext, depth: int) -> OpenTeacher:
    from distill.training.teachers.registry import open_teacher

    if depth > _DEEPEST:
        raise Failure(f"{path}: teachers made of teachers, more than {_DEEPEST} deep", "name the first ones")
    try:
        if "joined" in described:
            teachers = [_of(path, each, context, depth + 1) for each in described["joined"]]
            return JoinedTeacher(teachers, [float(weight) for weight in described["weights"]])
        places = [Path(described["path"]), path / described["relative"]]
        place = next((each for each in places if each.exists()), None)
        if place is None:
            raise Failure(f"{path / COMPOSITE_FILE}: its teacher {places[0]} is not there any more", "put it back")
        if (place / COMPOSITE_FILE).is_file():
            teacher = _open(place, context, depth + 1)
        else:
            teacher = open_teacher(place, context)
        if teacher.info.id != described["id"]:
            raise Failure(f"{place}: changed since {path} was made of it", "put the old file back, or train again")
    except (KeyError, TypeError, ValueError) as error:
        raise Failure(f"{path / COMPOSITE_FILE}: 'of' is not a teacher: {error}", "copy the folder again") from None
    return teacher


COMPOSITE = TeacherKind(
    help="the folder OUT/teacher of a student", claims=lambda path: (path / COMPOSITE_FILE).is_file(), open=_open
)
