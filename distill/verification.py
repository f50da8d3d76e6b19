"""Measure whether a checkpoint tells if two images show the same person, by the protocol of LFW."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from distill.console import Failure, UsageFailure, warn
from distill.data.imageset import ImageSet
from distill.data.lfw import Pairs, read_pairs
from distill.data.spec import open_data
from distill.evaluation import embed_images
from distill.metrics import Verification, accuracy_at, best_threshold, pair_similarities, verification_accuracy
from distill.models.checkpoint import load_checkpoint
from distill.models.info import CheckpointInfo

__all__ = ["verify_run"]


def verify_run(
    run: Path,
    data: str | None,
    pairs_file: Path,
    threshold_file: Path | None = None,
    degrade: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Verification:
    """Measure the accuracy of a checkpoint on pairs of images.

    Args:
        run: folder of the checkpoint.
        data: data spec of the images; None for the one it was trained on.
        pairs_file: ``pairs.txt`` with ten sets, where the threshold of each is chosen on the others; or a
            list of one set, with ``threshold_file``.
        threshold_file: pairs on which the threshold is chosen instead (``pairsDevTrain.txt``).
        degrade: applied to the pixels of every image, uint8 [H, W, 3].

    Raises:
        UsageFailure: no data, or a list of one set without another to choose the threshold on.
        Failure: a list is malformed, or one of its images is missing or unreadable.
    """
    model, info = load_checkpoint(run)
    spec = data or info.data.get("spec")
    if not spec:
        raise UsageFailure(f"{run} does not record its training data", "add --data lfw:PATH")
    images = open_data(spec)
    asked = read_pairs(pairs_file, images)
    chosen = read_pairs(threshold_file, images) if threshold_file else None
    if chosen is None and len(np.unique(asked.fold)) < 2:
        raise UsageFailure(
            f"{pairs_file} has one set of pairs, and none to choose the threshold on",
            "add --threshold-pairs FILE (pairsDevTrain.txt), or use pairs.txt",
        )
    _warn_of_known_people(info, images, asked, str(pairs_file))
    lists = [asked] if chosen is None else [asked, chosen]
    needed = np.unique(np.concatenate([side for pairs in lists for side in (pairs.left, pairs.right)]))
    found = embed_images(model, info.preprocessing, images.select(needed), degrade=degrade)
    if len(found.indices) != len(needed):
        missing = images.keys[needed[np.setdiff1d(np.arange(len(needed)), found.indices)[0]]]
        raise Failure(
            f"{spec}: {missing}, an image of the pairs, cannot be read",
            "copy the data set again: the accuracy needs all pairs",
        )

    def similarities(pairs: Pairs) -> np.ndarray:
        return pair_similarities(found.rows, np.searchsorted(needed, pairs.left), np.searchsorted(needed, pairs.right))

    if chosen is None:
        return verification_accuracy(similarities(asked), asked.same, asked.fold)
    return accuracy_at(similarities(asked), asked.same, best_threshold(similarities(chosen), chosen.same))


def _warn_of_known_people(info: CheckpointInfo, images: ImageSet, pairs: Pairs, name: str) -> None:
    asked = {images.classes[label] for label in images.labels[np.concatenate([pairs.left, pairs.right])]}
    known = asked & set(info.data.get("classes", ()))
    if known:
        warn(
            f"{name}: {len(known)} of its {len(asked)} people are in the training data, e.g. {min(known)}: "
            "the accuracy does not hold for other people"
        )
