"""Choose queries and render them with their nearest images, as thumbnails inside the page."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import PIL.Image

from benchmark.run import PYTORCH, Evidence
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
    """One image. ``right``: whether it has the query's class; ``distance``: Euclidean, 0..2. ``None`` for a query."""

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

    kind: str  # "lost", "gained", "wrong", "right"
    total: int
    queries: list[QueryNeighbours]


@dataclass
class NeighbourSheet:
    """The queries shown in a report. ``dropped`` queries did not fit into the page."""

    candidate: str
    answered: int
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

    Args:
        candidate: Name of the variant with the embeddings ``evidence.candidate``.
        budget: Largest number of characters of all thumbnails.

    Returns:
        ``None`` if the candidate could not be measured.
    """
    if evidence.candidate is None or evidence.scores is None:
        return None
    random = np.random.default_rng(seed)
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
    studio = _Studio(evidence, candidate, np.concatenate(drawn), budget)
    found = NeighbourSheet(candidate, int(scores.counted.sum()))
    for (kind, rows, _), chosen in zip(kinds, drawn, strict=True):
        queries = [query for row in chosen if (query := studio.query(int(row), kind in ("lost", "gained")))]
        found.dropped += len(chosen) - len(queries)
        if queries:
            found.groups.append(QueryGroup(kind, len(rows), queries))
    return found


class _Studio:
    """Makes thumbnails until the page is full; keeps those that are shown.

    Args:
        rows: int64 [Q], the queries that may be asked for. They are searched at once: each search goes through all
            embeddings to find equal ones.
    """

    def __init__(self, evidence: Evidence, candidate: str, rows: np.ndarray, budget: int) -> None:
        self._evidence = evidence
        self._left = budget
        self._shown: dict[int, str] = {}
        self._place = {int(row): place for place, row in enumerate(rows)}
        models = [(PYTORCH, evidence.pytorch), (candidate, evidence.candidate)]
        self._found = {name: _nearest(rows, gallery) for name, gallery in models if gallery is not None}

    def query(self, row: int, with_pytorch: bool) -> QueryNeighbours | None:
        """Return one query with its neighbours; ``None`` if it does not fit or can no longer be read."""
        made: dict[int, str] = {}
        try:
            found = [
                NeighbourRow(name, list(self._neighbours(row, name, made)))
                for name in self._found
                if with_pytorch or name != PYTORCH
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
        indices, similarities = (part[self._place[row]] for part in self._found[model])
        # Remove the query by its index: a copy of it may come first.
        keep = indices != row
        labels = self._evidence.subject.images.labels[self._evidence.indices]
        for index, similarity in list(zip(indices[keep], similarities[keep], strict=True))[:NEIGHBOURS]:
            distance = float(np.sqrt(max(0.0, 2.0 - 2.0 * float(similarity))))
            yield self._thumbnail(int(index), made, bool(labels[index] == labels[row]), distance)

    def _thumbnail(
        self, row: int, made: dict[int, str], right: bool | None = None, distance: float | None = None
    ) -> Thumbnail:
        images = self._evidence.subject.images
        where = int(self._evidence.indices[row])
        source = self._shown.get(where) or made.get(where)
        if source is None:
            source = made[where] = data_uri(images.read(where))
        return Thumbnail(
            source, plain(images.keys[where]), plain(images.classes[images.labels[where]]), right, distance
        )


def _nearest(queries: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return nearest(rows[queries], rows, min(NEIGHBOURS + 1, len(rows)), exclude_self=False)
