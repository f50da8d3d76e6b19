"""Whitening after training: directions that vary within classes count less.

A student that learns a teacher by regression sees few classes and regresses towards their mean. What tells *unseen*
classes apart then lies in directions of little variance, drowned by those in which images of one class differ.
Within-class covariance normalisation (Hatch, Kajarekar, Stolcke, "Within-class covariance normalization for SVM-based
speaker recognition", Interspeech 2006) divides each direction by its variance within classes. Without labels, the
variance of all images takes its place (PCA whitening: Jégou, Chum, "Negative evidences and co-occurences in image
retrieval", ECCV 2012). Either way the result is a matrix, which is folded into the embedding layer.
"""

from __future__ import annotations

import numpy as np

from distill.console import Failure

__all__ = ["second_moment", "whitening_matrix", "within_class_covariance"]

# Times the mean variance: directions of less variance are amplified no further.
_FLOOR = 1e-2


def within_class_covariance(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the pooled covariance of rows around the mean of their class.

    Args:
        rows: unit embeddings [N, D].
        labels: [N]; classes of one image are left out.

    Returns:
        float64 [D, D], divided by images minus classes.

    Raises:
        Failure: no class has two images.

    Example:
        >>> within_class_covariance(np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]]), np.array([0, 0, 1])).tolist()
        [[2.0, 0.0], [0.0, 0.0]]
    """
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    kept = counts[classes] > 1
    if not kept.any():
        raise Failure("no class has two images to compare", "whiten by all images: --by pictures")
    rows, classes = rows[kept].astype(np.float64), classes[kept]
    means = np.zeros((len(counts), rows.shape[1]))
    np.add.at(means, classes, rows)
    rows -= (means / counts[:, None])[classes]
    return rows.T @ rows / (len(rows) - (counts > 1).sum())


def second_moment(rows: np.ndarray) -> np.ndarray:
    """Return ``rows``ᵀ · ``rows`` / N, float64 [D, D], of unit embeddings [N, D]: their covariance around zero."""
    rows = rows.astype(np.float64)
    return rows.T @ rows / len(rows)


def whitening_matrix(covariance: np.ndarray, strength: float) -> np.ndarray:
    """Return the symmetric matrix that divides each principal direction by its standard deviation ** ``strength``.

    Args:
        covariance: [D, D], symmetric, positive semidefinite.
        strength: 0 gives the identity matrix, 1 makes all variances equal.

    Returns:
        float64 [D, D]; directions of mean variance are unchanged.

    Raises:
        Failure: nothing varies.

    Example:
        >>> whitening_matrix(np.diag([4.0, 1.0]), 1.0).round(3).tolist()
        [[0.791, 0.0], [0.0, 1.581]]
    """
    variance, directions = np.linalg.eigh(covariance)
    mean = variance.mean()
    if not mean > 0:
        raise Failure("all embeddings are equal", "is the model trained?")
    factors = np.maximum(variance / mean, _FLOOR) ** (-strength / 2)
    return (directions * factors) @ directions.T + 0.0
