"""Class-disjoint splits: each class is in only one of train, validation and test."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from distill.console.errors import Failure, UsageFailure, suggest
from distill.console.progress import warn
from distill.data.imageset import ImageSet

__all__ = ["Part", "part_labels", "split"]

Part = Literal["train", "validation", "test", "all"]


def split(images: ImageSet, rule: str = "half", part: Part = "train", validation: float = 0.0) -> ImageSet:
    """Return one part of ``images``, made of whole classes.

    Classes are taken in sorted order, so the result depends only on the class names.

    Args:
        images: The whole data set.
        rule: Which of the sorted classes are train; the rest are test.
            ``"half"``: the first half (the larger one if the number is odd), as in the papers;
            ``"120"``: the first 120; ``"0.7"``: the first 70 % (rounded to the nearest, at least 1);
            ``"official"``: the lists of the data set.
        part: ``"train"`` (without the validation classes), ``"validation"``, ``"test"`` or
            ``"all"`` (everything, for any rule).
        validation: Share of the *train* classes that is set aside, 0 <= validation < 1: the last ones in
            sorted order, rounded to the nearest, at least 1 unless the share is 0.

    Raises:
        UsageFailure: invalid rule, part or share.
        Failure: the data set has too few classes or no official split.
    """
    if part not in get_args(Part):
        raise UsageFailure(f"unknown part '{part}'", suggest(str(part), get_args(Part)))
    if not 0 <= validation < 1:
        raise UsageFailure(f"validation share {validation:g} is not in 0 … 1", "give a share such as 0.1")
    if part == "validation" and validation == 0:
        raise UsageFailure("no validation classes were set aside", "give a validation share such as 0.1")
    if part == "all":
        return images
    chosen = part_labels(images, rule, validation)[part]
    if len(chosen) == 1:
        warn(f"{images.spec}: the {part} part has one class only: metric losses and Recall@K are meaningless")
    return images.select(np.isin(images.labels, chosen))


def part_labels(images: ImageSet, rule: str, validation: float = 0.0) -> dict[Part, np.ndarray]:
    """Return the labels of the train, validation and test classes, each ascending; arguments as for :func:`split`."""
    train, test = _train_and_test(images, rule)
    held_out = max(1, math.floor(validation * len(train) + 0.5)) if validation else 0
    if held_out >= len(train):
        raise Failure(
            f"{images.spec}: validation takes {held_out} of {len(train)} train classes and leaves none",
            "set fewer aside, or train on more classes",
        )
    return {
        "train": train[: len(train) - held_out],
        "validation": train[len(train) - held_out :],
        "test": test,
    }


def _train_and_test(images: ImageSet, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of the train and of the test classes, both ascending."""
    count = len(images.classes)
    if rule == "official":
        return _official(images)
    if count < 2:
        raise Failure(
            f"{images.spec}: {count} class{'' if count == 1 else 'es'}: too few to split into train and test",
            "add classes, or use all images for one purpose",
        )
    first = _train_classes(rule, count)
    if not 1 <= first < count:
        raise UsageFailure(
            f"split '{rule}' leaves no {'test' if first >= count else 'train'} class of the {count} in {images.spec}",
            f"give a number from 1 to {count - 1}, or a fraction between 0 and 1",
        )
    return np.arange(first), np.arange(first, count)


def _train_classes(rule: str, count: int) -> int:
    if rule == "half":
        return (count + 1) // 2
    if rule.isascii() and rule.isdigit():
        return int(rule)
    try:
        fraction = float(rule)
    except ValueError:
        known = ["half", "official"]
        cure = suggest(rule, known)
        if cure.startswith("known"):
            cure = "known: half, official, a number of train classes such as 100, a fraction such as 0.7"
        raise UsageFailure(f"unknown split '{rule}'", cure) from None
    if not 0 < fraction < 1:
        raise UsageFailure(f"split '{rule}' is not between 0 and 1", "give a fraction such as 0.7, or a whole number")
    return max(1, math.floor(fraction * count + 0.5))


def _official(images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    if images.official is None:
        raise Failure(f"{images.spec}: has no official split", "use 'half', a number of classes or a fraction")
    parts = np.array([images.official.get(name, "") for name in images.classes])
    train, test = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test")
    if not len(train) or not len(test):
        raise Failure(
            f"{images.spec}: its official split leaves no {'test' if len(train) else 'train'} class",
            "use 'half', a number of classes or a fraction",
        )
    return train, test
