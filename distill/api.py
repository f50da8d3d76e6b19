"""Training and evaluation as Python functions, with the options of ``distill-train``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.models.info import CheckpointInfo

__all__ = ["evaluate", "train_student", "train_teacher"]


def train_teacher(out: str | Path, *, overwrite: bool = False, **options: Any) -> CheckpointInfo:
    """Train a teacher and save its checkpoint, like ``distill-train teacher``.

    Args:
        out: Folder of the run. An unfinished run with the same options resumes.
        overwrite: Replace a run that ``out`` holds.
        options: Fields of :class:`~distill.training.config.TeacherConfig`: ``data``, ``arch``, ``weights``,
            ``method``, ``epochs``, ``lr`` …; ``distill-train teacher --help`` lists them.

    Returns:
        The contents of ``model.json``; ``metrics["test"]`` holds the scores on the test classes.

    Raises:
        UsageFailure: Unknown or conflicting options, or ``out`` holds something else.
        Failure: Data or weights cannot be read, or the loss is not finite.
    """
    from distill.runs import train_run
    from distill.training.config import TeacherConfig, make_config

    return train_run("teacher", make_config(TeacherConfig, options), Path(out), overwrite)


def train_student(
    out: str | Path,
    *,
    teacher: str | Path | Sequence[str | Path] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> CheckpointInfo:
    """Train a student, with or without a teacher, and save its checkpoint, like ``distill-train student``.

    Args:
        out: Folder of the run. An unfinished run with the same options resumes.
        teacher: Folder of a run, bundle, ``.onnx`` or ``.tflite`` file, or several of them to join; ``None``
            trains with metric losses alone, or from the option ``teacher_embeddings``.
        overwrite: Replace a run that ``out`` holds.
        options: Fields of :class:`~distill.training.config.StudentConfig`: ``data``, ``arch``, ``method``,
            ``epochs``, ``lr`` …; ``distill-train student --help`` lists them.

    Returns:
        The contents of ``model.json``; ``metrics["test"]`` holds the scores on the test classes.

    Raises:
        UsageFailure: Unknown or conflicting options, or ``out`` holds something else.
        Failure: Data, weights or teacher cannot be read, or the loss is not finite.
    """
    from distill.runs import train_run
    from distill.training.config import StudentConfig, make_config

    if teacher is not None:
        given = [teacher] if isinstance(teacher, str | Path) else teacher
        options = {**options, "teacher": tuple(map(Path, given))}
    config = make_config(StudentConfig, options)
    return train_run("student", config, Path(out), overwrite)


def evaluate(
    run: str | Path,
    data: str | None = None,
    *,
    split: str | None = None,
    part: str = "test",
    gallery_model: str | Path | None = None,
    nmi: bool = False,
    degrade: str | None = None,
) -> dict[str, float]:
    """Measure Recall@K and MAP@R of a checkpoint, like ``distill-train evaluate``.

    Args:
        run: Folder of a checkpoint.
        data: Data spec; ``None`` takes the data it was trained on.
        split: Split rule; ``None`` takes the run's.
        part: ``test``, ``train``, ``validation`` or ``all``.
        gallery_model: Teacher of any kind that embeds the gallery, or a file of stored vectors; ``None`` takes ``run``
            for queries and gallery.
        nmi: Also cluster the embeddings and compute NMI (slow).
        degrade: Degrade the images first: ``lowres:4``, ``blur:2``, ``jpeg:20``, joined by ``+``.

    Returns:
        ``recall@1``, ``recall@2``, ``recall@4``, ``recall@8``, ``map@r``, ``r_precision`` and, on request,
        ``nmi``, as fractions in 0..1.

    Raises:
        UsageFailure: An unknown data set, split or part.
        Failure: Checkpoint or images cannot be read.
    """
    from distill.runs import evaluate_run

    return evaluate_run(Path(run), data, split, part, Path(gallery_model) if gallery_model else None, nmi, degrade)
