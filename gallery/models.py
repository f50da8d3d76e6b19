"""Choose the variant that embeds, and decide whether its queries may search a gallery."""

from __future__ import annotations

from typing import Literal, NamedTuple

from distill.console.errors import UsageFailure, suggest
from export.bundle import Bundle, Variant
from gallery.schema import Model

__all__ = ["DEFAULT_VARIANT", "Relation", "choose_variant", "model_of", "relation"]

DEFAULT_VARIANT = "tflite-int8"


def choose_variant(bundle: Bundle, name: str | None) -> Variant:
    """Return the variant of this name; None: ``tflite-int8``, which phones run, or else the bundle's first."""
    names = [variant.name for variant in bundle.manifest.variants]
    if name is not None and name not in names:
        raise UsageFailure(f"{bundle.directory}: no variant '{name}'", suggest(name, names))
    return bundle.variant(name or (DEFAULT_VARIANT if DEFAULT_VARIANT in names else names[0]))


def model_of(bundle: Bundle, variant: Variant) -> Model:
    """Return the facts that a gallery records about its model."""
    manifest = bundle.manifest
    return Model(
        name=manifest.name,
        variant=variant.name,
        sha256=variant.sha256,
        source_id=manifest.provenance.source.id,
        space=manifest.provenance.source.space,
        preprocessing=manifest.preprocessing,
    )


class Relation(NamedTuple):
    """Relation between the model of a query and the model of a gallery.

    Attributes:
        kind: ``same``: the same model file; ``asymmetric``: another model with the same embedding space;
            ``none``: embeddings of the two cannot be compared.
        reason: Explanation for people.
    """

    kind: Literal["same", "asymmetric", "none"]
    reason: str


def relation(query: Model, gallery: Model) -> Relation:
    """Decide whether embeddings of ``query`` may be compared with those in a gallery of ``gallery``.

    Two models share an embedding space if they come from one checkpoint, if one was distilled into the space of
    the other, or if both were distilled into the space of one teacher. How well asymmetric search works has to be
    measured (``distill-bench``, ``distill-train evaluate --gallery-model``).
    """
    mine, theirs = f"{query.name}/{query.variant}", f"{gallery.name}/{gallery.variant}"
    if query.sha256 == gallery.sha256:
        if query.preprocessing == gallery.preprocessing:
            return Relation("same", "the same model file")
        return Relation("none", f"{mine} is the same file but preprocesses images differently")
    if query.source_id and query.source_id == gallery.source_id:
        return Relation("asymmetric", f"{mine} and {theirs} come from one checkpoint, {query.source_id}")
    if query.space and query.space == gallery.source_id:
        return Relation("asymmetric", f"{mine} was distilled into the space of the gallery's model, {query.space}")
    if gallery.space and gallery.space == query.source_id:
        return Relation("asymmetric", f"the gallery's model, {theirs}, was distilled into the space of {mine}")
    if query.space and query.space == gallery.space:
        return Relation(
            "asymmetric", f"{mine} and {theirs} were distilled into the space of one teacher, {query.space}"
        )
    return Relation("none", f"{mine} and {theirs} share no embedding space")
