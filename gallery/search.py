"""Find the nearest images of a gallery: exactly, or with a prefilter on sign bits.

**Exact.** Similarity is the inner product of the codes times ``scale²`` (int8) or of the embeddings (float32).
Ties go to the lower row.

**Prefilter.** Used if the gallery holds sign bits. Let d(i) be the number of bits in which row i differs from the
query, C = min(N, max(64 * k, ceil(N / 50))), and T the smallest distance such that at least C rows have d(i) <= T.
**All** rows with d(i) <= T are candidates, so no order among equal distances is needed; if the signs carry no
information, all rows are candidates. Candidates are ranked as in the exact search. ``docs/gallery.md`` states how
many neighbours the prefilter finds.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from distill.console.errors import Failure
from distill.metrics.topk import candidates, pick
from gallery.codes import INT8_SCALE, int8_codes, sign_bits
from gallery.format import Gallery

__all__ = ["Found", "Kept", "KeptRows", "candidate_count", "search_gallery", "search_rows"]

_CANDIDATES_PER_ANSWER = 64
_CANDIDATE_SHARE = 50
# Sums of products of int8 codes over this many dimensions stay below 2^24. float32 holds them exactly, so the fast
# float matrix product returns the integers.
_EXACT_DIMENSIONS = 1024
_BLOCK_BYTES = 2**20  # of float32 rows per block, which stay in the cache
_MANY = 16  # queries from which a block of 8 times as many rows is faster
_LENGTH_TOLERANCE = 1e-3
_QUERIES = 1024  # at a time
_SCORES = 2**24  # cells of the score matrix at a time


class Found(NamedTuple):
    """The nearest rows of each query, best first.

    Attributes:
        rows: int64 [Q, min(k, N)].
        scores: float32 [Q, min(k, N)], cosines.
    """

    rows: np.ndarray
    scores: np.ndarray


class Kept(Protocol):
    """Rows that can be searched: an open gallery, or rows in memory."""

    @property
    def path(self) -> Path: ...

    @property
    def embeddings(self) -> np.ndarray: ...

    @property
    def bits(self) -> np.ndarray | None: ...


class KeptRows(NamedTuple):
    """Rows in memory, in the form in which a gallery stores them.

    Attributes:
        embeddings: [N, D], int8 codes of ``gallery.row_codes`` or float32 rows of unit length.
        bits: uint64 [N, ceil(D / 64)] of ``gallery.sign_bits``, or None.
        path: Name of the rows in error messages.
    """

    embeddings: np.ndarray
    bits: np.ndarray | None = None
    path: Path = Path("rows in memory")


def candidate_count(rows: int, k: int) -> int:
    """Return C of the prefilter: the minimum number of rows to compare in full."""
    return min(rows, max(_CANDIDATES_PER_ANSWER * k, -(-rows // _CANDIDATE_SHARE)))


def search_gallery(gallery: Gallery, queries: np.ndarray, k: int = 20, exact: bool | None = None) -> Found:
    """Find the ``k`` nearest rows of each query.

    Args:
        gallery: An open gallery.
        queries: float32 [Q, D], rows of unit length, embedded by the gallery's model. They are not normalized again,
            because that could change a code.
        k: Number of neighbours, at least 1.
        exact: Compare with every row (True), use the sign bits (False), or use them if there are any (None).

    Raises:
        Failure: the dimensions differ, the gallery is empty or holds NaN, or ``exact`` is False and there are no
            sign bits.
        ValueError: k is below 1, or a query is not of unit length.

    Example:
        >>> import numpy as np
        >>> from gallery import open_gallery, search_gallery
        >>> gallery = open_gallery("photos.gallery")
        >>> query = gallery.embeddings[4].astype(np.float32)
        >>> found = search_gallery(gallery, query[None] / np.linalg.norm(query), k=3)
        >>> found.rows.shape, gallery.id(found.rows[0, 0]), round(float(found.scores[0, 0]), 2)
        ((1, 3), 'IMG_0001.jpg', 1.0)
    """
    if queries.ndim != 2 or queries.shape[1] != gallery.header.dimension:
        raise Failure(
            f"queries are {queries.shape}, {gallery.path} has {gallery.header.dimension} dimensions",
            "embed the queries with the model that the gallery names",
        )
    rows = queries.astype(np.float32, copy=False)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    if not (np.abs(lengths - 1) < _LENGTH_TOLERANCE).all():
        raise ValueError("queries are not of unit length")
    return search_rows(gallery, int8_codes(rows) if gallery.header.dtype == "int8" else rows, k, exact)


def search_rows(gallery: Kept, queries: np.ndarray, k: int = 20, exact: bool | None = None) -> Found:
    """Find the ``k`` nearest rows of queries in the form in which the gallery stores rows: int8 codes or float32.

    Raises: see :func:`search_gallery`.
    """
    count, kind = len(gallery.embeddings), gallery.embeddings.dtype
    if k < 1:
        raise ValueError(f"k {k} is below 1")
    if not count:
        raise Failure(f"{gallery.path}: an empty gallery", "index some images first")
    if queries.dtype != kind:
        raise ValueError(f"queries are {queries.dtype}, the gallery stores {kind}")
    k = min(k, count)
    by_signs = gallery.bits is not None if exact is None else not exact
    if by_signs and gallery.bits is None:
        raise Failure(f"{gallery.path}: has no sign bits", "search exactly, or index again with --bits")
    if by_signs and candidate_count(count, k) < count:
        parts = [_by_signs(gallery, query, k) for query in queries]
    else:
        parts = [_exactly(gallery, queries[i : i + _QUERIES], k) for i in range(0, len(queries), _QUERIES)]
    rows = np.concatenate([part[0] for part in parts]) if parts else np.zeros((0, k), np.int64)
    values = np.concatenate([part[1] for part in parts]) if parts else np.zeros((0, k))
    factor = INT8_SCALE**2 if kind == np.int8 else 1.0
    return Found(rows, (values * factor).astype(np.float32))


def _exactly(gallery: Kept, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Compare with all rows, in parts that serve all ``queries``. Memory does not grow with the number of rows."""
    count, step = len(gallery.embeddings), max(1, _SCORES // len(queries))
    floor: np.ndarray | None = np.full(len(queries), -np.inf, np.float32) if step < count else None
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for start in range(0, count, step):
        scores = _scores(gallery.embeddings[start : start + step], queries, gallery)
        found, columns, floor = candidates(scores, k, floor)
        kept.append((found, columns + start, scores[found, columns]))
        if start + step >= count or (start + step >= k and sum(len(part[0]) for part in kept) > 4 * k * len(queries)):
            places, values = pick(len(queries), k, *(np.concatenate(part) for part in zip(*kept, strict=True)))
            floor = values[:, -1]
            kept = [(np.repeat(np.arange(len(queries)), k), places.reshape(-1), values.reshape(-1))]
    return places, values


def _by_signs(gallery: Kept, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    assert gallery.bits is not None
    distances = _hamming(gallery.bits, sign_bits(query[None])[0])
    within = np.cumsum(np.bincount(distances, minlength=gallery.embeddings.shape[1] + 1))
    limit = int(np.searchsorted(within, candidate_count(len(gallery.embeddings), k)))
    near = np.flatnonzero(distances <= limit)
    places, values = _best(_scores(gallery.embeddings[near], query[None], gallery), k)
    return near[places], values


def _hamming(bits: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the number of bits in which each row differs from the query: uint16 or uint32 [N]."""
    kind = np.uint16 if bits.shape[1] * 64 < 2**16 else np.uint32
    total = np.zeros(len(bits), kind)
    for word in range(bits.shape[1]):
        np.add(total, _popcount(bits[:, word] ^ query[word]), out=total)
    return total


def _popcount(values: np.ndarray) -> np.ndarray:
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(values)
    octets = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), 8)
    return _ONES[octets].sum(axis=1, dtype=np.uint8)


_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)  # for NumPy 1


def _scores(rows: np.ndarray, queries: np.ndarray, gallery: Kept) -> np.ndarray:
    """Return inner products [Q, N]; exact integers for int8 codes."""
    count, dimension = rows.shape
    wide = dimension > _EXACT_DIMENSIONS and rows.dtype == np.int8
    scores = np.empty((len(queries), count), np.float64 if wide else np.float32)
    left = queries.astype(np.float32)
    step = max(1, (_BLOCK_BYTES if len(queries) < _MANY else 8 * _BLOCK_BYTES) // (4 * dimension))
    for start in range(0, count, step):
        part = rows[start : start + step].astype(np.float32)
        cells = scores[:, start : start + step]
        if not wide:
            np.matmul(left, part.T, out=cells)
            continue
        cells[:] = 0
        for first in range(0, dimension, _EXACT_DIMENSIONS):
            some = slice(first, first + _EXACT_DIMENSIONS)
            np.add(cells, left[:, some] @ part[:, some].T, out=cells)
    if rows.dtype != np.int8 and not np.isfinite(scores).all():
        raise Failure(f"{gallery.path}: an embedding is not finite", "make it again with distill-index")
    return scores


def _best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns, _ = candidates(scores, k)
    return pick(len(scores), k, rows, columns, scores[rows, columns])
