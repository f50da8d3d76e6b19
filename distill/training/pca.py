"""Principal components in float64, with signs that do not depend on the linear algebra library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distill.console import UsageFailure

__all__ = ["Pca", "principal_components"]


@dataclass(frozen=True)
class Pca:
    """The first D principal components of rows of F features.

    Attributes:
        mean: float64 [F].
        directions: float64 [D, F], orthonormal rows in order of falling variance; the element of
            largest magnitude in each row is positive.
        variance: float64 [D], variance along each direction (divided by N − 1).
        kept: fraction of the total variance along these directions, 0..1.
    """

    mean: np.ndarray
    directions: np.ndarray
    variance: np.ndarray
    kept: float


def principal_components(rows: np.ndarray, size: int) -> Pca:
    """Fit ``size`` components to ``rows``.

    Args:
        rows: [N, F], any float type; computed in float64.
        size: D, at least 1.

    Raises:
        UsageFailure: the rows do not vary in ``size`` directions.

    Example:
        >>> found = principal_components(np.array([[0.0, 3.0], [0.0, -3.0], [1.0, 0.0], [-1.0, 0.0]]), 1)
        >>> found.directions.tolist(), round(found.kept, 6)
        ([[0.0, 1.0]], 0.9)
    """
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows.astype(np.float64) - mean
    variance, directions = np.linalg.eigh(centred.T @ centred / max(len(rows) - 1, 1))
    variance, directions = variance[::-1], directions[:, ::-1].T
    # Below this, a variance is rounding noise; numpy's matrix_rank uses the same threshold.
    noise = max(variance[0], 0.0) * max(rows.shape) * np.finfo(np.float64).eps
    rank = int((variance > noise).sum())
    if size > rank:
        raise UsageFailure(
            f"{size} dimensions: the teacher's features of {len(rows)} crops, {rows.shape[1]} numbers each, vary in {rank} directions",
            f"use --embedding-size {rank} or less" if rank else "all features are equal: is the teacher trained?",
        )
    kept = directions[:size]
    largest = np.abs(kept).argmax(axis=1)
    signs = np.sign(kept[np.arange(size), largest])
    return Pca(
        mean, kept * signs[:, None] + 0.0, variance[:size].copy(), float(variance[:size].sum() / variance.clip(0).sum())
    )
