"""Measure Recall@K of stored galleries, and of galleries that another model indexed.

Storage: the same embeddings as float32, and as the int8 codes and sign bits of a gallery file, searched like a
gallery (docs/gallery.md). Asymmetric: the candidate's queries on a gallery that another model of the same embedding
space indexed, for example on a server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np

from benchmark.parity import KS
from benchmark.result import Asymmetric, RecallDrop, Storage
from distill.console import progress
from distill.metrics import RetrievalScores, paired_drop_ci, ranked_scores, retrieval_scores, unit_rows
from gallery.codes import int8_codes, row_codes, sign_bits, words
from gallery.search import KeptRows, candidate_count, search_rows

__all__ = ["ANSWERS", "asymmetric", "storage"]

ANSWERS = 20  # images that distill-index and the app show by default
_BLOCK = 1024  # queries


def storage(embeddings: np.ndarray, scores: RetrievalScores, labels: np.ndarray, seed: int = 0) -> list[Storage]:
    """Measure recall and size of each way to store a gallery; every image queries all others.

    Args:
        embeddings: float32 [N, D], unit rows.
        scores: Scores of these embeddings.
        labels: int64 [N].

    Returns:
        ``float32``; ``int8``, all rows compared; ``int8+bits``, candidates by signs for a search for 20 images. The
        last is left out where so few images are all candidates, and has no MAP@R, which needs a deeper search.
    """
    size, largest = embeddings.shape[1], int(np.unique(labels, return_counts=True)[1].max())
    unit = unit_rows(embeddings)
    queries = int8_codes(unit)
    rows = np.concatenate([row_codes(unit[start : start + _BLOCK]) for start in range(0, len(unit), _BLOCK)])
    depth = max(KS[-1], largest - 1)
    codes = ranked_scores(_ranked(KeptRows(rows), queries, depth, "int8 gallery"), labels, KS)
    found = [
        _stored("float32", 4 * size, scores, scores, labels, seed),
        _stored("int8", size, codes, scores, labels, seed),
    ]
    if candidate_count(len(rows), ANSWERS + 1) < len(rows):
        signs = ranked_scores(
            _ranked(KeptRows(rows, sign_bits(rows)), queries, ANSWERS, "gallery with sign bits"), labels, KS
        )
        found.append(_stored("int8+bits", size + 8 * words(size), signs, scores, labels, seed, deep=False))
    return found


def _ranked(rows: KeptRows, queries: np.ndarray, depth: int, label: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the ``depth`` nearest rows of each query, itself excluded, one block of queries at a time."""
    depth = min(depth, len(queries) - 1)
    with progress(label, total=len(queries)) as bar:
        for start in range(0, len(queries), _BLOCK):
            found = search_rows(rows, queries[start : start + _BLOCK], depth + 1).rows
            itself = found == start + np.arange(len(found))[:, None]
            # The query itself may be missing among many equal rows: the last row is dropped then.
            itself[~itself.any(axis=1), -1] = True
            yield start, found[~itself].reshape(len(found), depth)
            bar.advance(len(found))


def _stored(
    name: Literal["float32", "int8", "int8+bits"],
    size: int,
    scores: RetrievalScores,
    before: RetrievalScores,
    labels: np.ndarray,
    seed: int,
    deep: bool = True,
) -> Storage:
    return Storage(
        name=name, bytes_per_image=size, recall=scores.recall, map_at_r=scores.map_at_r if deep else None,
        recall_drop=_drop(before, scores, labels, seed),
    )  # fmt: skip


def asymmetric(
    queries: np.ndarray, labels: np.ndarray, galleries: Mapping[str, tuple[np.ndarray, RetrievalScores]], seed: int = 0
) -> list[Asymmetric]:
    """Measure the queries of one model on the galleries of others.

    Args:
        queries: float32 [N, D].
        galleries: Name -> embeddings of the same images in the same order, and the scores of these embeddings.

    Returns:
        For each gallery of the same dimension the recall, and the drop against the gallery model's own queries.
    """
    found = []
    for name, (gallery, alone) in galleries.items():
        if gallery.shape == queries.shape:
            # Image i of the gallery is query i, and is excluded from its own answers.
            mixed = retrieval_scores(unit_rows(queries), labels, KS, unit_rows(gallery), labels, exclude_self=True)
            drop = _drop(alone, mixed, labels, seed)
            found.append(Asymmetric(gallery=name, recall=mixed.recall, map_at_r=mixed.map_at_r, recall_drop=drop))
    return found


def _drop(before: RetrievalScores, after: RetrievalScores, labels: np.ndarray, seed: int) -> RecallDrop:
    drop = paired_drop_ci(before.hits[1], after.hits[1], labels, seed=seed, counted=before.counted)
    return RecallDrop(value=drop.value, ci95=drop.ci95)
