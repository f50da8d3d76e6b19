"""Bootstrap confidence intervals for means over queries, with test classes (or, without labels, queries) as the sampling unit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from distill.console.errors import Failure

__all__ = ["Drop", "bootstrap_ci", "paired_drop_ci"]

_DRAWS = 4 * 1024 * 1024


class Drop(NamedTuple):
    """A metric of the reference minus that of the variant.

    Attributes:
        value: The drop, −1..1 for recall; positive if the variant is worse.
        ci95: (low, high), the 95 % interval.
    """

    value: float
    ci95: tuple[float, float]


def bootstrap_ci(
    values: ArrayLike,
    labels: ArrayLike | None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the confidence interval of the mean of ``values``, by resampling whole classes.

    Queries of one class tend to succeed and fail together, so queries are not independent, but
    classes are (cluster bootstrap: Davison and Hinkley, "Bootstrap Methods and their
    Application", 1997, section 3.8). Each resample draws as many classes as there are, with
    replacement, and takes the mean over all their queries. The interval is the percentile interval.

    Args:
        values: ``[N]``, one number per query: hits, average precisions, differences.
        labels: ``[N]``, class of each query; None: queries are resampled one by one, as if they were independent.
        resamples: Number of resamples, at least 1.
        seed: Seed of the draws.
        level: Share of the resamples within the interval, between 0 and 1.

    Returns:
        ``(low, high)`` in the unit of ``values``.

    Raises:
        Failure: lengths differ, fewer than two classes, a value is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    classes = np.arange(len(numbers)) if labels is None else np.asarray(labels)
    if numbers.ndim != 1 or classes.shape != numbers.shape:
        raise Failure(
            f"bootstrap: {numbers.shape} values and {classes.shape} labels do not match", "pass one label per value"
        )
    if resamples < 1 or not 0 < level < 1:
        raise Failure(f"bootstrap: {resamples} resamples at level {level}", "use 2000 resamples at level 0.95")
    if not np.isfinite(numbers).all():
        raise Failure("bootstrap: a value is NaN or infinite", "leave that query out")
    _, code = np.unique(classes, return_inverse=True)
    sizes = np.bincount(code.reshape(-1)).astype(np.float64)
    if len(sizes) < 2:
        what = "queries" if labels is None else "classes"
        raise Failure(f"bootstrap: {len(sizes)} {what}, at least 2 needed", f"use a test set of more {what}")
    sums = np.bincount(code.reshape(-1), weights=numbers)

    random = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _DRAWS // len(sizes))
    for start in range(0, resamples, step):
        drawn = random.integers(0, len(sizes), size=(min(step, resamples - start), len(sizes)), dtype=np.int32)
        means[start : start + step] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_drop_ci(
    reference_hits: ArrayLike,
    hits: ArrayLike,
    labels: ArrayLike | None,
    resamples: int = 2000,
    seed: int = 0,
    counted: ArrayLike | None = None,
) -> Drop:
    """Return the drop from a reference to a variant on the same queries, with its 95 % interval.

    The comparison is paired: queries that both answer alike cancel, so the interval is far narrower than the
    difference of two intervals.

    Args:
        reference_hits: ``[Q]``, hits of the reference (bool, or any score per query).
        hits: ``[Q]``, hits of the variant, same queries in the same order.
        labels: ``[Q]``, class of each query; None: as in :func:`bootstrap_ci`.
        resamples, seed: As in :func:`bootstrap_ci`.
        counted: bool ``[Q]``, queries to use. None: all whose class has at least two; without labels, all.

    Raises:
        Failure: lengths differ, fewer than two classes left.
    """
    before = np.asarray(reference_hits, dtype=np.float64)
    after = np.asarray(hits, dtype=np.float64)
    classes = np.arange(len(before)) if labels is None else np.asarray(labels)
    if before.ndim != 1 or before.shape != after.shape or classes.shape != before.shape:
        raise Failure(
            f"paired drop: shapes {before.shape}, {after.shape} and labels {classes.shape} differ",
            "measure both models on the same queries",
        )
    if counted is None and labels is None:
        keep = np.ones(len(before), dtype=bool)
    elif counted is None:
        _, code, size = np.unique(classes, return_inverse=True, return_counts=True)
        keep = size[code.reshape(-1)] > 1
    else:
        keep = np.asarray(counted, dtype=bool)
        if keep.shape != before.shape:
            raise Failure(
                f"paired drop: mask of shape {keep.shape} for {before.shape} queries", "pass one flag per query"
            )
    difference = (before - after)[keep]
    interval = bootstrap_ci(difference, None if labels is None else classes[keep], resamples, seed)
    return Drop(float(difference.mean()), interval)
