"""Train a checkpoint from options, and evaluate a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

from distill.console import Failure, UsageFailure, note, warn
from distill.data.imageset import ImageSet
from distill.data.known import Known, part_for, warn_of_trained
from distill.data.spec import open_data
from distill.data.split import Part, split
from distill.evaluation import Embeddings, compare_neighbours, embed_images, score
from distill.models.allocator import keep_memory
from distill.models.checkpoint import load_checkpoint, save_checkpoint
from distill.models.info import CheckpointInfo, read_info
from distill.training.config import RunConfig
from distill.training.loop import TrainingResult, train_model
from distill.training.reduction import REDUCED_FOLDER
from distill.training.state import RunFolder
from distill.training.teacher import LiveTeacher
from distill.training.teachers.composite_file import COMPOSITE_FILE, read_composite
from distill.training.teachers.kind import TeacherContext
from distill.training.teachers.registry import open_teacher
from distill.versions import versions

__all__ = ["evaluate_run", "open_for", "teacher_of", "train_run"]


def train_run(
    kind: Literal["teacher", "student"], config: RunConfig, out: Path, overwrite: bool = False
) -> CheckpointInfo:
    """Train, evaluate once on the test part, and save the checkpoint in ``out``.

    An unfinished run with the same configuration in ``out`` continues where it stopped, with the same
    result as an uninterrupted run.

    Args:
        kind: recorded in the checkpoint.
        config: options, see :func:`distill.training.config.make_config`.
        out: folder of the run.
        overwrite: replace a run that ``out`` holds.

    Returns:
        The checkpoint's ``model.json``.

    Raises:
        UsageFailure: options that do not go together, or ``out`` holds something else.
        Failure: data, weights or teacher cannot be used, or the loss is not finite.
    """
    keep_memory()
    run = RunFolder(out)
    run.check(config, overwrite)
    result = train_model(config, run, overwrite)
    setup = result.setup
    if not setup.accelerator.is_main_process:
        setup.accelerator.wait_for_everyone()
        return read_info(out)
    try:
        result.metrics |= _test_metrics(config, result)
    except Failure as failure:
        warn(f"no test metrics: {failure}")
    info = save_checkpoint(out, result.model, _describe(kind, config, result))
    run.finish()
    setup.accelerator.wait_for_everyone()
    return info


def _test_metrics(config: RunConfig, result: TrainingResult) -> dict[str, dict[str, float]]:
    """Measure on the test part: Recall@K or, without labels, agreement with the teacher."""
    setup = result.setup
    test_set = split(open_data(config.data), config.split, "test")
    if not test_set.labelled and setup.teacher is None:
        note(f"{config.data}: no labels and no teacher, so there is nothing to measure on the test images")
        return {}
    what = "classes" if test_set.labelled else "images"
    found = embed_images(result.model, setup.preprocessing, test_set, label=f"evaluating on test {what}")
    if test_set.labelled:
        return {"test": score(found)}
    assert setup.teacher is not None
    taught = setup.teacher.live.index(test_set).only(found.indices)
    return {"test": compare_neighbours(found.only(taught.indices), taught)}


def _describe(kind: Literal["teacher", "student"], config: RunConfig, result: TrainingResult) -> CheckpointInfo:
    setup = result.setup
    teacher = setup.teacher_info
    training: dict[str, Any] = config.model_dump(mode="json")
    training["computed_in"] = "bfloat16" if setup.autocast else "float32"
    training["best_epoch"] = result.best_epoch
    training["processes"] = setup.accelerator.num_processes
    if teacher is not None:
        training["teacher_id"] = teacher.id
    if setup.teacher is not None and not isinstance(setup.teacher.live, LiveTeacher):
        training["teacher_of"] = setup.teacher.live.describe()
    if setup.teacher is not None and setup.teacher.reduction is not None:
        training["reduction"] = setup.teacher.reduction
    return CheckpointInfo(
        kind=kind,
        arch=config.arch,
        embedding_size=setup.model.embedding_size,
        preprocessing=setup.preprocessing,
        training=training,
        data=setup.record,
        space=teacher.id if teacher is not None and setup.losses.space == "teacher" else None,
        metrics=result.metrics,
        versions=versions(),
    )


def open_for(run: Path, info: CheckpointInfo, data: str | None) -> ImageSet:
    """Open an image set for a run, by default its own.

    Args:
        run: folder of the run, for error messages.
        info: its ``model.json``.
        data: data spec; None for the one of the run.

    Raises:
        UsageFailure: the run does not record its data and ``data`` is None.
        Failure: the images cannot be opened.
    """
    spec = data or info.data.get("spec")
    if not spec:
        raise UsageFailure(f"{run} does not record its training data", "add --data")
    return open_data(spec)


def evaluate_run(
    run: Path,
    data: str | None,
    split_rule: str | None,
    part: str,
    gallery_run: Path | None,
    with_nmi: bool,
    degrade: str | None = None,
    reference_run: Path | None = None,
) -> dict[str, float]:
    """Score a checkpoint on a part of an image set.

    A warning says if classes that the run, or the gallery's, was trained on are measured as unseen ones.

    Args:
        run: folder of the checkpoint.
        data: data spec; None for the one it was trained on.
        split_rule: None for the one it was trained with, if these are its classes, see
            :func:`distill.data.known.part_for`.
        part: ``test``, ``train``, ``validation`` or ``all``.
        gallery_run: teacher of any kind that indexes the gallery, stored vectors too; its embedding size must be
            the same. The gallery holds the same images; each query is excluded from its own search.
        with_nmi: also cluster the embeddings and report NMI.
        degrade: degradation of the images (``lowres:4``); the gallery of another model stays clean.
        reference_run: checkpoint whose nearest neighbours the run's are compared with. None: with labels, none is
            compared; without, those of the gallery's model or of the run's teacher.

    Returns:
        Metric name → value in 0..1, see :func:`distill.evaluation.score` (images with labels) and
        :func:`distill.evaluation.compare_neighbours` (with a reference).

    Raises:
        UsageFailure: unknown part or degradation, no data, no reference for images without labels, or embedding sizes
            that differ.
        Failure: a checkpoint or the images cannot be used.
    """
    from distill.training.degrade import degrade_rows

    keep_memory()
    worse = degrade_rows(degrade)
    model, info = load_checkpoint(run)
    images, _ = part_for(open_for(run, info, data), info.data, cast(Part, part), split_rule)
    if not images.labelled:
        if with_nmi:
            raise UsageFailure(f"--nmi needs labels, and {images.spec} has none", "leave it out")
        reference_run = reference_run or gallery_run or teacher_of(run, info)
        note(f"{images.spec}: no labels: nearest neighbours are compared with those of {reference_run}")
    if part in ("test", "validation") and info.training.get("epochs") != 0:
        warn_of_trained(images, Known.of(info.data), str(run), f"the {part} part")
    queries = embed_images(model, info.preprocessing, images, degrade=worse)
    gallery = _gallery(run, info, gallery_run, images, part) if gallery_run else None
    if gallery is not None:  # stored vectors may lack some images
        queries = queries.only(gallery.indices)
        gallery = gallery.only(queries.indices)
    metrics = score(queries, gallery, with_nmi=with_nmi) if images.labelled else {}
    if reference_run is None:
        return metrics
    if gallery is not None and reference_run == gallery_run:
        reference = gallery
    else:
        reference = open_teacher(reference_run, TeacherContext()).index(images).only(queries.indices)
        queries = queries.only(reference.indices)
        gallery = None if gallery is None else gallery.only(reference.indices)
    return metrics | compare_neighbours(queries, reference, gallery)


def teacher_of(run: Path, info: CheckpointInfo) -> Path:
    """Return the path of the teacher that a run learned from, as it taught.

    Raises:
        UsageFailure: there is none, there are several that were not joined for it, or it is no longer there.
    """
    recorded = [info.training.get("teacher"), info.training.get("teacher_embeddings")]
    named = [Path(path) for path in recorded if isinstance(path, str)]
    if (run / REDUCED_FOLDER).is_dir():
        return run / REDUCED_FOLDER
    if len(named) == 1 and named[0].exists():
        return named[0]
    what = f"its teacher {named[0]} is not there" if len(named) == 1 else "has no teacher"
    raise UsageFailure(
        f"{run}: {what}, and without labels neighbours are compared with those of a reference", "add --reference DIR"
    )


def _gallery(run: Path, info: CheckpointInfo, gallery_run: Path, images: ImageSet, part: str) -> Embeddings:
    """Embed the images with the teacher that indexes the gallery."""
    gallery_teacher = open_teacher(gallery_run, TeacherContext())
    gallery_info = gallery_teacher.info
    if gallery_info.embedding_size != info.embedding_size:
        raise UsageFailure(
            f"{run} embeds into {info.embedding_size} dimensions, {gallery_run} into {gallery_info.embedding_size}",
            f"use --gallery-model {reduced}, the teacher as this run reduced it"
            if (reduced := run / REDUCED_FOLDER).is_dir()
            else "distil with an absolute-type loss, which reduces the teacher to --embedding-size",
        )
    if info.space != gallery_info.id and not _holds_space(gallery_run, info):
        warn(f"{run} was not trained into the space of {gallery_run}: expect poor results of asymmetric search")
    for member in gallery_teacher.members:
        if part in ("test", "validation") and member.info.training.get("epochs") != 0:
            warn_of_trained(images, Known.of(member.info.data), str(gallery_run), f"the {part} part")
    return gallery_teacher.index(images)


def _holds_space(file: Path, info: CheckpointInfo) -> bool:
    """Whether a file of vectors is the one that the reduced teacher of a run was saved with."""
    beside = file.parent / COMPOSITE_FILE
    return beside.is_file() and read_composite(file.parent)[0].id == info.space
