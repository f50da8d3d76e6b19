"""Splits: each class is in only one of train, validation and test; without labels, each image.

Images without labels are put in an order that looks random and depends on their keys and ``ImageSet.split_seed`` alone, so
that every command finds the same parts. Adding images moves few of the others.
"""

from __future__ import annotations

import hashlib
import math
from typing import Literal, get_args

import numpy as np

from distill.console.errors import Failure, UsageFailure, suggest
from distill.console.progress import warn
from distill.data.imageset import ImageSet

__all__ = ["Part", "default_rule", "part_indices", "part_labels", "split"]

Part = Literal["train", "validation", "test", "all"]

# Unseen classes are what retrieval is measured on, hence half of them. Without labels, a fifth of the images suffices for
# narrow intervals, and every other image is worth training on.
_DEFAULT_RULE, _DEFAULT_RULE_UNLABELLED = "half", "0.8"


def default_rule(images: ImageSet) -> str:
    """Return the rule for images that no rule is given for: ``half``, or ``0.8`` without labels."""
    return _DEFAULT_RULE if images.labelled else _DEFAULT_RULE_UNLABELLED


def split(images: ImageSet, rule: str | None = None, part: Part = "train", validation: float = 0.0) -> ImageSet:
    """Return one part of ``images``, made of whole classes, or of any images if they have no labels.

    Classes are taken in sorted order, so the result depends only on the class names.

    Args:
        images: The whole data set.
        rule: Which of the sorted classes are train; the rest are test.
            ``"half"``: the first half (the larger one if the number is odd), as in the papers;
            ``"120"``: the first 120; ``"0.7"``: the first 70 % (rounded to the nearest, at least 1);
            ``"official"``: the lists of the data set. Without labels, the same of the images in their seeded order.
            None: :func:`default_rule`.
        part: ``"train"`` (without the validation classes), ``"validation"``, ``"test"`` or
            ``"all"`` (everything, for any rule).
        validation: Share of the *train* classes (or images) that is set aside, 0 <= validation < 1: the last ones in
            order, rounded to the nearest, at least 1 unless the share is 0.

    Raises:
        UsageFailure: invalid rule, part or share.
        Failure: the data set has too few classes or images, or no official split.
    """
    rule = default_rule(images) if rule is None else rule
    if part not in get_args(Part):
        raise UsageFailure(f"unknown part '{part}'", suggest(str(part), get_args(Part)))
    if not 0 <= validation < 1:
        raise UsageFailure(f"validation share {validation:g} is not in 0 … 1", "give a share such as 0.1")
    if part == "validation" and validation == 0:
        raise UsageFailure("no validation classes were set aside", "give a validation share such as 0.1")
    if part == "all":
        return images
    if not images.labelled:
        return images.select(part_indices(images, rule, validation)[part])
    chosen = part_labels(images, rule, validation)[part]
    if len(chosen) == 1:
        warn(f"{images.spec}: the {part} part has one class only: metric losses and Recall@K are meaningless")
    return images.select(np.isin(images.labels, chosen))


def part_labels(images: ImageSet, rule: str, validation: float = 0.0) -> dict[Part, np.ndarray]:
    """Return the labels of the train, validation and test classes, each ascending; arguments as for :func:`split`."""
    train, test = (
        _official(images) if rule == "official" else _first_and_rest(images, rule, len(images.classes), "class")
    )
    return _with_validation(images, train, test, validation, "classes")


def part_indices(images: ImageSet, rule: str, validation: float = 0.0) -> dict[Part, np.ndarray]:
    """Return the indices of the train, validation and test images, each ascending; arguments as for :func:`split`."""
    if images.labelled:
        found = part_labels(images, rule, validation)
        return {part: np.flatnonzero(np.isin(images.labels, labels)) for part, labels in found.items()}
    if rule == "official":
        _official(images)
    order = np.array(sorted(range(len(images)), key=lambda index: _place(images, index)), np.int64)
    train, test = _first_and_rest(images, rule, len(images), "image")
    parts = _with_validation(images, order[train], order[test], validation, "images")
    return {part: np.sort(indices) for part, indices in parts.items()}


def _place(images: ImageSet, index: int) -> bytes:
    return hashlib.sha256(f"{images.split_seed}\0{images.keys[index]}".encode("utf-8", "surrogateescape")).digest()


def _with_validation(
    images: ImageSet, train: np.ndarray, test: np.ndarray, validation: float, what: str
) -> dict[Part, np.ndarray]:
    held_out = max(1, math.floor(validation * len(train) + 0.5)) if validation else 0
    if held_out >= len(train):
        raise Failure(
            f"{images.spec}: validation takes {held_out} of {len(train)} train {what} and leaves none",
            f"set fewer aside, or train on more {what}",
        )
    return {
        "train": train[: len(train) - held_out],
        "validation": train[len(train) - held_out :],
        "test": test,
    }


def _first_and_rest(images: ImageSet, rule: str, count: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the train and of the test classes (or images) in their order."""
    if count < 2:
        cure = "add classes, use all images for one purpose, or open them without labels: labels=no in the data spec"
        raise Failure(
            f"{images.spec}: {count} {what if count == 1 else 'classes' if what == 'class' else 'images'}: "
            "too few to split into train and test",
            cure if what == "class" else "add images",
        )
    first = _train_count(rule, count)
    if not 1 <= first < count:
        raise UsageFailure(
            f"split '{rule}' leaves no {'test' if first >= count else 'train'} {what} of the {count} in {images.spec}",
            f"give a number from 1 to {count - 1}, or a fraction between 0 and 1",
        )
    return np.arange(first), np.arange(first, count)


def _train_count(rule: str, count: int) -> int:
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
        raise Failure(
            f"{images.spec}: has no official split",
            f"use 'half', a number of {'classes' if images.labelled else 'images'} or a fraction",
        )
    parts = np.array([images.official.get(name, "") for name in images.classes])
    train, test = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test")
    if not len(train) or not len(test):
        raise Failure(
            f"{images.spec}: its official split leaves no {'test' if len(train) else 'train'} class",
            "use 'half', a number of classes or a fraction",
        )
    return train, test
