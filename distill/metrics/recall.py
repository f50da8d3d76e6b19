"""Recall@K as defined in metric learning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from distill.console.errors import Failure
from distill.metrics.inputs import checked_ks, counted_queries, labels_pair
from distill.metrics.neighbours import nearest_chunks

__all__ = ["hits_at_k", "recall_at_k"]


def recall_at_k(
    embeddings: ArrayLike,
    labels: ArrayLike,
    ks: Sequence[int] = (1, 2, 4, 8),
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
) -> dict[int, float]:
    """Return the share of queries with an image of their class among their K nearest.

    Defined by Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding",
    CVPR 2016, section 6. Without a gallery, each image queries all others. Queries whose class
    has no (other) image in the gallery cannot be answered and are excluded from the mean, as in
    pytorch-metric-learning.

    Args:
        embeddings: ``[Q, D]`` of the queries; normalised here.
        labels: ``[Q]``, class of each query.
        ks: Values of K, each at least 1.
        gallery: ``[G, D]``, or None: the queries are the gallery, each query itself excluded.
        gallery_labels: ``[G]``, required with ``gallery``.

    Returns:
        K → recall in 0..1, with K ascending.

    Raises:
        Failure: wrong shapes, NaN or infinity, no query can be answered.
    """
    hits = hits_at_k(embeddings, labels, ks, gallery, gallery_labels)
    counted = counted_queries(labels, gallery_labels)
    if not counted.any():
        raise Failure(
            "Recall@K: no query has another image of its class in the gallery", "use classes of two images or more"
        )
    return {k: float(hit[counted].mean()) for k, hit in hits.items()}


def hits_at_k(
    embeddings: ArrayLike,
    labels: ArrayLike,
    ks: Sequence[int] = (1, 2, 4, 8),
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
) -> dict[int, np.ndarray]:
    """Return which queries are answered at K, for paired statistics; arguments as in :func:`recall_at_k`.

    Returns:
        K → bool ``[Q]``. Queries that cannot be answered are False; exclude them with
        :func:`distill.metrics.counted_queries` before taking a mean.
    """
    values = checked_ks(ks)
    count = len(np.asarray(embeddings))
    queries, others = labels_pair(labels, count, gallery_labels, None if gallery is None else len(np.asarray(gallery)))
    available = len(others) - int(gallery is None)
    hits = {k: np.zeros(count, dtype=bool) for k in values}
    if available == 0:
        return hits
    # A K beyond the gallery means all images in it.
    for start, found, _ in nearest_chunks(embeddings, gallery, min(values[-1], available)):
        stop = start + len(found)
        answered = np.logical_or.accumulate(others[found] == queries[start:stop, None], axis=1)
        for k in values:
            hits[k][start:stop] = answered[:, min(k, available) - 1]
    return hits
