"""Check that a bundle gives on this machine what it gave when it was exported. The ``run`` extra is enough."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distill.console import Failure
from export.bundle.engines.base import load
from export.bundle.finding import Finding
from export.bundle.formats import FORMATS
from export.bundle.read import Bundle, load_bundle
from export.bundle.runtime import open_variant
from export.bundle.schema import Operator, Variant

__all__ = ["VariantCheck", "verify_bundle"]


@dataclass(frozen=True, kw_only=True)
class VariantCheck(Finding):
    """One variant on this machine against its golden embeddings.

    Attributes:
        variant: name of the variant.
        min_cosine: smallest cosine over the golden images; ``None`` if the variant does not run.
        max_abs_diff: largest difference of an element; ``None`` if the variant does not run.
        limit: smallest ``min_cosine`` allowed.
    """

    variant: str
    min_cosine: float | None
    max_abs_diff: float | None
    limit: float


def verify_bundle(directory: Path) -> list[VariantCheck]:
    """Check hashes, lists of operators and golden embeddings.

    Raises:
        Failure: the bundle itself is damaged (see ``load_bundle``).
    """
    bundle = load_bundle(directory)
    return [_verify(bundle, variant) for variant in bundle.manifest.variants]


def _verify(bundle: Bundle, variant: Variant) -> VariantCheck:
    limit = bundle.manifest.golden.expected[variant.name].min_cosine
    expected = bundle.golden_embeddings(variant.name)

    def unusable(problem: str) -> VariantCheck:
        return VariantCheck(variant=variant.name, min_cosine=None, max_abs_diff=None, limit=limit, problem=problem)

    try:
        got = open_variant(bundle, variant.name).embed(bundle.golden_pixels())
        operators = _operators(bundle, variant)
    except Failure as failure:
        return unusable(str(failure))
    if not np.isfinite(got).all():
        return unusable("embeddings that are not finite")
    cosine = float((got.astype(np.float64) * expected).sum(axis=1).min())
    problem = ""
    if cosine < limit:
        problem = f"smallest cosine to the golden embeddings {cosine:.5f} is below {limit:g}"
    elif operators != variant.operators:
        problem = "the operators in the file are not those that the bundle lists"
    elif variant.check is not None and not variant.check.passed:
        problem = "it failed its check against PyTorch when it was exported"
    largest = float(np.abs(got - expected).max())
    return VariantCheck(variant=variant.name, min_cosine=cosine, max_abs_diff=largest, limit=limit, problem=problem)


def _operators(bundle: Bundle, variant: Variant) -> tuple[Operator, ...]:
    """Return the operators in the file, or those of the description if the format has no lister."""
    lister = FORMATS[variant.format].operators
    return load(lister)(bundle.path(variant)) if lister else variant.operators
