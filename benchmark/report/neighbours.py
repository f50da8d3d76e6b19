"""Queries with their nearest neighbours, as small pictures inside the page."""

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

__all__ = ["NeighbourSheet", "QueryGroup", "NeighbourRow", "Thumbnail", "QueryNeighbours", "data_uri", "gallery"]

SIDE = 96
NEIGHBOURS = 5
A_GROUP = 6
BUDGET = 1_400_000  # characters of all pictures, so that the page stays below 2 MB


@dataclass(frozen=True)
class Thumbnail:
    """One image. ``right``: has the query's class; ``distance``: Euclidean, 0..2. None for a query."""

    src: str
    key: str
    class_name: str
    right: bool | None = None
    distance: float | None = None


@dataclass(frozen=True)
class NeighbourRow:
    """Neighbours that one model found, nearest first."""

    model: str
    pictures: list[Thumbnail]


@dataclass(frozen=True)
class QueryNeighbours:
    """One query and what was found."""

    picture: Thumbnail
    lines: list[NeighbourRow]


@dataclass(frozen=True)
class QueryGroup:
    """Queries of one kind; ``total`` is how many of this kind there are."""

    kind: str  # "lost", "gained", "wrong", "right"
    total: int
    queries: list[QueryNeighbours]


@dataclass
class NeighbourSheet:
    """All pictures of a report. ``dropped`` queries did not fit into the page's size."""

    candidate: str
    answered: int
    groups: list[QueryGroup] = field(default_factory=list)
    dropped: int = 0


def data_uri(image: PIL.Image.Image) -> str:
    """A picture of at most 96 x 96 pixels as a WebP ``data:`` address."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE), PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=78, method=4)
    return page_uri(buffer.getvalue(), "webp")


def gallery(evidence: Evidence, candidate: str, seed: int = 0, budget: int = BUDGET) -> NeighbourSheet | None:
    """Pictures for the report: flipped queries first, then wrong ones, then right ones, drawn at random.

    Args:
        candidate: name of the variant whose embeddings ``evidence.candidate`` are.
        budget: most characters of all pictures together.

    Returns:
        ``None`` where the candidate could not be measured.
    """
    if evidence.candidate is None or evidence.scores is None:
        return None
    random = np.random.default_rng(seed)
    scores, comparison = evidence.scores, evidence.comparison
    hits = scores.hits[1]
    wrong, right = np.flatnonzero(scores.counted & ~hits), np.flatnonzero(scores.counted & hits)
    kinds: list[tuple[str, np.ndarray, int]] = []
    if comparison is not None:
        kinds += [("lost", comparison.lost, A_GROUP), ("gained", comparison.gained, A_GROUP // 2)]
    kinds += [("wrong", wrong, A_GROUP), ("right", right, A_GROUP)]

    studio = _Studio(evidence, candidate, budget)
    found = NeighbourSheet(candidate, int(scores.counted.sum()))
    shown: set[int] = set()
    for kind, rows, most in kinds:
        fresh = np.setdiff1d(rows, np.fromiter(shown, np.int64, len(shown)))
        drawn = random.permutation(fresh)[:most]
        queries = [query for row in drawn if (query := studio.query(int(row), kind in ("lost", "gained")))]
        shown.update(int(row) for row in drawn)
        found.dropped += len(drawn) - len(queries)
        if queries:
            found.groups.append(QueryGroup(kind, len(rows), queries))
    return found


class _Studio:
    """Makes pictures until the page is full."""

    def __init__(self, evidence: Evidence, candidate: str, budget: int) -> None:
        self._evidence = evidence
        self._candidate = candidate
        self._left = budget
        self._made: dict[int, str] = {}

    def query(self, row: int, with_pytorch: bool) -> QueryNeighbours | None:
        """One query with its neighbours; ``None`` if it does not fit or cannot be read any more."""
        evidence = self._evidence
        models = [(self._candidate, evidence.candidate)]
        if with_pytorch and evidence.pytorch is not None:
            models.insert(0, (PYTORCH, evidence.pytorch))
        try:
            lines = [NeighbourRow(name, list(self._neighbours(row, rows))) for name, rows in models if rows is not None]
            query = QueryNeighbours(self._picture(row), lines)
        except UnreadableImage:
            return None
        used = sum(len(picture.src) for line in (*lines, NeighbourRow("", [query.picture])) for picture in line.pictures)
        if used > self._left:
            return None
        self._left -= used
        return query

    def _neighbours(self, row: int, rows: np.ndarray) -> Iterable[Thumbnail]:
        depth = min(NEIGHBOURS + 1, len(rows))
        indices, similarities = nearest(rows[row : row + 1], rows, depth, exclude_self=False)
        # The query itself is taken out by its place, not as "the first": a copy may stand before it.
        keep = indices[0] != row
        labels = self._evidence.subject.images.labels[self._evidence.indices]
        for index, similarity in list(zip(indices[0][keep], similarities[0][keep], strict=True))[:NEIGHBOURS]:
            distance = float(np.sqrt(max(0.0, 2.0 - 2.0 * float(similarity))))
            yield self._picture(int(index), bool(labels[index] == labels[row]), distance)

    def _picture(self, row: int, right: bool | None = None, distance: float | None = None) -> Thumbnail:
        images = self._evidence.subject.images
        where = int(self._evidence.indices[row])
        if where not in self._made:
            self._made[where] = data_uri(images.read(where))
        return Thumbnail(
            self._made[where], plain(images.keys[where]), plain(images.classes[images.labels[where]]), right, distance
        )
