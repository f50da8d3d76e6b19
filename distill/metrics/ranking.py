"""MAP@R and R-precision: metrics of the whole ranking, not only of its first image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from distill.console.errors import Failure
from distill.metrics.inputs import checked_ks, labels_pair, relevant_counts
from distill.metrics.neighbours import nearest_chunks

__all__ = ["RetrievalScores", "map_at_r", "r_precision", "ranked_scores", "retrieval_scores"]


@dataclass(frozen=True)
class RetrievalScores:
    """Recall@K, MAP@R and R-precision from one search.

    Attributes:
        recall: K → 0..1.
        map_at_r: 0..1.
        r_precision: 0..1.
        hits: K → bool ``[Q]``.
        average_precision: float64 ``[Q]``, the terms of MAP@R, 0 if not counted.
        precision: float64 ``[Q]``, the terms of R-precision, 0 if not counted.
        counted: bool ``[Q]``, the queries that the means are taken over.
    """

    recall: dict[int, float]
    map_at_r: float
    r_precision: float
    hits: dict[int, np.ndarray]
    average_precision: np.ndarray
    precision: np.ndarray
    counted: np.ndarray


def retrieval_scores(
    embeddings: ArrayLike,
    labels: ArrayLike,
    ks: Sequence[int] = (1, 2, 4, 8),
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    exclude_self: bool | None = None,
) -> RetrievalScores:
    """Compute all retrieval metrics with one search; see :func:`map_at_r` for the other arguments.

    Args:
        exclude_self: Exclude gallery row i from the result of query i, for a gallery of
            the same images embedded by another model. Default: ``gallery is None``.

    Raises:
        Failure: wrong shapes, NaN or infinity, no query can be answered.
    """
    values = checked_ks(ks)
    count = len(np.asarray(embeddings))
    queries, others = labels_pair(labels, count, gallery_labels, None if gallery is None else len(np.asarray(gallery)))
    exclude_self = gallery is None if exclude_self is None else exclude_self
    relevant = relevant_counts(queries, others, exclude_self)
    available = len(others) - int(exclude_self)
    depth = min(max(values[-1], int(relevant.max(initial=1))), max(available, 1))
    ranked = ((start, found) for start, found, _ in nearest_chunks(embeddings, gallery, depth, exclude_self))
    return _scores(ranked, queries, others, relevant, values)


def ranked_scores(
    ranked: Iterable[tuple[int, np.ndarray]], labels: ArrayLike, ks: Sequence[int] = (1, 2, 4, 8)
) -> RetrievalScores:
    """Compute the same metrics for a search that was done elsewhere, every image against all others.

    Args:
        ranked: ``(first query, neighbours int64 [n, depth])`` per chunk: indices of images, best first, the
            query itself excluded. MAP@R and R-precision need as many neighbours as the largest class has other
            images; images beyond ``depth`` count as not found.
        labels: ``[N]``, class of each image.
        ks: Values of K, each at least 1.

    Raises:
        Failure: no query can be answered.
    """
    codes, _ = labels_pair(labels, len(np.asarray(labels)), None, None)
    return _scores(ranked, codes, codes, relevant_counts(codes, codes, True), checked_ks(ks))


def _scores(
    ranked: Iterable[tuple[int, np.ndarray]],
    queries: np.ndarray,
    gallery: np.ndarray,
    relevant: np.ndarray,
    ks: Sequence[int],
) -> RetrievalScores:
    count, counted = len(queries), relevant > 0
    if count and not counted.any():
        raise Failure(
            "retrieval: no query has another image of its class in the gallery", "use classes of two images or more"
        )
    hits = {k: np.zeros(count, dtype=bool) for k in ks}
    average = np.zeros(count)
    precision = np.zeros(count)
    for start, found in ranked:
        depth = found.shape[1]
        position = np.arange(1, depth + 1)
        part = slice(start, start + len(found))
        same = gallery[found] == queries[part, None]
        first = np.where(same.any(axis=1), same.argmax(axis=1), depth)
        for k in ks:
            hits[k][part] = first < k
        r = np.maximum(relevant[part], 1)
        same &= position <= r[:, None]
        average[part] = (np.cumsum(same, axis=1) * same / position).sum(axis=1) / r
        precision[part] = same.sum(axis=1) / r
    return RetrievalScores(
        recall={k: float(hit[counted].mean()) for k, hit in hits.items()},
        map_at_r=float(average[counted].mean()),
        r_precision=float(precision[counted].mean()),
        hits=hits,
        average_precision=average,
        precision=precision,
        counted=counted,
    )


def map_at_r(
    embeddings: ArrayLike,
    labels: ArrayLike,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
) -> float:
    """Return the mean average precision at R, 0..1.

    For a query with R images of its class in the gallery: ``1/R · Σ_{i=1..R} P(i) · rel(i)``,
    where P(i) is the precision among the first i, and rel(i) is 1 if the i-th has the query's class, else 0.
    Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020, section 3.2.

    Args:
        embeddings: ``[Q, D]`` of the queries; normalised here.
        labels: ``[Q]``, class of each query.
        gallery: ``[G, D]``, or None: the queries are the gallery, each query itself excluded.
        gallery_labels: ``[G]``, required with ``gallery``.

    Raises:
        Failure: wrong shapes, NaN or infinity, no query can be answered.
    """
    return retrieval_scores(embeddings, labels, (1,), gallery, gallery_labels).map_at_r


def r_precision(
    embeddings: ArrayLike,
    labels: ArrayLike,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
) -> float:
    """Return the R-precision, 0..1: the share of the R nearest with the query's class, R as in :func:`map_at_r`."""
    return retrieval_scores(embeddings, labels, (1,), gallery, gallery_labels).r_precision
