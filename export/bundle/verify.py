"""Does a bundle still do on this machine what it did where it was made? Needs the ``run`` extra only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.console import Failure
from export.bundle.read import Bundle, load_bundle
from export.bundle.runtime import open_variant
from export.bundle.schema import Operator, Variant
from export.bundle.tflite_file import describe_tflite

__all__ = ["Verdict", "verify_bundle"]


@dataclass(frozen=True)
class Verdict:
    """One variant on this machine against its golden embeddings.

    Attributes:
        min_cosine: of the golden images; ``None`` where the variant does not run.
        max_abs_diff: largest difference of an element; ``None`` likewise.
        limit: what ``min_cosine`` has to reach.
        problem: what is wrong; empty where all is well.
    """

    variant: str
    min_cosine: float | None
    max_abs_diff: float | None
    limit: float
    problem: str

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem

    def as_json(self) -> dict[str, Any]:
        """Fields and ``passed``."""
        return asdict(self) | {"passed": self.passed}


def verify_bundle(directory: Path) -> list[Verdict]:
    """Hashes, operator lists and golden embeddings.

    Raises:
        Failure: the bundle itself is damaged (see ``load_bundle``).
    """
    bundle = load_bundle(directory)
    return [_verify(bundle, variant) for variant in bundle.manifest.variants]


def _verify(bundle: Bundle, variant: Variant) -> Verdict:
    limit = bundle.manifest.golden.expected[variant.name].min_cosine
    expected = bundle.golden_embeddings(variant.name)
    try:
        got = open_variant(bundle, variant.name).embed(bundle.golden_pixels())
        listed = _OPERATORS.get(variant.format)
        operators = listed(bundle.path(variant)) if listed else variant.operators
    except Failure as failure:
        return Verdict(variant.name, None, None, limit, str(failure))
    if not np.isfinite(got).all():
        return Verdict(variant.name, None, None, limit, "embeddings that are not finite")
    cosine = float((got.astype(np.float64) * expected).sum(axis=1).min())
    problem = ""
    if cosine < limit:
        problem = f"smallest cosine to the golden embeddings {cosine:.5f} is below {limit:g}"
    elif operators != variant.operators:
        problem = "the operators in the file are not those that the bundle lists"
    elif variant.check is not None and not variant.check.passed:
        problem = "it failed its check against PyTorch when it was exported"
    return Verdict(variant.name, cosine, float(np.abs(got - expected).max()), limit, problem)


def _tflite_operators(path: Path) -> tuple[Operator, ...]:
    return describe_tflite(path)[2]


# Formats whose operators can be listed with the run extra.
_OPERATORS = {"tflite": _tflite_operators}
