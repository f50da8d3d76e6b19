"""Input checks and normalisation for all metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from distill.console.errors import Failure

__all__ = ["checked_ks", "counted_queries", "labels_pair", "relevant_counts", "unit_rows"]

_ROWS = 4096


def unit_rows(embeddings: ArrayLike, name: str = "embeddings") -> np.ndarray:
    """Return the rows scaled to unit length, as float32.

    Args:
        embeddings: ``[N, D]``, any real type. Rows of zeros stay zero: their similarity to
            everything is 0.
        name: Name in error messages.

    Returns:
        A new C-ordered float32 array ``[N, D]``.

    Raises:
        Failure: not a non-empty two-dimensional array of real numbers, or NaN or infinity in it.
    """
    array = np.asarray(embeddings)
    if array.ndim != 2 or 0 in array.shape:
        raise Failure(f"{name}: expected [images, dimensions], got shape {array.shape}", "pass one row per image")
    if array.dtype.kind not in "fiub":
        raise Failure(f"{name}: expected real numbers, got {array.dtype}", "pass float32")
    rows = np.empty(array.shape, dtype=np.float32)
    for start in range(0, len(array), _ROWS):
        # float64, because squares of large float32 values overflow and those of small ones vanish.
        part = array[start : start + _ROWS].astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", part, part))
        if not np.isfinite(norms).all():
            bad = start + int(np.flatnonzero(~np.isfinite(norms))[0])
            raise Failure(
                f"{name}: row {bad} contains NaN or infinity",
                "the model diverged or is broken: train or export it again",
            )
        part /= np.where(norms > 0, norms, 1.0)[:, None]
        rows[start : start + _ROWS] = part
    return rows


def checked_ks(ks: Sequence[int]) -> tuple[int, ...]:
    """Return ``ks`` sorted, without duplicates.

    Raises:
        Failure: empty, or a value below 1.
    """
    values = tuple(sorted({int(k) for k in ks}))
    if not values or values[0] < 1:
        raise Failure(f"Recall@K: K must be 1 or more, got {list(ks)}", "for example 1 2 4 8")
    return values


def labels_pair(
    labels: ArrayLike, queries: int, gallery_labels: ArrayLike | None, gallery: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of queries and gallery as comparable int64 codes.

    Args:
        labels: ``[Q]``, class of each query: integers or strings.
        queries: Q.
        gallery_labels: ``[G]``, or None if the queries are the gallery.
        gallery: G, or None if the queries are the gallery.

    Raises:
        Failure: counts do not match, or only one of gallery and its labels is given.
    """
    of_queries = np.asarray(labels)
    if of_queries.shape != (queries,):
        raise Failure(
            f"labels: expected {queries}, one per embedding, got shape {of_queries.shape}", "pass one label per image"
        )
    if (gallery is None) != (gallery_labels is None):
        raise Failure("gallery: embeddings and labels go together, only one was given", "pass both or neither")
    if gallery is None:
        codes = np.unique(of_queries, return_inverse=True)[1].reshape(-1).astype(np.int64)
        return codes, codes
    of_gallery = np.asarray(gallery_labels)
    if of_gallery.shape != (gallery,):
        raise Failure(
            f"gallery labels: expected {gallery}, one per embedding, got shape {of_gallery.shape}",
            "pass one label per image",
        )
    if (of_queries.dtype.kind in "iub") != (of_gallery.dtype.kind in "iub"):
        raise Failure(
            f"labels: queries have {of_queries.dtype}, the gallery {of_gallery.dtype}",
            "use the same kind of label for both",
        )
    codes = np.unique(np.concatenate([of_queries, of_gallery]), return_inverse=True)[1].reshape(-1).astype(np.int64)
    return codes[:queries], codes[queries:]


def relevant_counts(labels: np.ndarray, gallery_labels: np.ndarray, exclude_self: bool) -> np.ndarray:
    """Return R of each query, int64 ``[Q]``: the images of its class in the gallery, the query itself excluded."""
    size = 1 + max(int(labels.max(initial=0)), int(gallery_labels.max(initial=0)))
    return np.bincount(gallery_labels, minlength=size)[labels] - int(exclude_self)


def counted_queries(labels: ArrayLike, gallery_labels: ArrayLike | None = None) -> np.ndarray:
    """Return which queries can be answered: those whose class has another image in the gallery.

    The other queries are excluded from every mean, as in pytorch-metric-learning.

    Args:
        labels: ``[Q]``, class of each query.
        gallery_labels: ``[G]``, or None if the queries are the gallery.

    Returns:
        bool ``[Q]``.
    """
    queries = np.asarray(labels)
    gallery = None if gallery_labels is None else len(np.asarray(gallery_labels))
    query_codes, gallery_codes = labels_pair(queries, len(queries), gallery_labels, gallery)
    return relevant_counts(query_codes, gallery_codes, gallery_labels is None) > 0
