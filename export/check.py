"""Compare the embeddings of a converted file with those of PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distill.console import UsageFailure, suggest
from distill.data.preprocess import Preprocessing
from export.bundle.schema import Check, Tolerance

if TYPE_CHECKING:
    from distill.models.embedder import Embedder

__all__ = ["check_embeddings", "cosines", "parse_tolerances", "reference_embeddings", "why_failed"]


def reference_embeddings(model: Embedder, pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Compute PyTorch's embeddings: uint8 ``[N, H, W, 3]`` to float32 ``[N, D]``, unit rows."""
    import torch

    rows = []
    with torch.inference_mode():
        for start in range(0, len(pixels), 32):
            scaled = preprocessing.scale(pixels[start : start + 32]).astype(np.float32)
            images = torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))
            rows.append(model(images).numpy())
    return np.concatenate(rows)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute the cosine of each pair of rows, in float64; 0 where a row is zero."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.clip((first * second).sum(axis=1) / np.maximum(lengths, 1e-12), -1, 1)


def check_embeddings(expected: np.ndarray, got: np.ndarray, tolerance: Tolerance, data: str) -> Check:
    """Compare embeddings ``[N, D]`` with the expected ones. Values that are not finite count as cosine -1, difference 2."""
    finite = np.isfinite(got).all()
    values = cosines(expected, got) if finite else np.full(len(expected), -1.0)
    largest = float(np.abs(expected - got).max()) if finite else 2.0
    low, mean = float(values.min()), float(values.mean())
    passed = (
        (tolerance.max_abs_diff is None or largest <= tolerance.max_abs_diff)
        and (tolerance.min_cosine is None or low >= tolerance.min_cosine)
        and (tolerance.mean_cosine is None or mean >= tolerance.mean_cosine)
    )
    return Check(
        images=len(expected), data=data, max_abs_diff=largest, min_cosine=low, mean_cosine=mean,
        tolerance=tolerance, passed=passed,
    )  # fmt: skip


def why_failed(check: Check) -> str:
    """Return the first limit that the check exceeded, with the value; empty if it passed."""
    limits = check.tolerance
    if limits.max_abs_diff is not None and check.max_abs_diff > limits.max_abs_diff:
        return f"largest difference {check.max_abs_diff:.2g} is above {limits.max_abs_diff:g}"
    if limits.min_cosine is not None and check.min_cosine < limits.min_cosine:
        return f"smallest cosine {check.min_cosine:.4f} is below {limits.min_cosine:g}"
    if limits.mean_cosine is not None and check.mean_cosine < limits.mean_cosine:
        return f"mean cosine {check.mean_cosine:.4f} is below {limits.mean_cosine:g}"
    return ""


def parse_tolerances(texts: list[str], known: list[str]) -> dict[str, Tolerance]:
    """Parse ``--tolerance NAME=COSINE``: the smallest cosine allowed for one variant, or one precision.

    Args:
        texts: e.g. ``["int8=0.85", "onnx-int8=0.8"]``.
        known: names of variants and precisions.

    Raises:
        UsageFailure: not of this form, an unknown name, or a cosine outside 0..1.
    """
    result = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            cosine = float(value)
        except ValueError:
            cosine = -1.0
        if not equals or not 0 <= cosine <= 1:
            raise UsageFailure(f"--tolerance '{text}'", "write NAME=COSINE, e.g. int8=0.9")
        if name not in known:
            raise UsageFailure(f"--tolerance '{text}': unknown variant '{name}'", suggest(name, known))
        result[name] = Tolerance(min_cosine=cosine)
    return result
