"""Exact nearest neighbours by cosine similarity, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

from distill.console.errors import Failure
from distill.metrics.inputs import unit_rows
from distill.metrics.topk import block_suffices, candidates, pick

__all__ = ["nearest", "nearest_chunks"]

# Similarities in memory at a time: 32 Mi float32 = 128 MiB, in addition to the embeddings.
_CELLS = 32 * 1024 * 1024
_TILE = 4096
_KEPT = 4  # times as many cells as will be returned are kept before they are sorted


def nearest(
    queries: ArrayLike,
    gallery: ArrayLike | None,
    k: int,
    exclude_self: bool | None = None,
    chunk: int = 1024,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``k`` gallery images most similar to each query, best first.

    Rows are L2-normalised here, so the inner product is the cosine similarity, and the order is
    that of the Euclidean distance. The search is exhaustive. Ties go to the lower gallery index;
    rows that are equal bit for bit always tie, wherever they are.

    Args:
        queries: ``[Q, D]`` real numbers.
        gallery: ``[G, D]``, or None: the queries are the gallery.
        k: Neighbours per query, at most G (G − 1 if the query itself is excluded).
        exclude_self: Exclude gallery row i from the result of query i. Default: ``gallery is None``.
        chunk: Maximum number of queries at a time; fewer if the gallery is large.

    Returns:
        ``(indices, similarities)``: int64 and float32, both ``[Q, k]``; similarities in −1..1.

    Raises:
        Failure: shapes do not match, ``k`` is out of range, NaN or infinity.

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
    """Yield the results of :func:`nearest` in chunks of queries, for ``k`` too large to keep in memory.

    Yields:
        ``(first query, indices [n, k], similarities [n, k])``.
    """
    rows = unit_rows(queries, "queries")
    gallery_rows = rows if gallery is None else unit_rows(gallery, "gallery")
    if rows.shape[1] != gallery_rows.shape[1]:
        raise Failure(
            f"queries have {rows.shape[1]} dimensions, the gallery {gallery_rows.shape[1]}",
            "embed both with models of one space",
        )
    exclude_self = gallery is None if exclude_self is None else exclude_self
    if exclude_self and len(rows) > len(gallery_rows):
        raise Failure(
            f"{len(rows)} queries cannot be the first rows of a gallery of {len(gallery_rows)}",
            "do not exclude the queries",
        )
    available = len(gallery_rows) - int(exclude_self)
    if not 1 <= k <= available:
        raise Failure(f"{k} neighbours requested, {available} available", f"ask for 1 to {available}")

    # A matrix product may round the same two rows differently at different positions. Each distinct row
    # is therefore multiplied once, so that equal images tie exactly.
    distinct, member = _distinct_rows(gallery_rows)
    step = max(1, min(chunk, _CELLS // len(gallery_rows)))
    if gallery is None and exclude_self and member is None and len(rows) >= 2 * _TILE and block_suffices(_TILE, k):
        found, values = _among_themselves(rows, k)
        for start in range(0, len(rows), step):
            yield start, found[start : start + step], values[start : start + step]
        return
    buffer = np.empty((step, len(distinct)), dtype=np.float32)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        scores = np.matmul(part, distinct.T, out=buffer[: len(part)])
        if member is not None:
            scores = scores[:, member]
        if exclude_self:
            diagonal = np.arange(len(part))
            scores[diagonal, start + diagonal] = -np.inf
        row, column, _ = candidates(scores, k)
        yield start, *pick(len(part), k, row, column, scores[row, column])


def _among_themselves(rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the neighbours of all rows among all rows; each tile of products serves its rows and its columns.

    A few candidates per row are kept at a time, however many tiles there are.
    """
    starts = range(0, len(rows), _TILE)
    floors = np.full(len(rows), -np.inf, dtype=np.float32)
    kept: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[] for _ in starts]
    buffer = np.empty((_TILE, _TILE), dtype=np.float32)

    def collect(tile: int, scores: np.ndarray, first: int, offset: int) -> None:
        part = slice(first, first + len(scores))
        row, column, bounds = candidates(scores, k, floors[part])
        floors[part] = bounds
        kept[tile].append((row, column + offset, scores[row, column]))
        if sum(len(cells[0]) for cells in kept[tile]) > _KEPT * k * len(scores):
            best, values = picked(tile, len(scores))
            floors[part] = values[:, -1]
            kept[tile].append((np.repeat(np.arange(len(scores)), k), best.reshape(-1), values.reshape(-1)))

    def picked(tile: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        cells = [np.concatenate(parts) for parts in zip(*kept[tile], strict=True)]
        kept[tile].clear()
        return pick(count, k, *cells)

    indices = np.empty((len(rows), k), dtype=np.int64)
    similarities = np.empty((len(rows), k), dtype=np.float32)

    # The product alone keeps all cores busy. Two threads then scan its rows and its columns, each
    # updating a different part of the floors.
    with ThreadPoolExecutor(2) as pool:
        for i, top in enumerate(starts):
            part = rows[top : top + _TILE]
            for j in range(i, len(starts)):
                left = starts[j]
                against = rows[left : left + _TILE]
                cells = buffer.reshape(-1)[: len(part) * len(against)].reshape(len(part), len(against))
                scores = np.matmul(part, against.T, out=cells)
                if i == j:
                    np.fill_diagonal(scores, -np.inf)
                    collect(i, scores, top, left)
                    continue
                columns = pool.submit(collect, j, scores.T, left, top)
                collect(i, scores, top, left)
                columns.result()
            # Its rows have met all others: as columns in the turns before, as rows in this one.
            indices[top : top + len(part)], similarities[top : top + len(part)] = picked(i, len(part))
    return indices, similarities


def _distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the distinct rows, and for each row the index of its distinct row (None if all rows differ)."""
    # Adding zero turns −0.0 into 0.0, an equal number with other bytes.
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
