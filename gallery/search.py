"""The nearest pictures of a gallery: exactly, or by signs first and int8 then.

**Exact.** Similarity is the inner product of the codes times ``scale²`` (int8) or of the embeddings
(float32). Of equal ones the lower row comes first.

**Prefilter.** Where the gallery holds sign bits. With distances d(i) = number of bits in which row i
differs from the query, and C = min(N, max(64 * k, ceil(N / 50))), let T be the smallest distance
that at least C rows have or stay below. Candidates are **all** rows with d(i) <= T: no order among
equal distances is needed, and where signs say nothing, all rows are candidates. They are ranked as
in the exact search. ``docs/gallery.md`` says how many neighbours that finds.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from distill.console.errors import Failure
from distill.metrics.topk import candidates, pick
from gallery.codes import INT8_SCALE, int8_codes, sign_bits
from gallery.format import Gallery

__all__ = ["Found", "Kept", "KeptRows", "candidate_count", "search", "search_rows"]

_CANDIDATES_PER_ANSWER = 64
_CANDIDATE_SHARE = 50
# Products of int8 codes summed over so many dimensions stay below 2^24: float32 holds them exactly,
# and so the processor's fast matrix product gives the integers.
_EXACT_DIMENSIONS = 1024
_BLOCK_BYTES = 2**20  # of float32 rows at a time: they stay in the cache
_LENGTH_TOLERANCE = 1e-3
_SCORES = 2**24  # cells of the score matrix at a time


class Found(NamedTuple):
    """The nearest rows of each query, best first.

    Attributes:
        rows: int64 [Q, min(k, N)].
        scores: float32 [Q, min(k, N)], cosine.
    """

    rows: np.ndarray
    scores: np.ndarray


class Kept(Protocol):
    """What is searched: an open gallery, or rows that are in no file."""

    @property
    def path(self) -> Path: ...

    @property
    def embeddings(self) -> np.ndarray: ...

    @property
    def bits(self) -> np.ndarray | None: ...


class KeptRows(NamedTuple):
    """Rows as a gallery keeps them, in memory.

    Attributes:
        embeddings: [N, D], int8 codes of ``gallery.row_codes`` or float32 rows of unit length.
        bits: uint64 [N, ceil(D / 64)] of ``gallery.sign_bits``, or None.
        path: what to call them in an error.
    """

    embeddings: np.ndarray
    bits: np.ndarray | None = None
    path: Path = Path("rows in memory")


def candidate_count(rows: int, k: int) -> int:
    """C of the prefilter: at least so many rows are compared in full."""
    return min(rows, max(_CANDIDATES_PER_ANSWER * k, -(-rows // _CANDIDATE_SHARE)))


def search(gallery: Gallery, queries: np.ndarray, k: int = 20, exact: bool | None = None) -> Found:
    """The ``k`` nearest rows of each query.

    Args:
        gallery: an open gallery.
        queries: float32 [Q, D], rows of unit length, embedded by the gallery's own model. They are taken
            as they are: scaling them once more could move a code.
        k: at least 1.
        exact: compare with every row; None: wherever there are no sign bits.

    Raises:
        Failure: another dimension, a gallery without a row or with broken numbers, no sign bits
            where ``exact`` is False.
        ValueError: k below 1, or queries that are not of unit length.
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
    """The same for queries that are rows as the gallery keeps them: int8 codes or float32.

    Raises: as :func:`search`.
    """
    count, kind = len(gallery.embeddings), gallery.embeddings.dtype
    if k < 1:
        raise ValueError(f"k {k} is below 1")
    if not count:
        raise Failure(f"{gallery.path}: an empty gallery", "index some pictures first")
    if queries.dtype != kind:
        raise ValueError(f"queries are {queries.dtype}, the gallery keeps {kind}")
    k = min(k, count)
    by_signs = gallery.bits is not None if exact is None else not exact
    if by_signs and gallery.bits is None:
        raise Failure(f"{gallery.path}: holds no sign bits", "search exactly, or index again with --bits")
    if by_signs and candidate_count(count, k) < count:
        parts = [_by_signs(gallery, query, k) for query in queries]
    else:
        step = max(1, _SCORES // count)
        parts = [
            _best(_scores(gallery.embeddings, queries[i : i + step], gallery), k) for i in range(0, len(queries), step)
        ]
    rows = np.concatenate([part[0] for part in parts]) if parts else np.zeros((0, k), np.int64)
    values = np.concatenate([part[1] for part in parts]) if parts else np.zeros((0, k))
    factor = INT8_SCALE**2 if kind == np.int8 else 1.0
    return Found(rows, (values * factor).astype(np.float32))


def _by_signs(gallery: Kept, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    assert gallery.bits is not None
    distances = _hamming(gallery.bits, sign_bits(query[None])[0])
    within = np.cumsum(np.bincount(distances, minlength=gallery.embeddings.shape[1] + 1))
    limit = int(np.searchsorted(within, candidate_count(len(gallery.embeddings), k)))
    near = np.flatnonzero(distances <= limit)
    places, values = _best(_scores(gallery.embeddings[near], query[None], gallery), k)
    return near[places], values


def _hamming(bits: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Number of differing bits of each row: uint16 or wider [N]."""
    kind = np.uint16 if bits.shape[1] * 64 < 2**16 else np.uint32
    total = np.zeros(len(bits), kind)
    for word in range(bits.shape[1]):
        total += _popcount(bits[:, word] ^ query[word])
    return total


def _popcount(values: np.ndarray) -> np.ndarray:
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(values)
    octets = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), 8)
    return _ONES[octets].sum(axis=1, dtype=np.uint8)


_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)  # for NumPy 1


def _scores(rows: np.ndarray, queries: np.ndarray, gallery: Kept) -> np.ndarray:
    """Inner products [Q, N]; of int8 codes exact integers."""
    count, dimension = rows.shape
    wide = dimension > _EXACT_DIMENSIONS and rows.dtype == np.int8
    scores = np.empty((len(queries), count), np.float64 if wide else np.float32)
    left = queries.astype(np.float32)
    step = max(1, _BLOCK_BYTES // (4 * dimension))
    for start in range(0, count, step):
        part = rows[start : start + step].astype(np.float32)
        cells = scores[:, start : start + step]
        if not wide:
            np.matmul(left, part.T, out=cells)
            continue
        cells[:] = 0
        for first in range(0, dimension, _EXACT_DIMENSIONS):
            some = slice(first, first + _EXACT_DIMENSIONS)
            cells += left[:, some] @ part[:, some].T
    if rows.dtype != np.int8 and not np.isfinite(scores).all():
        raise Failure(f"{gallery.path}: an embedding is not finite", "make it again with distill-index")
    return scores


def _best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns, _ = candidates(scores, k)
    return pick(len(scores), k, rows, columns, scores[rows, columns])
