"""Verification accuracy on pairs, as defined by Labeled Faces in the Wild."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from distill.console.errors import Failure
from distill.metrics.inputs import unit_rows

__all__ = ["Verification", "accuracy_at", "best_threshold", "pair_similarities", "verification_accuracy"]

# 97.5 % quantiles of Student's t for 1, 2, … degrees of freedom; beyond, the expansion around the normal quantile.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_Z = 1.959964


@dataclass(frozen=True)
class Verification:
    """How often pairs are correctly classified as same or different.

    Attributes:
        accuracy: Share of pairs, 0..1, as the mean over the sets.
        standard_error: Standard error of that mean.
        ci95: (low, high), within 0..1.
        thresholds: Similarity from which a pair counts as the same, for each set.
        accuracies: Accuracy of each set.
    """

    accuracy: float
    standard_error: float
    ci95: tuple[float, float]
    thresholds: tuple[float, ...]
    accuracies: tuple[float, ...]


def pair_similarities(embeddings: ArrayLike, left: ArrayLike, right: ArrayLike) -> np.ndarray:
    """Return the cosine similarity of each pair.

    Args:
        embeddings: ``[N, D]``; normalised here.
        left, right: ``[P]``, row indices.

    Returns:
        float64 ``[P]``, −1..1.

    Raises:
        Failure: wrong shape, NaN or infinity.
    """
    rows = unit_rows(embeddings)
    return np.einsum("pd,pd->p", rows[np.asarray(left)], rows[np.asarray(right)], dtype=np.float64)


def best_threshold(similarities: ArrayLike, same: ArrayLike) -> float:
    """Return the similarity that separates pairs best.

    Candidates lie midway between neighbouring values, and below and above all of them. Ties go to the
    lowest candidate.

    Args:
        similarities: ``[P]``, larger for more similar images.
        same: bool ``[P]``, whether both are the same.

    Raises:
        Failure: no pairs, lengths differ, NaN or infinity.

    Example:
        >>> best_threshold([0.9, 0.75, 0.25, 0.1], [True, True, False, False])
        0.5
    """
    values, labels = _checked(similarities, same)
    order = np.argsort(values, kind="stable")
    values, labels = values[order], labels[order]
    # With the threshold below value i, same pairs from i on and different pairs before i are correct.
    right = np.concatenate([[0], np.cumsum(~labels)]) + labels.sum() - np.concatenate([[0], np.cumsum(labels)])
    possible = np.concatenate([[True], values[1:] > values[:-1], [True]])
    place = int(np.argmax(np.where(possible, right, -1)))
    if place in (0, len(values)):
        return float(values[0] - 1e-6 if place == 0 else values[-1] + 1e-6)
    return float((values[place - 1] + values[place]) / 2)


def verification_accuracy(similarities: ArrayLike, same: ArrayLike, fold: ArrayLike) -> Verification:
    """Return the accuracy when the threshold of each set is chosen on all other sets.

    The protocol of view 2: Huang, Ramesh, Berg, Learned-Miller, "Labeled Faces in the Wild: A Database
    for Studying Face Recognition in Unconstrained Environments", 2007, section 5: the mean over the
    ten sets and its standard error, the standard deviation of the sets (n − 1) over √10. The 95 %
    interval is Student's t around the mean.

    Args:
        similarities: ``[P]``, larger for more similar images.
        same: bool ``[P]``, whether both are the same.
        fold: int ``[P]``, the set of each pair.

    Raises:
        Failure: lengths differ, NaN or infinity, fewer than two sets.
    """
    values, labels = _checked(similarities, same)
    sets = np.asarray(fold)
    if sets.shape != values.shape:
        raise Failure(f"verification: {len(values)} pairs, sets of shape {sets.shape}", "pass the set of each pair")
    numbers = np.unique(sets)
    if len(numbers) < 2:
        raise Failure(
            "verification: one set of pairs, no other to choose the threshold on",
            "use a list of several sets such as pairs.txt",
        )
    thresholds = [best_threshold(values[sets != number], labels[sets != number]) for number in numbers]
    found = [
        float(((values[sets == number] >= threshold) == labels[sets == number]).mean())
        for number, threshold in zip(numbers, thresholds, strict=True)
    ]
    mean, error = float(np.mean(found)), float(np.std(found, ddof=1)) / sqrt(len(found))
    reach = _student(len(found) - 1) * error
    return Verification(mean, error, (max(0.0, mean - reach), min(1.0, mean + reach)), tuple(thresholds), tuple(found))


def accuracy_at(similarities: ArrayLike, same: ArrayLike, threshold: float) -> Verification:
    """Return the accuracy at a threshold that was chosen on other pairs: view 1, or your own.

    The 95 % interval is Wilson's ("Probable inference, the law of succession, and statistical
    inference", 1927) for independent pairs.

    Raises:
        Failure: no pairs, lengths differ, NaN or infinity.
    """
    values, labels = _checked(similarities, same)
    count = len(values)
    mean = float(((values >= threshold) == labels).mean())
    centre = (mean + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    reach = _Z / (1 + _Z**2 / count) * sqrt(mean * (1 - mean) / count + _Z**2 / (4 * count**2))
    interval = (max(0.0, centre - reach), min(1.0, centre + reach))
    return Verification(mean, sqrt(mean * (1 - mean) / count), interval, (float(threshold),), (mean,))


def _checked(similarities: ArrayLike, same: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values, labels = np.asarray(similarities, np.float64), np.asarray(same, bool)
    if values.ndim != 1 or values.shape != labels.shape or not len(values):
        raise Failure(
            f"verification: {values.shape} similarities, {labels.shape} labels", "pass one of each for every pair"
        )
    if not np.isfinite(values).all():
        raise Failure(
            "verification: a similarity is NaN or infinite", "the model diverged or is broken: train or export it again"
        )
    return values, labels


def _student(degrees: int) -> float:
    if degrees <= len(_T):
        return _T[degrees - 1]
    return _Z + (_Z**3 + _Z) / (4 * degrees) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * degrees**2)
