"""The kinds of teachers that ``--teacher`` opens, and the function that opens any of them."""

from __future__ import annotations

from pathlib import Path

from distill.console import Failure
from distill.registry import Registry
from distill.training.teacher import OpenTeacher
from distill.training.teachers.kind import TeacherContext, TeacherKind

__all__ = ["TEACHERS", "open_teacher"]

# The first that claims a path opens it: a model file of a bundle belongs to the bundle.
TEACHERS: Registry[TeacherKind] = Registry(
    "kind of teacher",
    TeacherKind,
    {
        "checkpoint": "distill.training.teachers.checkpoint:CHECKPOINT",
        "composite": "distill.training.teachers.composite:COMPOSITE",
        "bundle": "export.teacher:BUNDLE",
        "onnx": "distill.training.teachers.onnx_file:ONNX",
        "tflite": "distill.training.teachers.tflite_file:TFLITE",
        "embeddings": "distill.training.teachers.embeddings:EMBEDDINGS",
    },
    group="distill_to_phone.teachers",
)


def open_teacher(path: Path, context: TeacherContext) -> OpenTeacher:
    """Open a teacher of any kind.

    Raises:
        Failure: nothing there that can teach, or a file that is damaged or not described.
    """
    for _, kind in TEACHERS.items():
        if kind.claims(path):
            return kind.open(path, context)
    if path.is_file():
        known = "; ".join(kind.help for _, kind in TEACHERS.items())
        raise Failure(f"{path}: no kind of teacher", f"known: {known}")
    return TEACHERS["checkpoint"].open(path, context)  # says what is missing
