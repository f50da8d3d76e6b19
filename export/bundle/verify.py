"""Check that a bundle gives on this machine what it gave when it was exported. The ``run`` extra is enough.

The steps are checked in their order: the input tensor exactly, then the model's embedding by its cosine. The cosine
alone would pass a wrong input: int8 allows 0.99 here, and swapped channels have been measured at 0.996.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distill.console import Failure
from export.bundle.engines.base import VariantRunner, load
from export.bundle.finding import Finding
from export.bundle.formats import FORMATS
from export.bundle.read import Bundle, load_bundle
from export.bundle.runtime import open_variant
from export.bundle.schema import Operator, Variant

__all__ = ["VariantCheck", "input_problem", "verify_bundle"]

INPUT_CURE = (
    "compare the golden pixels, mean, std and the input's scale, zero point and layout in bundle.json with "
    "docs/bundle.md, step 3, or export again"
)
MODEL_CURE = "use another variant, or export again"


@dataclass(frozen=True, kw_only=True)
class VariantCheck(Finding):
    """One variant on this machine against its golden embeddings.

    Attributes:
        variant: name of the variant.
        min_cosine: smallest cosine over the golden images; ``None`` if the variant does not run.
        max_abs_diff: largest difference of an element; ``None`` if the variant does not run.
        limit: smallest ``min_cosine`` allowed.
        same_inputs: whether the input tensors of the golden images are exactly those of the export; ``None`` if the
            bundle has no hashes of them, or the variant does not run.
    """

    variant: str
    min_cosine: float | None
    max_abs_diff: float | None
    limit: float
    same_inputs: bool | None


def verify_bundle(directory: Path) -> list[VariantCheck]:
    """Check hashes, input tensors, golden embeddings and lists of operators.

    Raises:
        Failure: the bundle itself is damaged (see ``load_bundle``).
    """
    bundle = load_bundle(directory)
    return [_verify(bundle, variant) for variant in bundle.manifest.variants]


def input_problem(bundle: Bundle, runner: VariantRunner, name: str) -> str | None:
    """Compare the input tensors that a runner makes of the golden pixels with those of the export.

    Args:
        bundle: from :func:`~export.bundle.read.load_bundle`.
        runner: of the variant ``name``.

    Returns:
        What differs; empty if nothing does; ``None`` if the bundle has no hashes of its input tensors.
    """
    wanted = bundle.manifest.golden.expected[name].input_sha256
    if not wanted:
        return None
    found = runner.input_sha256(bundle.golden_pixels())
    odd = [row for row, (one, other) in enumerate(zip(found, wanted, strict=True)) if one != other]
    if not odd:
        return ""
    return (
        f"step 3, the input tensor, gives other values than at the export for {len(odd)} of {len(wanted)} golden images "
        f"(first: image {odd[0]})"
    )


def _verify(bundle: Bundle, variant: Variant) -> VariantCheck:
    limit = bundle.manifest.golden.expected[variant.name].min_cosine
    expected = bundle.golden_embeddings(variant.name)

    def unusable(problem: str) -> VariantCheck:
        return VariantCheck(
            variant=variant.name,
            min_cosine=None,
            max_abs_diff=None,
            limit=limit,
            same_inputs=None,
            problem=problem,
            cure=MODEL_CURE,
        )

    try:
        runner = open_variant(bundle, variant.name)
        other_inputs = input_problem(bundle, runner, variant.name)
        got = runner.embed(bundle.golden_pixels())
        operators = _operators(bundle, variant)
    except Failure as failure:
        return unusable(str(failure))
    if not np.isfinite(got).all():
        return unusable("embeddings that are not finite")
    cosine = float((got.astype(np.float64) * expected).sum(axis=1).min())
    problem = ""
    if other_inputs:
        problem = other_inputs
    elif cosine < limit:
        problem = f"smallest cosine to the golden embeddings {cosine:.5f} is below {limit:g}"
    elif operators != variant.operators:
        problem = "the operators in the file are not those that the bundle lists"
    elif variant.check is not None and not variant.check.passed:
        problem = "it failed its check against PyTorch when it was exported"
    largest = float(np.abs(got - expected).max())
    return VariantCheck(
        variant=variant.name,
        min_cosine=cosine,
        max_abs_diff=largest,
        limit=limit,
        same_inputs=None if other_inputs is None else not other_inputs,
        problem=problem,
        cure=INPUT_CURE if other_inputs else MODEL_CURE if problem else "",
    )


def _operators(bundle: Bundle, variant: Variant) -> tuple[Operator, ...]:
    """Return the operators in the file, or those of the description if the format has no lister."""
    lister = FORMATS[variant.format].operators
    return load(lister)(bundle.path(variant)) if lister else variant.operators
