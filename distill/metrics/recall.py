"""Recall@K as the field of metric learning defines it."""

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
    """Share of queries that have an image of their own class among their K nearest.

    The definition of Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding",
    CVPR 2016, section 6. Without a gallery each image queries all others. Queries whose class
    has no (other) image in the gallery cannot be answered and are left out of the mean, as
    pytorch-metric-learning does.

    Args:
        embeddings: ``[Q, D]`` of the queries; normalised here.
        labels: ``[Q]``.
        ks: the values of K, each at least 1.
        gallery: ``[G, D]``, or None: the queries are the gallery, each query itself excluded.
        gallery_labels: ``[G]``, with ``gallery``.

    Returns:
        K → recall in 0..1, K ascending.

    Raises:
        Failure: wrong shapes, NaN or infinity, no query that can be answered.
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
    """Which queries are answered at K, one by one, for paired statistics.

    Returns:
        K → bool ``[Q]``. Queries that cannot be answered are False here; leave them out with
        :func:`distill.metrics.counted_queries` before taking a mean.
    """
    values = checked_ks(ks)
    count = len(np.asarray(embeddings))
    own, others = labels_pair(labels, count, gallery_labels, None if gallery is None else len(np.asarray(gallery)))
    available = len(others) - int(gallery is None)
    hits = {k: np.zeros(count, dtype=bool) for k in values}
    if available == 0:
        return hits
    # All that there are is what a K beyond the gallery asks for.
    for start, found, _ in nearest_chunks(embeddings, gallery, min(values[-1], available)):
        stop = start + len(found)
        answered = np.logical_or.accumulate(others[found] == own[start:stop, None], axis=1)
        for k in values:
            hits[k][start:stop] = answered[:, min(k, available) - 1]
    return hits
