"""Questions to a gallery: photos, or pictures that lie in it, and what was found."""

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
from gallery.search import Found, search, search_rows

__all__ = ["Answer", "Asker", "Neighbour", "ask_photos", "ask_rows", "find_rows", "open_asker"]

_FEW = 20  # photos that need no progress bar
_SIDE = 128  # of the query's thumbnail where the gallery does not say


@dataclass(frozen=True)
class Neighbour:
    """A picture that was found.

    Attributes:
        score: inner product of the codes times scale²: the cosine, give or take the rounding to
            int8, so that it may lie a little above 1.
    """

    row: int
    id: str
    score: float

    @property
    def cosine(self) -> float:
        """The score as it is shown: at most 1."""
        return min(self.score, 1.0)


@dataclass(frozen=True)
class Answer:
    """One query, its own thumbnail (JPEG, may be empty), and its neighbours, nearest first."""

    query: str
    thumbnail: bytes
    neighbours: list[Neighbour]

    def as_json(self) -> dict[str, Any]:
        """Without the thumbnail."""
        return {"query": self.query, "neighbours": [vars(neighbour) for neighbour in self.neighbours]}


@dataclass(frozen=True)
class Asker:
    """The model that embeds queries, and how it stands to the gallery's."""

    bundle: Bundle
    model: Model
    relation: Relation


def open_asker(gallery: Gallery, bundle_path: Path | None, variant: str | None, asymmetric: bool) -> Asker:
    """The model for the queries of a gallery.

    Args:
        bundle_path: None: where the bundle lay when the gallery was made.
        variant: None: the one that made the gallery where the bundle has it.
        asymmetric: take another model whose embeddings lie in the same space.

    Raises:
        Failure: no bundle there, or a model whose embeddings may not be compared with the gallery's.
    """
    theirs = gallery.model
    if bundle_path is None:
        if gallery.header.bundle is None:
            raise Failure(f"{gallery.path}: does not say where its bundle lies", "give --bundle DIR")
        bundle_path = gallery.path.parent / gallery.header.bundle
        if not bundle_path.exists():
            raise Failure(f"{bundle_path}: the bundle that made {gallery.path} is no longer there", "give --bundle DIR")
    bundle = load_bundle(bundle_path)
    makers = [v.name for v in bundle.manifest.variants if v.sha256 == theirs.sha256]
    ours = model_of(bundle, choose_variant(bundle, variant or (makers[0] if makers else None)))
    found = relation(ours, theirs)
    if bundle.manifest.embedding_size != gallery.header.dimension:
        size = f"{bundle.manifest.embedding_size} dimensions, the gallery {gallery.header.dimension}"
        found = Relation("none", f"{ours.name}/{ours.variant} has {size}")
    if found.kind == "none":
        raise Failure(
            f"{gallery.path}: is a gallery of another model: {found.reason}",
            f"index the pictures again with {bundle_path}, or give the --bundle that made it: {theirs.name}/{theirs.variant}",
        )
    if found.kind == "asymmetric" and not asymmetric:
        same = f"--variant {makers[0]} is the model that made it; or " if makers else ""
        raise Failure(
            f"{gallery.path}: is a gallery of another model: {theirs.name}/{theirs.variant}, asked by {ours.name}/{ours.variant}",
            f"{same}--asymmetric searches it all the same: {found.reason}",
        )
    return Asker(bundle, ours, found)


def ask_photos(gallery: Gallery, asker: Asker, photos: Sequence[Path], k: int, exact: bool | None) -> list[Answer]:
    """Embed photos and look them up. Unreadable ones are left out with one warning.

    Raises:
        Failure: none is readable, or an embedding has no direction.
    """
    prepare = asker.bundle.manifest.preprocessing
    runner = open_variant(asker.bundle, asker.model.variant)
    names, small, rows, problems = [], [], [], []
    with progress("embedding", len(photos)) if len(photos) > _FEW else nullcontext() as bar:
        for photo in photos:
            name = os.fsencode(photo).decode("utf-8", "replace")
            if bar is not None:
                bar.advance()
            try:
                image = decode(photo, name)
            except UnreadableImage as problem:
                problems.append(str(problem))
                continue
            row = runner.embed(prepare.pixels(image)[None])
            if not np.isfinite(row).all() or not row.any():
                raise Failure(
                    f"{name}: its embedding has no direction", "the model is broken: export or train it again"
                )
            names.append(name)
            rows.append(row)
            small.append(thumbnail(image, gallery.header.thumbnail_side or _SIDE))
    if not rows:
        raise Failure(f"no readable photo: {problems[0]}", "give JPEG, PNG, WebP or BMP files")
    if problems:
        warn(f"skipped {len(problems)} of {len(photos)} photos that cannot be read: {'; '.join(problems[:3])}")
    return _answers(gallery, names, small, search(gallery, np.concatenate(rows), k, exact), k, None)


def ask_rows(gallery: Gallery, rows: Sequence[int], k: int, exact: bool | None) -> list[Answer]:
    """Look up pictures of the gallery among all others; needs no model."""
    queries = np.array(gallery.embeddings[list(rows)])
    found = search_rows(gallery, queries, k + 1, exact)
    names = [gallery.id(row) for row in rows]
    return _answers(gallery, names, [gallery.thumbnail(row) for row in rows], found, k, rows)


def find_rows(gallery: Gallery, ids: Sequence[str]) -> list[int]:
    """Rows of the pictures with these ids.

    Raises:
        UsageFailure: there is no such picture.
    """
    import difflib

    rows = {name: row for row, name in enumerate(gallery.ids())}
    for name in ids:
        if name not in rows:
            near = difflib.get_close_matches(name, rows, n=1)
            cure = f"did you mean '{near[0]}'?" if near else f"ids look like '{next(iter(rows), '')}'"
            raise UsageFailure(f"{gallery.path}: no picture '{name}'", cure)
    return [rows[name] for name in ids]


def _answers(
    gallery: Gallery, names: Sequence[str], small: Sequence[bytes], found: Found, k: int, own: Sequence[int] | None
) -> list[Answer]:
    answers = []
    for place, name in enumerate(names):
        pairs = zip(found.rows[place].tolist(), found.scores[place].tolist(), strict=True)
        # The query itself is taken out by its row, not as "the first": a copy may stand before it.
        pairs = [(row, score) for row, score in pairs if own is None or row != own[place]][:k]
        neighbours = [Neighbour(row, gallery.id(row), round(score, 6)) for row, score in pairs]
        answers.append(Answer(name, small[place], neighbours))
    return answers
