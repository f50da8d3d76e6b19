"""Which variant embeds, and whether its queries may be looked up in a gallery."""

from __future__ import annotations

from typing import Literal, NamedTuple

from distill.console.errors import UsageFailure, suggest
from export.bundle import Bundle, Variant
from gallery.schema import Model

__all__ = ["DEFAULT_VARIANT", "Relation", "choose_variant", "model_of", "relation"]

DEFAULT_VARIANT = "tflite-int8"


def choose_variant(bundle: Bundle, name: str | None) -> Variant:
    """The variant of this name; None: ``tflite-int8``, which phones run, else the bundle's first."""
    names = [variant.name for variant in bundle.manifest.variants]
    if name is not None and name not in names:
        raise UsageFailure(f"{bundle.directory}: no variant '{name}'", suggest(name, names))
    return bundle.variant(name or (DEFAULT_VARIANT if DEFAULT_VARIANT in names else names[0]))


def model_of(bundle: Bundle, variant: Variant) -> Model:
    """What a gallery records of its model."""
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
    """How a query's model stands to a gallery's.

    Attributes:
        kind: ``same``: the very model; ``asymmetric``: another model that embeds into the same
            space; ``none``: the two cannot be compared.
        reason: why, in words.
    """

    kind: Literal["same", "asymmetric", "none"]
    reason: str


def relation(query: Model, gallery: Model) -> Relation:
    """Whether embeddings of ``query`` may be compared with a gallery of ``gallery``.

    Two models share a space where they come from one checkpoint, where one was distilled into the
    space of the other, or both into that of one teacher. How well asymmetric search does is a
    matter of measurement (``distill-bench``, ``distill-train evaluate --gallery-model``).
    """
    ours, theirs = f"{query.name}/{query.variant}", f"{gallery.name}/{gallery.variant}"
    if query.sha256 == gallery.sha256:
        if query.preprocessing == gallery.preprocessing:
            return Relation("same", "the very model file")
        return Relation("none", f"{ours} is the same file but prepares pictures in another way")
    if query.source_id and query.source_id == gallery.source_id:
        return Relation("asymmetric", f"{ours} and {theirs} were made from one checkpoint, {query.source_id}")
    if query.space and query.space == gallery.source_id:
        return Relation("asymmetric", f"{ours} was distilled into the space of the gallery's model, {query.space}")
    if gallery.space and gallery.space == query.source_id:
        return Relation("asymmetric", f"the gallery's model, {theirs}, was distilled into the space of {ours}")
    if query.space and query.space == gallery.space:
        return Relation(
            "asymmetric", f"{ours} and {theirs} were distilled into the space of one teacher, {query.space}"
        )
    return Relation("none", f"{ours} and {theirs} share no space")
