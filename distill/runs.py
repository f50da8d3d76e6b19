"""From options to a finished checkpoint, and from a checkpoint to its scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from distill.console import Failure, UsageFailure, warn
from distill.data.spec import open_data
from distill.data.split import split
from distill.evaluation import embed_images, score
from distill.models.allocator import keep_memory
from distill.models.checkpoint import load_checkpoint, save_checkpoint
from distill.models.info import CheckpointInfo, read_info
from distill.training.config import RunConfig
from distill.training.loop import Outcome, train_model
from distill.training.reduction import REDUCED_FOLDER
from distill.training.setup import data_record
from distill.training.state import RunFolder
from distill.versions import versions

__all__ = ["data_of", "evaluate_run", "train_run"]


def train_run(
    kind: Literal["teacher", "student"], config: RunConfig, out: Path, overwrite: bool = False
) -> CheckpointInfo:
    """Train, evaluate on the test classes once, and save the checkpoint in ``out``.

    An unfinished run of the same configuration in ``out`` goes on where it stopped and ends as
    it would have ended.

    Raises:
        UsageFailure: options that do not go together, or ``out`` holds something else.
        Failure: the work failed.
    """
    keep_memory()
    run = RunFolder(out)
    run.check(config, overwrite)
    outcome = train_model(config, run, overwrite)
    setup = outcome.setup
    if not setup.accelerator.is_main_process:
        setup.accelerator.wait_for_everyone()
        return read_info(out)
    try:
        test_set = split(open_data(config.data), config.split, "test")
        found = embed_images(outcome.model, setup.preprocessing, test_set, label="evaluating on test classes")
        outcome.metrics["test"] = score(found)
    except Failure as failure:
        warn(f"no test metrics: {failure}")
    info = save_checkpoint(out, outcome.model, _describe(kind, config, outcome))
    run.finish()
    setup.accelerator.wait_for_everyone()
    return info


def _describe(kind: Literal["teacher", "student"], config: RunConfig, outcome: Outcome) -> CheckpointInfo:
    setup = outcome.setup
    teacher = setup.teacher_info
    training: dict[str, Any] = config.model_dump(mode="json")
    training["computed_in"] = "bfloat16" if setup.autocast else "float32"
    training["best_epoch"] = outcome.best_epoch
    training["processes"] = setup.accelerator.num_processes
    if teacher is not None:
        training["teacher_id"] = teacher.id
    if teacher is not None and setup.reduced is not None:
        training["reduction"] = teacher.training["reduction"]
    return CheckpointInfo(
        kind=kind,
        arch=config.arch,
        embedding_size=setup.model.embedding_size,
        preprocessing=setup.preprocessing,
        training=training,
        data=data_record(config, setup.train_set, setup.images),
        space=teacher.id if teacher is not None and setup.losses.space == "teacher" else None,
        metrics=outcome.metrics,
        versions=versions(),
    )


def data_of(run: Path, info: CheckpointInfo, data: str | None, split_rule: str | None) -> tuple[str, str, float]:
    """Data spec, split and validation share: the run's own, where nothing else is asked for.

    Raises:
        UsageFailure: the run does not say what it was trained on.
    """
    spec = data or info.data.get("spec")
    if not spec:
        raise UsageFailure(f"{run} does not say what it was trained on", "add --data")
    own = spec == info.data.get("spec")
    return (
        spec,
        split_rule or (info.data.get("split", "half") if own else "half"),
        float(info.data.get("validation", 0.0)),
    )


def evaluate_run(
    run: Path,
    data: str | None,
    split_rule: str | None,
    part: str,
    gallery_run: Path | None,
    with_nmi: bool,
    degrade: str | None = None,
) -> dict[str, float]:
    """Scores of a checkpoint on a part of a data set.

    Args:
        data: data spec; None for the one it was trained on.
        split_rule: None for the one it was trained with.
        part: ``test``, ``train``, ``validation`` or ``all``.
        gallery_run: checkpoint that indexes the gallery; its embedding size must be the same. The
            gallery holds the same images, each query's own excluded.
        degrade: what is done to the pictures' pixels (``lowres:4``); a gallery of another model stays clean.
    """
    from distill.training.degrade import degrade_rows

    keep_memory()
    worse = degrade_rows(degrade)
    model, info = load_checkpoint(run)
    spec, rule, held_out = data_of(run, info, data, split_rule)
    validation = held_out if part in ("train", "validation") else 0.0
    images = split(open_data(spec), rule, part, validation)  # type: ignore[arg-type]
    queries = embed_images(model, info.preprocessing, images, degrade=worse)
    if gallery_run is None:
        return score(queries, with_nmi=with_nmi)
    gallery_model, gallery_info = load_checkpoint(gallery_run)
    if gallery_info.embedding_size != info.embedding_size:
        raise UsageFailure(
            f"{run} embeds into {info.embedding_size} dimensions, {gallery_run} into {gallery_info.embedding_size}",
            f"use --gallery-model {reduced}, the teacher as this run reduced it"
            if (reduced := run / REDUCED_FOLDER).is_dir()
            else "distil with an absolute-type loss, which reduces the teacher to --embedding-size",
        )
    if info.space != gallery_info.id:
        warn(f"{run} was not trained into the space of {gallery_run}: expect poor asymmetric Recall@K")
    gallery = embed_images(gallery_model, gallery_info.preprocessing, images, label="indexing the gallery")
    return score(queries, gallery, with_nmi=with_nmi)
