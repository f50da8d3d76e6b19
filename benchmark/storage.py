"""What a gallery costs on the phone, and who may index it.

Storage: the same embeddings kept as float32, and as the int8 codes and sign bits that a gallery file holds, searched
as a gallery is searched (docs/gallery.md). Asymmetric: the phone's queries against a gallery that another model of the
same space indexed on a server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from benchmark.parity import KS
from benchmark.result import Asymmetric, RecallDrop, Storage
from distill.console import progress
from distill.metrics import RetrievalScores, paired_drop_ci, ranked_scores, retrieval_scores, unit_rows
from gallery.codes import int8_codes, row_codes, sign_bits, words
from gallery.search import KeptRows, candidate_count, search_rows

__all__ = ["ANSWERS", "asymmetric", "storage"]

ANSWERS = 20  # pictures that distill-index and the app show unless told otherwise
_BLOCK = 1024  # queries


def storage(embeddings: np.ndarray, scores: RetrievalScores, labels: np.ndarray, seed: int = 0) -> list[Storage]:
    """Recall and size of each way to keep a gallery; every image queries all others.

    Args:
        embeddings: float32 [N, D], unit rows.
        scores: of these embeddings as they are.
        labels: int64 [N].

    Returns:
        ``float32``; ``int8``, all rows compared; ``int8+bits``, candidates by signs for a search of 20 pictures. The
        last is left out where so few images are all candidates, and has no MAP@R, which asks deeper.
    """
    size, largest = embeddings.shape[1], int(np.unique(labels, return_counts=True)[1].max())
    unit = unit_rows(embeddings)
    queries = int8_codes(unit)
    rows = np.concatenate([row_codes(unit[start : start + _BLOCK]) for start in range(0, len(unit), _BLOCK)])
    depth = max(KS[-1], largest - 1)
    codes = ranked_scores(_ranked(KeptRows(rows), queries, depth, "int8 gallery"), labels, KS)
    found = [_kept("float32", 4 * size, scores, scores, labels, seed), _kept("int8", size, codes, scores, labels, seed)]
    if candidate_count(len(rows), ANSWERS + 1) < len(rows):
        signs = ranked_scores(
            _ranked(KeptRows(rows, sign_bits(rows)), queries, ANSWERS, "gallery with sign bits"), labels, KS
        )
        found.append(_kept("int8+bits", size + 8 * words(size), signs, scores, labels, seed, deep=False))
    return found


def _ranked(rows: KeptRows, queries: np.ndarray, depth: int, label: str) -> Iterator[tuple[int, np.ndarray]]:
    """The nearest ``depth`` rows of each query but itself, a block of queries at a time."""
    depth = min(depth, len(queries) - 1)
    with progress(label, total=len(queries)) as bar:
        for start in range(0, len(queries), _BLOCK):
            found = search_rows(rows, queries[start : start + _BLOCK], depth + 1).rows
            own = found == start + np.arange(len(found))[:, None]
            # Of more equal rows than were asked for the query itself may be missing: the last goes then.
            own[~own.any(axis=1), -1] = True
            yield start, found[~own].reshape(len(found), depth)
            bar.advance(len(found))


def _kept(
    name: str,
    size: int,
    own: RetrievalScores,
    before: RetrievalScores,
    labels: np.ndarray,
    seed: int,
    deep: bool = True,
) -> Storage:
    return Storage(
        name=name, bytes_per_image=size, recall=own.recall, map_at_r=own.map_at_r if deep else None,
        recall_drop=_drop(before, own, labels, seed),
    )  # fmt: skip


def asymmetric(
    queries: np.ndarray, labels: np.ndarray, galleries: Mapping[str, tuple[np.ndarray, RetrievalScores]], seed: int = 0
) -> list[Asymmetric]:
    """Queries of one model against galleries of others.

    Args:
        queries: float32 [N, D].
        galleries: name -> embeddings of the same images, same order, and their scores among themselves.

    Returns:
        for each gallery of as many dimensions the recall, and the drop against the queries of the gallery's own model.
    """
    found = []
    for name, (gallery, own) in galleries.items():
        if gallery.shape == queries.shape:
            # Image i of the gallery is query i: not an answer to itself.
            mixed = retrieval_scores(unit_rows(queries), labels, KS, unit_rows(gallery), labels, exclude_self=True)
            drop = _drop(own, mixed, labels, seed)
            found.append(Asymmetric(gallery=name, recall=mixed.recall, map_at_r=mixed.map_at_r, recall_drop=drop))
    return found


def _drop(before: RetrievalScores, after: RetrievalScores, labels: np.ndarray, seed: int) -> RecallDrop:
    drop = paired_drop_ci(before.hits[1], after.hits[1], labels, seed=seed, counted=before.counted)
    return RecallDrop(value=drop.value, ci95=drop.ci95)
