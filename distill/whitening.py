"""Whiten the embedding layer of a checkpoint, and evaluate the result."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import numpy as np

from distill.console import UsageFailure, note, warn
from distill.data.imageset import ImageSet
from distill.data.known import Known, of_classes, part_for, warn_of_trained
from distill.evaluation import Embeddings, compare_neighbours, embed_images, score
from distill.models.allocator import keep_memory
from distill.models.checkpoint import load_checkpoint, save_checkpoint
from distill.models.info import CheckpointInfo
from distill.runs import open_for, teacher_of
from distill.training.data import labels_used
from distill.training.reduction import composed
from distill.training.state import RunFolder
from distill.training.whitening import second_moment, whitening_matrix, within_class_covariance

__all__ = ["By", "whiten_run"]

By = Literal["classes", "pictures"]


def whiten_run(
    run: Path,
    out: Path,
    by: By,
    strength: float,
    data: str | None = None,
    split_rule: str | None = None,
    overwrite: bool = False,
) -> CheckpointInfo:
    """Whiten the embeddings of ``run`` by its training images, evaluate on the test part, save in ``out``.

    Images without labels are evaluated by agreement with the teacher of ``run``, if it is there.

    Args:
        run: folder of the checkpoint.
        out: folder of the whitened checkpoint.
        by: ``classes``, the covariance within the classes whose labels the run used; ``pictures``, the
            covariance of all images.
        strength: 0..1, see :func:`distill.training.whitening.whitening_matrix`.
        data: data spec; None for the one it was trained on.
        split_rule: None for the one it was trained with.
        overwrite: replace a run that ``out`` holds.

    Raises:
        UsageFailure: no data, or ``out`` is not free.
        Failure: the checkpoint or the images cannot be used.
    """
    if run.resolve().is_relative_to(out.resolve()):
        raise UsageFailure(f"{out} is the run to whiten, or contains it", "choose another --out")
    folder = RunFolder(out)
    folder.check_free(overwrite)
    if folder.begun and not overwrite:
        raise UsageFailure(f"{out} holds an unfinished run", "choose another --out, or --overwrite it")
    keep_memory()
    model, info = load_checkpoint(run)
    images = open_for(run, info, data)
    known = Known.of(info.data)
    seen, _ = part_for(images, info.data, "train", split_rule)
    test, _ = part_for(images, info.data, "test", split_rule)
    warn_of_trained(test, known, str(run), "the test part")
    if by == "classes":
        if not seen.labelled:
            raise UsageFailure(f"--by classes needs labels, and {seen.spec} has none", "use --by pictures")
        seen = _with_labels(seen, info)
    found = embed_images(model, info.preprocessing, seen, label="embedding the training images")
    moment = second_moment(found.rows)
    if by == "classes" and found.labels is not None:
        moment = within_class_covariance(found.rows, found.labels)
    if len(found.rows) < 10 * found.rows.shape[1]:
        warn(
            f"{len(found.rows)} images are few for {found.rows.shape[1]} directions: compare both models with `distill-train evaluate`"
        )
    model = composed(model, whitening_matrix(moment, strength), np.zeros(model.embedding_size))
    metrics = {"test": _measured(run, info, test, embed_images(model, info.preprocessing, test, label="evaluating"))}
    record = {"by": by, "strength": strength, "images": len(found.rows), "data": images.spec, "of": info.id}
    if overwrite:
        shutil.rmtree(out, ignore_errors=True)  # the log of another run must not remain with the new checkpoint
    # The space changes: a gallery indexed by the teacher can no longer be searched.
    update = {"space": None, "metrics": metrics, "training": info.training | {"whitened": record}}
    return save_checkpoint(out, model, info.model_copy(update=update))


def _measured(run: Path, info: CheckpointInfo, test: ImageSet, found: Embeddings) -> dict[str, float]:
    """Return the metrics of the whitened network: Recall@K or, without labels, agreement with the teacher."""
    if test.labelled:
        return score(found)
    try:
        reference = teacher_of(run, info)
    except UsageFailure as missing:
        note(f"no test metrics: {missing.what}")
        return {}
    teacher, its = load_checkpoint(reference)
    return compare_neighbours(
        found, embed_images(teacher, its.preprocessing, test, label=f"embedding with {reference}")
    )


def _with_labels(images: ImageSet, info: CheckpointInfo) -> ImageSet:
    """Leave out the classes whose labels a semi-supervised run did not use: they must not be seen here either."""
    share = float(info.training.get("labelled_classes", 1.0))
    if share == 1.0:
        return images
    trained = sorted(Known.of(info.data).trained) or (images.classes if images.spec == info.data.get("spec") else ())
    unused = set(trained[labels_used(share, len(trained)) :])
    return of_classes(images, [name for name in images.classes if name not in unused])
