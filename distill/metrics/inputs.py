"""The checks and the normalisation that all metrics share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from distill.console.errors import Failure

__all__ = ["checked_ks", "counted_queries", "labels_pair", "relevant_counts", "unit_rows"]

_ROWS = 4096


def unit_rows(embeddings: ArrayLike, name: str = "embeddings") -> np.ndarray:
    """Rows scaled to length 1, as float32.

    Args:
        embeddings: ``[N, D]``, any real type. Rows of zeros stay zero: they are equally far
            (similarity 0) from everything.
        name: what to call them in an error.

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
        # float64: the square of a large float32 overflows, that of a small one vanishes.
        part = array[start : start + _ROWS].astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", part, part))
        if not np.isfinite(norms).all():
            bad = start + int(np.flatnonzero(~np.isfinite(norms))[0])
            raise Failure(
                f"{name}: row {bad} holds NaN or infinity", "the model diverged or is broken: train or export it again"
            )
        part /= np.where(norms > 0, norms, 1.0)[:, None]
        rows[start : start + _ROWS] = part
    return rows


def checked_ks(ks: Sequence[int]) -> tuple[int, ...]:
    """``ks`` sorted, without doubles.

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
    """Labels of queries and gallery as int64 codes that can be compared with each other.

    Args:
        labels: ``[Q]`` class of each query: integers or strings.
        queries: Q.
        gallery_labels: ``[G]``, or None where the queries are the gallery.
        gallery: G, or None where the queries are the gallery.

    Raises:
        Failure: counts that do not match, or only one of gallery and its labels given.
    """
    own = np.asarray(labels)
    if own.shape != (queries,):
        raise Failure(
            f"labels: expected {queries}, one per embedding, got shape {own.shape}", "pass one label per image"
        )
    if (gallery is None) != (gallery_labels is None):
        raise Failure("gallery: embeddings and labels go together, only one was given", "pass both or neither")
    if gallery is None:
        codes = np.unique(own, return_inverse=True)[1].reshape(-1).astype(np.int64)
        return codes, codes
    others = np.asarray(gallery_labels)
    if others.shape != (gallery,):
        raise Failure(
            f"gallery labels: expected {gallery}, one per embedding, got shape {others.shape}",
            "pass one label per image",
        )
    if (own.dtype.kind in "iub") != (others.dtype.kind in "iub"):
        raise Failure(
            f"labels: queries have {own.dtype}, the gallery {others.dtype}", "use the same kind of label for both"
        )
    codes = np.unique(np.concatenate([own, others]), return_inverse=True)[1].reshape(-1).astype(np.int64)
    return codes[:queries], codes[queries:]


def relevant_counts(labels: np.ndarray, gallery_labels: np.ndarray, exclude_self: bool) -> np.ndarray:
    """R of each query: images of its class in the gallery, itself not counted. int64 ``[Q]``."""
    size = 1 + max(int(labels.max(initial=0)), int(gallery_labels.max(initial=0)))
    return np.bincount(gallery_labels, minlength=size)[labels] - int(exclude_self)


def counted_queries(labels: ArrayLike, gallery_labels: ArrayLike | None = None) -> np.ndarray:
    """Which queries can be answered at all: their class has another image in the gallery.

    The others are left out of every mean, as pytorch-metric-learning does.

    Args:
        labels: ``[Q]``.
        gallery_labels: ``[G]``, or None where the queries are the gallery.

    Returns:
        bool ``[Q]``.
    """
    own = np.asarray(labels)
    gallery = None if gallery_labels is None else len(np.asarray(gallery_labels))
    query_codes, gallery_codes = labels_pair(own, len(own), gallery_labels, gallery)
    return relevant_counts(query_codes, gallery_codes, gallery_labels is None) > 0
