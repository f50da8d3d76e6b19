"""Exact nearest neighbours by cosine similarity, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from distill.console.errors import Failure
from distill.metrics.inputs import unit_rows

__all__ = ["nearest", "nearest_chunks"]

# Similarities held at a time: 32 Mi float32 = 128 MiB, beside the embeddings themselves.
_CELLS = 32 * 1024 * 1024
_BLOCK = 32
_BLOCKS_PER_NEIGHBOUR = 16


def nearest(
    queries: ArrayLike,
    gallery: ArrayLike | None,
    k: int,
    exclude_self: bool | None = None,
    chunk: int = 1024,
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` gallery images most similar to each query, best first.

    Rows are L2-normalised here, so the inner product is the cosine similarity, and the order is
    that of the Euclidean distance. The search is exhaustive. Ties go to the lower gallery index;
    rows that are equal bit for bit always tie, wherever they stand.

    Args:
        queries: ``[Q, D]`` real numbers.
        gallery: ``[G, D]``, or None: the queries are the gallery.
        k: neighbours per query, at most G (G − 1 where the query itself is excluded).
        exclude_self: leave gallery row i out of the answer to query i. None: exactly where
            ``gallery`` is None.
        chunk: most queries at a time; fewer are taken where the gallery is large.

    Returns:
        ``(indices, similarities)``: int64 and float32, both ``[Q, k]``; similarities in −1..1.

    Raises:
        Failure: shapes that do not match, ``k`` out of range, NaN or infinity.

    Example:
        >>> import numpy as np
        >>> indices, _ = nearest(np.eye(2), np.array([[0.0, 2.0], [3.0, 0.0], [1.0, 0.0]]), k=2)
        >>> indices.tolist()
        [[1, 2], [0, 1]]
    """
    count = len(np.asarray(queries))
    indices = np.empty((count, max(int(k), 0)), dtype=np.int64)
    similarities = np.empty(indices.shape, dtype=np.float32)
    for start, found, values in nearest_chunks(queries, gallery, k, exclude_self, chunk):
        indices[start : start + len(found)] = found
        similarities[start : start + len(found)] = values
    return indices, similarities


def nearest_chunks(
    queries: ArrayLike,
    gallery: ArrayLike | None,
    k: int,
    exclude_self: bool | None = None,
    chunk: int = 1024,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The same as :func:`nearest`, a chunk of queries at a time, for ``k`` too large to hold.

    Yields:
        ``(first query, indices [n, k], similarities [n, k])``.
    """
    rows = unit_rows(queries, "queries")
    shelf = rows if gallery is None else unit_rows(gallery, "gallery")
    if rows.shape[1] != shelf.shape[1]:
        raise Failure(
            f"queries have {rows.shape[1]} dimensions, the gallery {shelf.shape[1]}", "embed both with models of one space"
        )
    exclude_self = gallery is None if exclude_self is None else exclude_self
    if exclude_self and len(rows) > len(shelf):
        raise Failure(
            f"{len(rows)} queries cannot be the first rows of a gallery of {len(shelf)}", "do not exclude the queries"
        )
    available = len(shelf) - int(exclude_self)
    if not 1 <= k <= available:
        raise Failure(f"{k} neighbours asked, {available} available", f"ask for 1 to {available}")

    # A product of matrices may round the same two rows differently at different places of the
    # result. Each distinct row is multiplied once, so that equal images tie exactly.
    distinct, member = _distinct_rows(shelf)
    step = max(1, min(chunk, _CELLS // len(shelf)))
    buffer = np.empty((step, len(distinct)), dtype=np.float32)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        scores = np.matmul(part, distinct.T, out=buffer[: len(part)])
        if member is not None:
            scores = scores[:, member]
        if exclude_self:
            own = np.arange(len(part))
            scores[own, start + own] = -np.inf
        yield start, *_top(scores, k)


def _distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The distinct rows, and for each row which of them it is (None: all rows differ)."""
    # Adding zero turns −0.0 into 0.0, which has other bytes but is the same number.
    seen: dict[bytes, int] = {}
    member = np.empty(len(rows), dtype=np.int64)
    first: list[int] = []
    for index, row in enumerate(rows):
        place = seen.setdefault(hashlib.blake2b(row + np.float32(0), digest_size=16).digest(), len(seen))
        member[index] = place
        if place == len(first):
            first.append(index)
    if len(first) == len(rows):
        return rows, None
    return rows[first], member


def _top(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and values of the ``k`` largest of each row, ties by lower index."""
    count, width = scores.shape
    blocks = width // _BLOCK
    if blocks < _BLOCKS_PER_NEIGHBOUR * k:
        row, column = np.divmod(np.flatnonzero(_exact_mask(scores, k)), width)
        return _pick(scores, row, column, k)
    # The k-th largest of the block maxima is at most the k-th largest value: one sweep finds the
    # few blocks that can hold an answer. Block b is the columns b, b + blocks, b + 2·blocks, …
    maxima = scores[:, : blocks * _BLOCK].reshape(count, _BLOCK, blocks).max(axis=1)
    bound = np.partition(maxima, blocks - k, axis=1)[:, blocks - k]
    passing = maxima >= bound[:, None]
    tail = scores[:, blocks * _BLOCK :] >= bound[:, None]
    crowded = np.flatnonzero(np.count_nonzero(passing, axis=1) > 4 * k)
    passing[crowded] = tail[crowded] = False
    row, block = np.divmod(np.flatnonzero(passing), blocks)
    column = block[:, None] + np.arange(0, blocks * _BLOCK, blocks)
    inside = scores[row[:, None], column] >= bound[row, None]
    row, column = np.broadcast_to(row[:, None], column.shape)[inside], column[inside]
    tail_row, tail_column = np.nonzero(tail)
    rows, columns = [row, tail_row], [column, tail_column + blocks * _BLOCK]
    if len(crowded):
        place, exact_column = np.nonzero(_exact_mask(scores[crowded], k))
        rows.append(crowded[place])
        columns.append(exact_column)
    return _pick(scores, np.concatenate(rows), np.concatenate(columns), k)


def _pick(scores: np.ndarray, row: np.ndarray, column: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best ``k`` of each row's candidates, of which every row has at least ``k``."""
    value = scores[row, column]
    order = np.lexsort((column, -value, row))
    first = np.searchsorted(row[order], np.arange(len(scores)))
    pick = order[first[:, None] + np.arange(k)]
    return column[pick], value[pick]


def _exact_mask(scores: np.ndarray, k: int) -> np.ndarray:
    """Exactly ``k`` true cells a row: its largest values, of equal ones the first."""
    width = scores.shape[1]
    threshold = np.partition(scores, width - k, axis=1)[:, width - k, None]
    mask = scores > threshold
    missing = k - np.count_nonzero(mask, axis=1)
    equal = scores == threshold
    mask |= equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= missing[:, None])
    return mask
