"""Whitening after training: directions that only tell pictures of one class apart count less.

A student that learns a teacher by regression sees few classes and regresses towards their mean: what tells
*unseen* classes apart ends in directions of little variance, drowned by those in which pictures of one class
differ anyway. Within-class covariance normalisation (Hatch, Kajarekar, Stolcke, "Within-class covariance normalization
for SVM-based speaker recognition", Interspeech 2006) divides each direction by the variance that classes have
inside themselves; without labels the variance of all pictures takes its place (PCA whitening: Jégou, Chum, "Negative
evidences and co-occurences in image retrieval", ECCV 2012). Either is a matrix, and goes into the embedding layer.
"""

from __future__ import annotations

import numpy as np

from distill.console import Failure

__all__ = ["second_moment", "whitening_matrix", "within_class_covariance"]

# Times the mean variance: directions in which so little was seen are not blown up any further.
_FLOOR = 1e-2


def within_class_covariance(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pooled covariance of rows around the mean of their class.

    Args:
        rows: unit embeddings [N, D].
        labels: [N]; classes of one picture say nothing and are left out.

    Returns:
        float64 [D, D], divided by images minus classes.

    Raises:
        Failure: no class has two pictures.

    Example:
        >>> within_class_covariance(np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]]), np.array([0, 0, 1])).tolist()
        [[2.0, 0.0], [0.0, 0.0]]
    """
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    kept = counts[classes] > 1
    if not kept.any():
        raise Failure("no class has two pictures to compare", "whiten by all pictures: --by pictures")
    rows, classes = rows[kept].astype(np.float64), classes[kept]
    means = np.zeros((len(counts), rows.shape[1]))
    np.add.at(means, classes, rows)
    rows -= (means / counts[:, None])[classes]
    return rows.T @ rows / (len(rows) - (counts > 1).sum())


def second_moment(rows: np.ndarray) -> np.ndarray:
    """``rows``ᵀ ``rows`` / N, float64 [D, D], of unit embeddings [N, D]: their covariance around zero."""
    rows = rows.astype(np.float64)
    return rows.T @ rows / len(rows)


def whitening_matrix(covariance: np.ndarray, strength: float) -> np.ndarray:
    """The symmetric matrix that divides each principal direction by its standard deviation to the ``strength``.

    Args:
        covariance: [D, D], symmetric, not negative.
        strength: 0 gives the unit matrix, 1 makes all variances equal.

    Returns:
        float64 [D, D]; directions of mean variance are left as they are.

    Raises:
        Failure: nothing varies at all.

    Example:
        >>> whitening_matrix(np.diag([4.0, 1.0]), 1.0).round(3).tolist()
        [[0.791, 0.0], [0.0, 1.581]]
    """
    variance, directions = np.linalg.eigh(covariance)
    mean = variance.mean()
    if not mean > 0:
        raise Failure("all embeddings that should tell pictures apart are equal", "is the model trained?")
    factors = np.maximum(variance / mean, _FLOOR) ** (-strength / 2)
    return (directions * factors) @ directions.T + 0.0
