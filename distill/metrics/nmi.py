"""Normalised mutual information between classes and clusters."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distill.console.errors import Failure
from distill.metrics.inputs import labels_pair, unit_rows

__all__ = ["nmi"]


def nmi(embeddings: ArrayLike, labels: ArrayLike, seed: int = 0, restarts: int = 1) -> float:
    """Return the agreement of k-means clusters (one per class) with the classes, 0..1.

    ``NMI = 2 · I(clusters; classes) / (H(clusters) + H(classes))``. The result depends on the k-means
    seed: compare models with the same seed, and prefer MAP@R.

    Args:
        embeddings: ``[N, D]``; normalised here.
        labels: ``[N]``.
        seed: Seed of k-means.
        restarts: Runs of k-means; the one with the tightest clusters is used.

    Raises:
        Failure: wrong shapes, NaN or infinity, or scikit-learn is not installed.
    """
    rows = unit_rows(embeddings)
    classes, _ = labels_pair(labels, len(rows), None, None)
    try:
        from sklearn.cluster import KMeans
        from sklearn.metrics import normalized_mutual_info_score
    except ImportError:
        raise Failure("NMI needs scikit-learn, which is not installed", "pip install scikit-learn") from None
    # k-means cannot make more clusters than there are distinct points.
    clusters = min(int(classes.max()) + 1, len(np.unique(rows, axis=0)))
    found = KMeans(clusters, n_init=restarts, random_state=seed).fit_predict(rows)
    return float(normalized_mutual_info_score(classes, found))
