"""Codes that a gallery stores for an embedding: int8 values and sign bits.

Both are defined bit by bit, so that every reader, in any language, computes the same ranking.
"""

from __future__ import annotations

import numpy as np

__all__ = ["INT8_SCALE", "int8_codes", "row_codes", "sign_bits", "words"]

INT8_SCALE = 1 / 127

# Factors (4096 + j) / 4096 that row_codes tries, in order of preference among equally good ones.
_FACTORS = 4096
_STEPS = sorted(range(-64, 65, 2), key=abs)


def int8_codes(embeddings: np.ndarray) -> np.ndarray:
    """Quantize queries: ``clamp(round_half_even(e * 127), -127, 127)``.

    The product is computed in float64, where 127 times a float32 is exact. A float32 product would be
    rounded twice.

    Args:
        embeddings: float32 [N, D], rows of unit length.

    Returns:
        int8 [N, D]; ``e`` is about ``q / 127``. -128 does not occur.

    Raises:
        ValueError: NaN or infinity.

    Example:
        >>> import numpy as np
        >>> int8_codes(np.array([[0.6, -0.8]], np.float32)).tolist()
        [[76, -102]]
    """
    product = embeddings.astype(np.float64) * 127
    if not np.isfinite(product).all():
        raise ValueError("an embedding holds NaN or infinity")
    return np.clip(np.rint(product), -127, 127).astype(np.int8)


def words(dimension: int) -> int:
    """Return the number of 64-bit words that hold the signs of one row."""
    return -(-dimension // 64)


def row_codes(embeddings: np.ndarray) -> np.ndarray:
    """Quantize the rows of a gallery so that all codes have nearly the same length.

    Plain rounding makes some rows a few parts in a thousand longer than others. In a ranking by inner product
    a longer row can win over a nearer one; this cost 1.4 points of Recall@1 (docs/gallery.md). Among the codes

        q_j = clamp(round_half_even(e * 127 * (4096 + j) / 4096), -127, 127),  j = 0, ±2, ±4, …, ±64

    this function takes those whose squared length is nearest to 127². Ties go to the smallest |j|, then to the
    negative j. The product is exact in float64. Queries do not need this: their length scales the similarity to
    every row by the same factor.

    Args:
        embeddings: float32 [N, D], rows of unit length.

    Returns:
        int8 [N, D].

    Raises:
        ValueError: NaN or infinity.

    Example:
        >>> import numpy as np
        >>> row_codes(np.array([[0.6, -0.8]], np.float32)).tolist()
        [[76, -102]]
    """
    best = int8_codes(embeddings)
    best_error = _length_error(best)
    product = embeddings.astype(np.float64) * 127
    for step in _STEPS[1:]:
        codes = np.clip(np.rint(product * ((_FACTORS + step) / _FACTORS)), -127, 127).astype(np.int8)
        error = _length_error(codes)
        nearer = error < best_error
        best[nearer] = codes[nearer]
        best_error[nearer] = error[nearer]
    return best


def _length_error(codes: np.ndarray) -> np.ndarray:
    return np.abs(np.square(codes, dtype=np.int64).sum(axis=1) - 127**2)


def sign_bits(rows: np.ndarray) -> np.ndarray:
    """Pack the signs of rows: bit ``d % 64`` of word ``d // 64`` is 1 where ``row[d] >= 0``; bits from D on are 0.

    Args:
        rows: [N, D], the values that the gallery stores: int8 codes or float32. A small negative float has the
            code 0, hence another bit.

    Returns:
        uint64 [N, ceil(D / 64)].

    Example:
        >>> import numpy as np
        >>> sign_bits(np.array([[76, -102, 0]], np.int8)).tolist()
        [[5]]
    """
    count, dimension = rows.shape
    packed = np.zeros((count, words(dimension) * 8), np.uint8)
    packed[:, : -(-dimension // 8)] = np.packbits(rows >= 0, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)
