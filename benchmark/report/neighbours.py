"""Choose queries and render them with their nearest images, as thumbnails inside the page."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import PIL.Image

from benchmark.pytorch import PYTORCH
from benchmark.run import Evidence
from benchmark.text import plain
from distill.data.imageset import UnreadableImage
from distill.metrics import nearest
from distill.page import data_uri as page_uri

__all__ = [
    "NeighbourRow",
    "NeighbourSheet",
    "QueryGroup",
    "QueryNeighbours",
    "Thumbnail",
    "data_uri",
    "neighbour_sheet",
]

SIDE = 96
NEIGHBOURS = 5
PER_GROUP = 6
BUDGET = 1_400_000  # characters of all thumbnails, so that the page stays below 2 MB


@dataclass(frozen=True)
class Thumbnail:
    """One image. ``right``: whether it has the query's class (without labels: whether the other model finds it too);
    ``distance``: Euclidean, 0..2. ``None`` for a query."""

    src: str
    key: str
    class_name: str
    right: bool | None = None
    distance: float | None = None


@dataclass(frozen=True)
class NeighbourRow:
    """Images that one model found for a query, nearest first."""

    model: str
    images: list[Thumbnail]


@dataclass(frozen=True)
class QueryNeighbours:
    """One query, and the images that each model found."""

    image: Thumbnail
    rows: list[NeighbourRow]


@dataclass(frozen=True)
class QueryGroup:
    """Queries of one kind; ``total`` is the number of queries of this kind."""

    kind: str  # "lost", "gained", "wrong", "right"; without labels "differ", "same"
    total: int
    queries: list[QueryNeighbours]


@dataclass
class NeighbourSheet:
    """The queries shown in a report. ``dropped`` queries did not fit into the page."""

    candidate: str
    answered: int
    reference: str = ""  # without labels: the model that the candidate is compared with
    groups: list[QueryGroup] = field(default_factory=list)
    dropped: int = 0


def data_uri(image: PIL.Image.Image) -> str:
    """Return a thumbnail of at most 96 × 96 pixels as a WebP ``data:`` URI."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE), PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=78, method=4)
    return page_uri(buffer.getvalue(), "webp")


def neighbour_sheet(evidence: Evidence, candidate: str, seed: int = 0, budget: int = BUDGET) -> NeighbourSheet | None:
    """Choose queries at random: flipped ones first, then wrong ones, then right ones.

    Without labels: those whose nearest image by the candidate and by the reference differ, then those for which it is the same.

    Args:
        candidate: Name of the variant with the embeddings ``evidence.candidate``.
        budget: Largest number of characters of all thumbnails.

    Returns:
        ``None`` if the candidate could not be measured, or there is nothing to compare it with.
    """
    if evidence.candidate is None:
        return None
    random = np.random.default_rng(seed)
    if evidence.scores is None:
        return _compared_sheet(evidence, candidate, random, budget)
    scores, comparison = evidence.scores, evidence.comparison
    hits = scores.hits[1]
    wrong, right = np.flatnonzero(scores.counted & ~hits), np.flatnonzero(scores.counted & hits)
    kinds: list[tuple[str, np.ndarray, int]] = []
    if comparison is not None:
        kinds += [("lost", comparison.lost, PER_GROUP), ("gained", comparison.gained, PER_GROUP // 2)]
    kinds += [("wrong", wrong, PER_GROUP), ("right", right, PER_GROUP)]

    drawn: list[np.ndarray] = []
    for _, rows, most in kinds:
        drawn.append(random.permutation(np.setdiff1d(rows, np.concatenate([*drawn, np.zeros(0, np.int64)])))[:most])
    models = [(PYTORCH, evidence.pytorch), (candidate, evidence.candidate)]
    studio = _Studio(evidence, models, np.concatenate(drawn), budget)
    found = NeighbourSheet(candidate, int(scores.counted.sum()))
    for (kind, rows, _), chosen in zip(kinds, drawn, strict=True):
        _add_group(found, studio, kind, len(rows), chosen, kind in ("lost", "gained"))
    return found


def _compared_sheet(
    evidence: Evidence, candidate: str, random: np.random.Generator, budget: int
) -> NeighbourSheet | None:
    if evidence.candidate is None or evidence.reference is None or len(evidence.candidate) < 3:
        return None
    name, rows = evidence.reference
    firsts = [nearest(model, None, 1)[0][:, 0] for model in (rows, evidence.candidate)]
    same = firsts[0] == firsts[1]
    kinds = [("differ", np.flatnonzero(~same)), ("same", np.flatnonzero(same))]
    drawn = [random.permutation(places)[:PER_GROUP] for _, places in kinds]
    studio = _Studio(evidence, [(name, rows), (candidate, evidence.candidate)], np.concatenate(drawn), budget)
    found = NeighbourSheet(candidate, len(rows), name)
    for (kind, places), chosen in zip(kinds, drawn, strict=True):
        _add_group(found, studio, kind, len(places), chosen, True)
    return found


def _add_group(
    sheet: NeighbourSheet, studio: _Studio, kind: str, total: int, chosen: np.ndarray, with_reference: bool
) -> None:
    queries = [query for row in chosen if (query := studio.query(int(row), with_reference))]
    sheet.dropped += len(chosen) - len(queries)
    if queries:
        sheet.groups.append(QueryGroup(kind, total, queries))


class _Studio:
    """Makes thumbnails until the page is full; keeps those that are shown.

    Args:
        models: The reference and the candidate with their embeddings, in the order shown.
        rows: int64 [Q], the queries that may be asked for. They are searched at once: each search goes through all
            embeddings to find equal ones.
    """

    def __init__(
        self, evidence: Evidence, models: list[tuple[str, np.ndarray | None]], rows: np.ndarray, budget: int
    ) -> None:
        self._evidence = evidence
        self._left = budget
        self._shown: dict[int, str] = {}
        self._place = {int(row): place for place, row in enumerate(rows)}
        self._reference = models[0][0]
        self._found = {name: _nearest(rows, gallery) for name, gallery in models if gallery is not None}

    def query(self, row: int, with_reference: bool) -> QueryNeighbours | None:
        """Return one query with its neighbours; ``None`` if it does not fit or can no longer be read."""
        made: dict[int, str] = {}
        try:
            found = [
                NeighbourRow(name, list(self._neighbours(row, name, made)))
                for name in self._found
                if with_reference or name != self._reference
            ]
            query = QueryNeighbours(self._thumbnail(row, made), found)
        except UnreadableImage:
            return None
        used = len(query.image.src) + sum(len(image.src) for one in found for image in one.images)
        if used > self._left:
            return None
        self._left -= used
        self._shown |= made
        return query

    def _neighbours(self, row: int, model: str, made: dict[int, str]) -> Iterable[Thumbnail]:
        images = self._evidence.subject.images
        found = self._nearest(row, model)
        if images.labelled:
            labels = images.labels[self._evidence.indices]
            right = {index for index, _ in found if labels[index] == labels[row]}
        else:
            right = {index for other in self._found if other != model for index, _ in self._nearest(row, other)}
        for index, similarity in found:
            distance = float(np.sqrt(max(0.0, 2.0 - 2.0 * similarity)))
            yield self._thumbnail(index, made, index in right, distance)

    def _nearest(self, row: int, model: str) -> list[tuple[int, float]]:
        """Return the rows found for a query with their similarities. The query is removed by its index: a copy may come first."""
        indices, similarities = (part[self._place[row]] for part in self._found[model])
        pairs = zip(indices.tolist(), similarities.tolist(), strict=True)
        return [(index, similarity) for index, similarity in pairs if index != row][:NEIGHBOURS]

    def _thumbnail(
        self, row: int, made: dict[int, str], right: bool | None = None, distance: float | None = None
    ) -> Thumbnail:
        images = self._evidence.subject.images
        where = int(self._evidence.indices[row])
        source = self._shown.get(where) or made.get(where)
        if source is None:
            source = made[where] = data_uri(images.read(where))
        name = images.classes[images.labels[where]] if images.labelled else images.keys[where].rpartition("/")[2]
        return Thumbnail(source, plain(images.keys[where]), plain(name), right, distance)


def _nearest(queries: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return nearest(rows[queries], rows, min(NEIGHBOURS + 1, len(rows)), exclude_self=False)
