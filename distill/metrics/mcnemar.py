"""McNemar's test: whether two models differ on the same queries by more than chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from distill.console.errors import Failure

__all__ = ["McNemar", "mcnemar_exact"]


class McNemar(NamedTuple):
    """Result of the test.

    Attributes:
        only_reference: Number of queries that only the reference answers.
        only_variant: Number of queries that only the variant answers.
        p_value: Two-sided, 0..1; small if chance is an unlikely explanation.
    """

    only_reference: int
    only_variant: int
    p_value: float


def mcnemar_exact(reference_hits: ArrayLike, hits: ArrayLike) -> McNemar:
    """Run McNemar's exact (binomial) test on paired hits.

    Let n be the number of queries that exactly one model answers, and b the number that the reference answers
    among them. By chance, each falls to either model with probability 1/2: ``p = min(1, 2 · Σ_{i=0..min(b, n−b)} C(n, i) / 2^n)``.
    McNemar, "Note on the sampling error of the difference between correlated proportions",
    Psychometrika 12, 1947, in its exact form. The test assumes independent queries; if classes
    are few and large, prefer :func:`distill.metrics.paired_drop_ci` instead.

    Args:
        reference_hits, hits: bool ``[Q]``, the same queries in the same order.

    Raises:
        Failure: shapes differ.

    Example:
        >>> round(mcnemar_exact([1, 1, 1, 1, 0], [0, 0, 0, 1, 1]).p_value, 6)
        0.625
    """
    before, after = np.asarray(reference_hits, dtype=bool), np.asarray(hits, dtype=bool)
    if before.ndim != 1 or before.shape != after.shape:
        raise Failure(f"McNemar: shapes {before.shape} and {after.shape} differ", "measure both on the same queries")
    b = int(np.count_nonzero(before & ~after))
    c = int(np.count_nonzero(after & ~before))
    n, low = b + c, min(b, c)
    # Logarithms, because C(n, i) and 2^n overflow from n = 1030 on.
    ratios = np.log(np.arange(n, n - low, -1)) - np.log(np.arange(1, low + 1))
    terms = np.concatenate([[0.0], np.cumsum(ratios)]) - n * np.log(2.0)
    tail = np.exp(terms[::-1]).sum()
    return McNemar(b, c, min(1.0, 2.0 * float(tail)))
