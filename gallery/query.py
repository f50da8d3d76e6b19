"""Query a gallery with image files, or with images that it already contains."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.console import Failure, UsageFailure, progress, warn
from distill.data.decode import decode
from distill.data.imageset import UnreadableImage
from export.bundle import Bundle, load_bundle, open_variant
from gallery.format import Gallery
from gallery.images import thumbnail
from gallery.models import Relation, choose_variant, model_of, relation
from gallery.schema import Model
from gallery.search import Found, search_gallery, search_rows

__all__ = ["Answer", "Neighbour", "QueryModel", "find_rows", "open_query_model", "query_by_images", "query_by_rows"]

_FEW = 20  # up to this many files, no progress bar is shown
_SIDE = 128  # longer side of a query's thumbnail if the gallery does not record one


@dataclass(frozen=True)
class Neighbour:
    """An image found in a gallery.

    Attributes:
        row: Row in the gallery.
        id: Id of the image: a relative path with ``/``.
        score: Inner product of the codes times scale²: the cosine up to the rounding to int8, so it may slightly
            exceed 1.
    """

    row: int
    id: str
    score: float

    @property
    def cosine(self) -> float:
        """The score for display: at most 1."""
        return min(self.score, 1.0)


@dataclass(frozen=True)
class Answer:
    """One query and its neighbours.

    Attributes:
        query: Name of the query.
        thumbnail: Thumbnail of the query (JPEG), or empty.
        neighbours: Images found, nearest first.
    """

    query: str
    thumbnail: bytes
    neighbours: list[Neighbour]

    def as_json(self) -> dict[str, Any]:
        """Return query and neighbours, without the thumbnail."""
        return {"query": self.query, "neighbours": [vars(neighbour) for neighbour in self.neighbours]}


@dataclass(frozen=True)
class QueryModel:
    """The model that embeds queries, and its relation to the gallery's model."""

    bundle: Bundle
    model: Model
    relation: Relation


def open_query_model(
    gallery: Gallery, bundle_path: str | Path | None = None, variant: str | None = None, asymmetric: bool = False
) -> QueryModel:
    """Open the model that embeds queries for a gallery.

    Args:
        gallery: An open gallery.
        bundle_path: Folder of the bundle; None: where it was when the gallery was written.
        variant: Variant of the bundle; None: the one that embedded the gallery, if the bundle has it.
        asymmetric: Allow another model with the same embedding space.

    Raises:
        Failure: there is no bundle, or its embeddings may not be compared with the gallery's.

    Example:
        >>> from gallery import open_gallery, open_query_model
        >>> model = open_query_model(open_gallery("photos.gallery"), "runs/bundle")
        >>> model.model.variant, model.relation.kind
        ('tflite-float32', 'same')
    """
    theirs = gallery.model
    if bundle_path is None:
        if gallery.header.bundle is None:
            raise Failure(f"{gallery.path}: does not record the path of its bundle", "give --bundle DIR")
        bundle_path = gallery.path.parent / gallery.header.bundle
        if not bundle_path.exists():
            raise Failure(f"{bundle_path}: the bundle that made {gallery.path} is no longer there", "give --bundle DIR")
    bundle = load_bundle(Path(bundle_path))
    makers = [v.name for v in bundle.manifest.variants if v.sha256 == theirs.sha256]
    mine = model_of(bundle, choose_variant(bundle, variant or (makers[0] if makers else None)))
    found = relation(mine, theirs)
    if bundle.manifest.embedding_size != gallery.header.dimension:
        size = f"{bundle.manifest.embedding_size} dimensions, the gallery {gallery.header.dimension}"
        found = Relation("none", f"{mine.name}/{mine.variant} has {size}")
    if found.kind == "none":
        raise Failure(
            f"{gallery.path}: belongs to another model: {found.reason}",
            f"index the images again with {bundle_path}, or give the --bundle that made it: {theirs.name}/{theirs.variant}",
        )
    if found.kind == "asymmetric" and not asymmetric:
        same = f"--variant {makers[0]} is the model that made it; or " if makers else ""
        raise Failure(
            f"{gallery.path}: belongs to another model: {theirs.name}/{theirs.variant}, not {mine.name}/{mine.variant}",
            f"{same}--asymmetric searches it nevertheless: {found.reason}",
        )
    return QueryModel(bundle, mine, found)


def query_by_images(
    gallery: Gallery, model: QueryModel, files: Sequence[str | Path], k: int = 20, exact: bool | None = None
) -> list[Answer]:
    """Embed image files and find their neighbours. One warning lists unreadable files, which are skipped.

    Args:
        gallery: An open gallery.
        model: Model that embeds the files, from :func:`open_query_model`.
        files: Paths of JPEG, PNG, WebP or BMP files.
        k: Number of neighbours of each file.
        exact: See :func:`gallery.search_gallery`.

    Raises:
        Failure: no file is readable, or an embedding is zero or not finite.

    Example:
        >>> from gallery import open_gallery, open_query_model, query_by_images
        >>> gallery = open_gallery("photos.gallery")
        >>> answers = query_by_images(gallery, open_query_model(gallery, "runs/bundle"), ["photos/IMG_0002.jpg"], k=3)
        >>> nearest = answers[0].neighbours[0]
        >>> nearest.id, round(nearest.cosine, 2)
        ('IMG_0002.jpg', 1.0)
    """
    preprocessing = model.bundle.manifest.preprocessing
    runner = open_variant(model.bundle, model.model.variant)
    names, small, rows, problems = [], [], [], []
    with progress("embedding", len(files)) if len(files) > _FEW else nullcontext() as bar:
        for file in files:
            name = os.fsencode(file).decode("utf-8", "replace")
            if bar is not None:
                bar.advance()
            try:
                image = decode(Path(file), name)
            except UnreadableImage as problem:
                problems.append(str(problem))
                continue
            row = runner.embed(preprocessing.pixels(image)[None])
            if not np.isfinite(row).all() or not row.any():
                raise Failure(
                    f"{name}: its embedding is zero or not finite", "the model is broken: export or train it again"
                )
            names.append(name)
            rows.append(row)
            small.append(thumbnail(image, gallery.header.thumbnail_side or _SIDE))
    if not rows:
        raise Failure(f"no readable image: {problems[0]}", "give JPEG, PNG, WebP or BMP files")
    if problems:
        warn(f"skipped {len(problems)} of {len(files)} images that cannot be read: {'; '.join(problems[:3])}")
    return _answers(gallery, names, small, search_gallery(gallery, np.concatenate(rows), k, exact), k, None)


def query_by_rows(gallery: Gallery, rows: Sequence[int], k: int = 20, exact: bool | None = None) -> list[Answer]:
    """Find the neighbours of images of the gallery among all its other images. Needs no model.

    Args:
        gallery: An open gallery.
        rows: Rows of the query images.
        k: Number of neighbours of each image.
        exact: See :func:`gallery.search_gallery`.

    Example:
        >>> from gallery import open_gallery, query_by_rows
        >>> (answer,) = query_by_rows(open_gallery("photos.gallery"), [3], k=2)
        >>> answer.query, len(answer.neighbours), answer.query in [found.id for found in answer.neighbours]
        ('IMG_0000.jpg', 2, False)
    """
    queries = np.array(gallery.embeddings[list(rows)])
    found = search_rows(gallery, queries, k + 1, exact)
    names = [gallery.id(row) for row in rows]
    return _answers(gallery, names, [gallery.thumbnail(row) for row in rows], found, k, rows)


def find_rows(gallery: Gallery, ids: Sequence[str]) -> list[int]:
    """Return the rows of the images with these ids.

    Raises:
        UsageFailure: there is no such image.
    """
    import difflib

    rows = {name: row for row, name in enumerate(gallery.ids())}
    for name in ids:
        if name not in rows:
            near = difflib.get_close_matches(name, rows, n=1)
            cure = f"did you mean '{near[0]}'?" if near else f"ids look like '{next(iter(rows), '')}'"
            raise UsageFailure(f"{gallery.path}: no image '{name}'", cure)
    return [rows[name] for name in ids]


def _answers(
    gallery: Gallery, names: Sequence[str], small: Sequence[bytes], found: Found, k: int, queries: Sequence[int] | None
) -> list[Answer]:
    answers = []
    for place, name in enumerate(names):
        pairs = list(zip(found.rows[place].tolist(), found.scores[place].tolist(), strict=True))
        if queries is not None:
            # Remove the query by its row, not the first result: a copy of it may rank before it.
            pairs = [(row, score) for row, score in pairs if row != queries[place]]
        neighbours = [Neighbour(row, gallery.id(row), round(score, 6)) for row, score in pairs[:k]]
        answers.append(Answer(name, small[place], neighbours))
    return answers
