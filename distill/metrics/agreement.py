"""Neighbour agreement: how far a model finds what a reference finds. It needs no labels.

Every image queries all others with both models. *Agreement at K* is the share of the reference's K nearest images that are
among the model's K nearest (the overlap of two top-K lists: Fagin, Kumar, Sivakumar, "Comparing top k lists", SODA 2003,
section 3.1). It says which images are found. The *rank correlation* says in which order: Spearman's coefficient between
both models' similarities to the reference's 100 nearest images. By chance the agreement is K / (images − 1), and the
correlation 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from distill.console.errors import Failure
from distill.metrics.inputs import unit_rows
from distill.metrics.neighbours import nearest

__all__ = [
    "AGREEMENT_KS",
    "RANKED",
    "NeighbourAgreement",
    "NeighbourLists",
    "agreement_of",
    "neighbour_agreement",
    "neighbour_lists",
]

AGREEMENT_KS = (1, 10, 20)
RANKED = 100  # nearest images of the reference whose order is compared
_PAIRS = 4 * 1024 * 1024


@dataclass(frozen=True)
class NeighbourLists:
    """The nearest images of some queries by one model, and what their similarities follow from.

    Attributes:
        found: int64 [Q, depth], gallery rows, nearest first, the query itself excluded.
        queries: float32 [Q, D], unit rows.
        gallery: float32 [N, D], unit rows.
    """

    found: np.ndarray
    queries: np.ndarray
    gallery: np.ndarray


@dataclass(frozen=True)
class NeighbourAgreement:
    """Agreement of a model with a reference, query by query.

    Attributes:
        overlaps: K → float64 [Q], share of the reference's K nearest among the model's K nearest, 0..1.
        correlations: float64 [Q], −1..1; NaN where one of the models finds all images equally similar.
        ranked: number of images whose order is compared.
    """

    overlaps: dict[int, np.ndarray]
    correlations: np.ndarray
    ranked: int

    @property
    def overlap(self) -> dict[int, float]:
        """K → mean over the queries."""
        return {k: float(values.mean()) for k, values in self.overlaps.items()}

    @property
    def correlation(self) -> float | None:
        """Mean rank correlation over the queries that have one; None if none has."""
        kept = self.correlations[~np.isnan(self.correlations)]
        return float(kept.mean()) if len(kept) else None


def neighbour_agreement(
    reference: ArrayLike, embeddings: ArrayLike, ks: Sequence[int] = AGREEMENT_KS
) -> NeighbourAgreement:
    """Compare the nearest images that two models find for every image among all others.

    Args:
        reference: ``[N, D]`` embeddings of the reference; normalised here.
        embeddings: ``[N, E]`` of the model, of the same images in the same order.
        ks: Values of K; those of N − 1 or more, for which every model agrees, are left out.

    Raises:
        Failure: the numbers of images differ, fewer than three images, NaN or infinity.

    Example:
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).normal(size=(50, 8))
        >>> found = neighbour_agreement(rows, 2 * rows)
        >>> found.overlap, round(found.correlation, 6)
        ({1: 1.0, 10: 1.0, 20: 1.0}, 1.0)
    """
    return agreement_of(neighbour_lists(reference), neighbour_lists(embeddings), ks)


def neighbour_lists(
    embeddings: ArrayLike, asked: np.ndarray | None = None, gallery: ArrayLike | None = None
) -> NeighbourLists:
    """Search the nearest images of some images among all others.

    Args:
        embeddings: ``[N, D]`` of the queries; normalised here.
        asked: int64 [Q], rows that query; None: all.
        gallery: ``[N, D]`` of the same images by another model, searched instead.

    Returns:
        The ``RANKED`` nearest, or all if there are fewer.

    Raises:
        Failure: fewer than three images, shapes that do not match, NaN or infinity.
    """
    rows = unit_rows(embeddings)
    searched = rows if gallery is None else unit_rows(gallery, "gallery")
    if len(rows) < 3:
        raise Failure(f"neighbour agreement: {len(rows)} images", "give three or more: each searches the others")
    if len(searched) != len(rows):
        raise Failure(
            f"neighbour agreement: {len(rows)} queries, {len(searched)} images in the gallery", "embed the same images"
        )
    places = np.arange(len(rows)) if asked is None else np.asarray(asked)
    depth = min(RANKED, len(rows) - 1)
    found, _ = nearest(rows[places], searched, depth + 1, exclude_self=False)
    itself = found == places[:, None]
    # Among many equal rows the query itself may be missing: the last row is dropped then.
    itself[~itself.any(axis=1), -1] = True
    return NeighbourLists(found[~itself].reshape(len(places), depth), rows[places], searched)


def agreement_of(
    reference: NeighbourLists, model: NeighbourLists, ks: Sequence[int] = AGREEMENT_KS
) -> NeighbourAgreement:
    """Compare lists of the same queries, from :func:`neighbour_lists`.

    Raises:
        Failure: the numbers of queries or of images differ.
    """
    images = len(reference.gallery)
    if reference.found.shape != model.found.shape or len(model.gallery) != images:
        raise Failure(
            f"neighbour agreement: {len(reference.found)} and {len(model.found)} queries in {images} and "
            f"{len(model.gallery)} images",
            "embed the same images with both models",
        )
    usable = [k for k in sorted(set(ks)) if 1 <= k < images - 1] or [1]
    overlaps = {k: _shared(reference.found[:, :k], model.found[:, :k]) / k for k in usable}
    correlations = np.empty(len(reference.found))
    step = max(1, _PAIRS // reference.found.shape[1] ** 2)
    for start in range(0, len(correlations), step):
        part = slice(start, start + step)
        correlations[part] = _spearman(_similarities(reference, reference, part), _similarities(model, reference, part))
    return NeighbourAgreement(overlaps, correlations, reference.found.shape[1])


def _shared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Count the common entries of each row of two matrices, whose rows repeat none."""
    both = np.sort(np.concatenate([first, second], axis=1), axis=1)
    return np.count_nonzero(both[:, 1:] == both[:, :-1], axis=1)


def _similarities(model: NeighbourLists, to: NeighbourLists, part: slice) -> np.ndarray:
    """Return the model's similarities to the images that another one found, float64 [n, depth]."""
    return np.einsum("qd,qkd->qk", model.queries[part], model.gallery[to.found[part]], dtype=np.float64)


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation of each row, ties ranked by their mean; NaN where a row is constant."""
    ranks = [_centred_ranks(values) for values in (first, second)]
    lengths = [np.sqrt(np.einsum("ij,ij->i", rank, rank)) for rank in ranks]
    product = lengths[0] * lengths[1]
    cosine = np.einsum("ij,ij->i", *ranks) / np.where(product > 0, product, 1.0)
    return np.where(product > 0, np.clip(cosine, -1.0, 1.0), np.nan)


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks in each row minus their mean: half the number of smaller minus that of larger values."""
    smaller = np.count_nonzero(values[:, :, None] > values[:, None, :], axis=2)
    larger = np.count_nonzero(values[:, :, None] < values[:, None, :], axis=2)
    return (smaller - larger) / 2
