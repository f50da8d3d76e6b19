"""Choose the images that a bundle is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from distill.console import Failure, UsageFailure, suggest
from distill.data.imageset import ImageSet
from distill.data.spec import open_data
from distill.data.split import default_rule, split
from distill.metrics import counted_queries
from export.bundle import Bundle

__all__ = ["PARTS", "Subject", "choose_images", "whole_classes"]

Part = Literal["test", "train", "all"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Subject:
    """The images of one benchmark, and how they were chosen."""

    images: ImageSet
    spec: str
    split: str
    part: Part
    available: int  # images of the part without ``limit``
    changed: bool = False  # the training images differ from those that the bundle records


def choose_images(
    bundle: Bundle, spec: str | None, rule: str | None, part: str = "test", limit: int | None = None, seed: int = 0
) -> Subject:
    """Return the images to measure on.

    Args:
        spec: Data spec; ``None``: the training data, from the bundle's provenance.
        rule: Split rule; ``None``: the one recorded in the bundle, else ``half``, or ``0.8`` without labels.
        part: ``test`` (classes that the model was not trained on), ``train``, ``all``.
        limit: Approximate number of images, drawn at random as whole classes, or one by one without labels.

    Raises:
        UsageFailure: unknown spec, rule or part.
        Failure: the data cannot be read, no class has two images, or there are fewer than three without labels.
    """
    recorded = bundle.manifest.provenance.source.data
    spec = spec or recorded.get("spec")
    if not spec:
        raise UsageFailure(f"{bundle.directory}: the bundle records no data", "give --data SPEC")
    if part not in PARTS:
        raise UsageFailure(f"--part {part}: no such part", suggest(part, PARTS))
    everything = open_data(str(spec))
    if rule is None and recorded.get("split") and (recorded.get("labels") is not False) == everything.labelled:
        rule = str(recorded["split"])
    rule = rule or default_rule(everything)
    images = split(everything, rule, part)
    if images.labelled:
        _check_classes(images, str(spec), part)
    elif len(images) < 3:
        raise Failure(
            f"{spec}: {len(images)} images in the {part} part: too few to compare their nearest images",
            "use --part all, another --split, or more images",
        )
    available = len(images)
    if limit is not None and limit < available:
        drawn = whole_classes(images.labels, limit, seed) if images.labelled else _drawn(available, limit, seed)
        images = images.select(drawn)
    return Subject(images, str(spec), rule, part, available, _changed(everything, str(spec), rule, recorded))


def _drawn(available: int, limit: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(available, max(3, limit), replace=False))


def _check_classes(images: ImageSet, spec: str, part: str) -> None:
    if not len(images) or not counted_queries(images.labels).any():
        raise Failure(
            f"{spec}: {len(images)} images in the {part} part, no class has two: nothing to retrieve",
            "use --part all, another --split, or more images per class",
        )
    if len(np.unique(images.labels)) < 2:
        raise Failure(
            f"{spec}: one class in the {part} part: every answer would be right",
            "use --part all, or images of more classes",
        )


def _changed(images: ImageSet, spec: str, rule: str, recorded: dict[str, Any]) -> bool:
    """Return whether the same spec now opens other training images; the test images may then differ too."""
    known = recorded.get("fingerprint")
    if not known or (spec, rule) != (recorded.get("spec"), str(recorded.get("split"))):
        return False
    validation = recorded.get("validation")
    share = float(validation) if isinstance(validation, int | float) and 0 <= validation < 1 else 0.0
    return split(images, rule, "train", share).fingerprint() != known


def whole_classes(labels: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Return indices of about ``limit`` images: whole classes, drawn at random.

    Single images drawn at random would often lack a second image of their class, which lowers Recall@K
    regardless of the model. Classes are added until ``limit`` is reached; at least two.

    Args:
        labels: int64 [N].

    Returns:
        int64 indices in ascending order.
    """
    classes, counts = np.unique(labels, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(classes))
    filled = np.cumsum(counts[order])
    taken = max(2, int(np.searchsorted(filled, limit, side="left")) + 1)
    return np.flatnonzero(np.isin(labels, classes[order[:taken]]))
