"""Measure Recall@K of stored galleries, and of galleries that another model indexed.

Storage: the same embeddings as float32, and as the int8 codes and sign bits of a gallery file, searched like a
gallery (docs/gallery.md). Asymmetric: the candidate's queries on a gallery that another model of the same embedding
space indexed, for example on a server. Without labels, agreement with the exact search of the same embeddings, or with the
gallery model's own queries, takes the place of Recall@K.

Up to :data:`QUERIES` images, every image queries all others. Beyond, the cost would grow with the square of their number:
as many queries are drawn at random, and still search all images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from benchmark.agreement import Neighbours, summary
from benchmark.parity import KS
from benchmark.result import Asymmetric, RecallDrop, Storage
from distill.console import progress
from distill.metrics import (
    NeighbourLists,
    RetrievalScores,
    agreement_of,
    neighbour_lists,
    paired_drop_ci,
    ranked_scores,
    unit_rows,
)
from distill.metrics.neighbours import nearest_chunks
from gallery.codes import int8_codes, row_codes, sign_bits, words
from gallery.search import KeptRows, candidate_count, search_rows

__all__ = ["ANSWERS", "QUERIES", "asymmetric", "asymmetric_agreement", "storage", "storage_agreement"]

ANSWERS = 20  # images that distill-index and the app show by default
QUERIES = 20_000
_BLOCK = 1024  # queries

Blocks = Iterable[tuple[int, np.ndarray]]  # (place of the first query, int64 [n, depth] rows found)


def storage(embeddings: np.ndarray, scores: RetrievalScores, labels: np.ndarray, seed: int = 0) -> list[Storage]:
    """Measure recall and size of each way to store a gallery.

    Args:
        embeddings: float32 [N, D], unit rows.
        scores: Scores of these embeddings.
        labels: int64 [N].
        seed: Seed of the bootstrap, and of the draw among more than ``QUERIES`` images.

    Returns:
        ``float32``; ``int8``, all rows compared; ``int8+bits``, candidates by signs for a search for 20 images. The
        last is left out where so few images are all candidates, and has no MAP@R, which needs a deeper search.
    """
    size, asked = embeddings.shape[1], _drawn(scores, seed)
    before = _among(scores, asked)
    unit = unit_rows(embeddings)
    codes = np.concatenate([row_codes(unit[start : start + _BLOCK]) for start in range(0, len(unit), _BLOCK)])

    def searched(kept: KeptRows, depth: int, label: str) -> RetrievalScores:
        blocks = (
            (start, search_rows(kept, int8_codes(unit[asked[start : start + _BLOCK]]), depth + 1).rows)
            for start in range(0, len(asked), _BLOCK)
        )
        return _scores(blocks, asked, labels, label)

    def stored(
        name: Literal["float32", "int8", "int8+bits"], size: int, found: RetrievalScores, deep: bool = True
    ) -> Storage:
        return Storage(
            name=name, bytes_per_image=size, recall=found.recall, map_at_r=found.map_at_r if deep else None,
            recall_drop=_drop(before, found, labels, seed), queries=_sampled(scores, asked),
        )  # fmt: skip

    found = [
        stored("float32", 4 * size, before),
        stored("int8", size, searched(KeptRows(codes), _deepest(labels), "int8 gallery")),
    ]
    if candidate_count(len(codes), ANSWERS + 1) < len(codes):
        signs = searched(KeptRows(codes, sign_bits(codes)), ANSWERS, "gallery with sign bits")
        found.append(stored("int8+bits", size + 8 * words(size), signs, deep=False))
    return found


def asymmetric(
    queries: np.ndarray, labels: np.ndarray, galleries: Mapping[str, tuple[np.ndarray, RetrievalScores]], seed: int = 0
) -> list[Asymmetric]:
    """Measure the queries of one model on the galleries of others.

    Args:
        queries: float32 [N, D].
        galleries: Name -> embeddings of the same images in the same order, and the scores of these embeddings.
        seed: Seed of the bootstrap, and of the draw among more than ``QUERIES`` images.

    Returns:
        For each gallery of the same dimension the recall, and the drop against the gallery model's own queries.
    """
    found = []
    for name, (gallery, alone) in galleries.items():
        if gallery.shape != queries.shape:
            continue
        asked = _drawn(alone, seed)
        chunks = nearest_chunks(queries[asked], gallery, _deepest(labels) + 1, exclude_self=False)
        mixed = _scores(((start, rows) for start, rows, _ in chunks), asked, labels, f"gallery of {name}")
        drop = _drop(_among(alone, asked), mixed, labels, seed)
        found.append(
            Asymmetric(
                gallery=name, recall=mixed.recall, map_at_r=mixed.map_at_r, recall_drop=drop,
                queries=_sampled(alone, asked),
            )
        )  # fmt: skip
    return found


def storage_agreement(embeddings: np.ndarray, seed: int = 0) -> list[Storage]:
    """Measure how far each way to store a gallery finds what a search of the float32 embeddings finds, without labels.

    Args and ways: as for :func:`storage`.
    """
    images, size = embeddings.shape
    asked = Neighbours(images, seed).asked
    places = np.arange(images) if asked is None else asked
    exact, unit = neighbour_lists(embeddings, asked), unit_rows(embeddings)
    exact = replace(exact, found=exact.found[:, :ANSWERS])  # a search for as many images as apps show
    codes = np.concatenate([row_codes(unit[start : start + _BLOCK]) for start in range(0, images, _BLOCK)])
    queries = None if asked is None else len(asked)

    def stored(name: Literal["float32", "int8", "int8+bits"], size: int, kept: KeptRows | None) -> Storage:
        agreement = None
        if kept is not None:
            depth = exact.found.shape[1]
            blocks = (
                (start, search_rows(kept, int8_codes(unit[places[start : start + _BLOCK]]), depth + 1).rows)
                for start in range(0, len(places), _BLOCK)
            )
            rows = np.concatenate([rows for _, rows in _ranked(blocks, places, f"{name} gallery")])
            # The order is that of exact similarities: only the lists are the gallery's.
            found = agreement_of(exact, NeighbourLists(rows, exact.queries, exact.gallery))
            agreement = summary("float32", found, seed, queries=queries)
            agreement.rank_correlation = agreement.rank_correlation_ci95 = None
        return Storage(name=name, bytes_per_image=size, map_at_r=None, queries=queries, agreement=agreement)

    found = [stored("float32", 4 * size, None), stored("int8", size, KeptRows(codes))]
    if candidate_count(len(codes), exact.found.shape[1] + 1) < len(codes):
        found.append(stored("int8+bits", size + 8 * words(size), KeptRows(codes, sign_bits(codes))))
    return found


def asymmetric_agreement(queries: np.ndarray, galleries: Mapping[str, np.ndarray], seed: int = 0) -> list[Asymmetric]:
    """Measure how far the queries of one model find in another model's gallery what that model's own queries find.

    Args:
        queries: float32 [N, D].
        galleries: Name -> embeddings of the same images in the same order.

    Returns:
        One row for each gallery of the same dimension.
    """
    asked, found = Neighbours(len(queries), seed).asked, []
    for name, gallery in galleries.items():
        if gallery.shape != queries.shape:
            continue
        agreement = agreement_of(neighbour_lists(gallery, asked), neighbour_lists(queries, asked, gallery))
        count = None if asked is None else len(asked)
        found.append(Asymmetric(gallery=name, queries=count, agreement=summary(name, agreement, seed, queries=count)))
    return found


def _drawn(scores: RetrievalScores, seed: int) -> np.ndarray:
    """Return the images that query, ascending: all, or ``QUERIES`` of those that have another image of their class."""
    if len(scores.counted) <= QUERIES:
        return np.arange(len(scores.counted))
    counted = np.flatnonzero(scores.counted)
    if len(counted) <= QUERIES:
        return counted
    return np.sort(np.random.default_rng(seed).choice(counted, QUERIES, replace=False))


def _sampled(scores: RetrievalScores, asked: np.ndarray) -> int | None:
    """Return the number of queries if not all that count were asked."""
    return len(asked) if len(asked) < np.count_nonzero(scores.counted) else None


def _deepest(labels: np.ndarray) -> int:
    """Return how many neighbours of a query Recall@K and MAP@R need, as far as there are so many."""
    return min(max(KS[-1], int(np.unique(labels, return_counts=True)[1].max()) - 1), len(labels) - 1)


def _scores(blocks: Blocks, asked: np.ndarray, labels: np.ndarray, label: str) -> RetrievalScores:
    """Score the queries ``asked``, for which ``blocks`` are the rows found, the queries themselves included."""
    return _among(ranked_scores(_ranked(blocks, asked, label), labels, KS), asked)


def _ranked(blocks: Blocks, asked: np.ndarray, label: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rows found without the query itself, in runs of images that follow one another."""
    with progress(label, total=len(asked)) as bar:
        for start, found in blocks:
            places = asked[start : start + len(found)]
            itself = found == places[:, None]
            # The query itself may be missing among many equal rows: the last row is dropped then.
            itself[~itself.any(axis=1), -1] = True
            found = found[~itself].reshape(len(found), found.shape[1] - 1)
            gaps = np.flatnonzero(np.diff(places) > 1) + 1
            yield from zip(places[np.concatenate([[0], gaps])].tolist(), np.split(found, gaps), strict=True)
            bar.advance(len(found))


def _among(scores: RetrievalScores, asked: np.ndarray) -> RetrievalScores:
    """Return the scores of the queries ``asked`` alone."""
    chosen = np.zeros(len(scores.counted), bool)
    chosen[asked] = True
    counted = scores.counted & chosen
    return replace(
        scores,
        recall={k: float(hits[counted].mean()) for k, hits in scores.hits.items()},
        map_at_r=float(scores.average_precision[counted].mean()),
        r_precision=float(scores.precision[counted].mean()),
        counted=counted,
    )


def _drop(before: RetrievalScores, after: RetrievalScores, labels: np.ndarray, seed: int) -> RecallDrop:
    drop = paired_drop_ci(before.hits[1], after.hits[1], labels, seed=seed, counted=before.counted)
    return RecallDrop(value=drop.value, ci95=drop.ci95)
