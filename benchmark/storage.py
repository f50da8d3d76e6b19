"""What a gallery costs on the phone, and who may index it.

Storage: the same embeddings kept as float32, int8 or single bits. Asymmetric: the phone's queries
against a gallery that another model of the same space indexed on a server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from benchmark.parity import KS
from benchmark.result import Asymmetric, RecallDrop, Storage
from distill.metrics import RetrievalScores, paired_drop_ci, retrieval_scores, unit_rows

__all__ = ["STORAGES", "asymmetric", "binary_rows", "int8_rows", "storage"]


def int8_rows(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings as an int8 gallery gives them back: float32 [N, D].

    Each row is ``rint(x / scale)`` with ``scale = max|x| / 127``, one float32 scale a row: D + 4 bytes.
    """
    scale = np.maximum(np.abs(embeddings).max(axis=1, keepdims=True), 1e-12) / 127
    return (np.rint(embeddings / scale).astype(np.int8) * scale).astype(np.float32)


def binary_rows(embeddings: np.ndarray) -> np.ndarray:
    """The signs, ±1 (0 counts as +1), float32 [N, D]; their inner product is D − 2 · Hamming distance. D / 8 bytes."""
    return np.where(embeddings >= 0, 1, -1).astype(np.float32)


# name -> (rows as the gallery gives them back, queries likewise, bytes of one image).
# Only with bits are the queries reduced too: that makes the search a Hamming distance.
_Rows = Callable[[np.ndarray], np.ndarray]
STORAGES: dict[str, tuple[_Rows, _Rows, Callable[[int], int]]] = {
    "float32": (lambda rows: rows, lambda rows: rows, lambda size: 4 * size),
    "int8": (int8_rows, lambda rows: rows, lambda size: size + 4),
    "binary": (binary_rows, binary_rows, lambda size: -(-size // 8)),
}


def storage(embeddings: np.ndarray, scores: RetrievalScores, labels: np.ndarray, seed: int = 0) -> list[Storage]:
    """Recall and size of each way to keep a gallery; every image queries all others.

    Args:
        embeddings: float32 [N, D], unit rows.
        scores: of these embeddings as they are.
        labels: int64 [N].
    """
    found = []
    for name, (gallery, queries, size) in STORAGES.items():
        own = scores if name == "float32" else _search(queries(embeddings), labels, gallery(embeddings))
        found.append(
            Storage(
                name=name, bytes_per_image=size(embeddings.shape[1]), recall=own.recall, map_at_r=own.map_at_r,
                recall_drop=_drop(scores, own, labels, seed),
            )
        )
    return found


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
            mixed = _search(queries, labels, gallery)
            drop = _drop(own, mixed, labels, seed)
            found.append(Asymmetric(gallery=name, recall=mixed.recall, map_at_r=mixed.map_at_r, recall_drop=drop))
    return found


def _search(queries: np.ndarray, labels: np.ndarray, gallery: np.ndarray) -> RetrievalScores:
    # Image i of the gallery is query i: not an answer to itself.
    return retrieval_scores(unit_rows(queries), labels, KS, unit_rows(gallery), labels, exclude_self=True)


def _drop(before: RetrievalScores, after: RetrievalScores, labels: np.ndarray, seed: int) -> RecallDrop:
    drop = paired_drop_ci(before.hits[1], after.hits[1], labels, seed=seed, counted=before.counted)
    return RecallDrop(value=drop.value, ci95=drop.ci95)
