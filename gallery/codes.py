"""From an embedding to what a gallery keeps of it: int8 codes and sign bits.

Both are defined to the bit, so that Java, Python and whoever else reads the file get the same order.
"""

from __future__ import annotations

import numpy as np

__all__ = ["INT8_SCALE", "int8_codes", "row_codes", "sign_bits", "words"]

INT8_SCALE = 1 / 127

# Factors (4096 + j) / 4096 that row_codes tries, in the order in which equal ones are preferred.
_FACTORS = 4096
_STEPS = sorted(range(-64, 65, 2), key=abs)


def int8_codes(embeddings: np.ndarray) -> np.ndarray:
    """``clamp(round_half_even(e * 127), -127, 127)``.

    The product is the exact one: 127 times a float32 fits into a float64. In float32 it would be
    rounded twice.

    Args:
        embeddings: float32 [N, D], rows of unit length.

    Returns:
        int8 [N, D]; ``e`` is about ``q / 127``. -128 does not occur.

    Raises:
        ValueError: NaN or infinity.
    """
    product = embeddings.astype(np.float64) * 127
    if not np.isfinite(product).all():
        raise ValueError("an embedding holds NaN or infinity")
    return np.clip(np.rint(product), -127, 127).astype(np.int8)


def words(dimension: int) -> int:
    """64-bit words that the signs of one row take."""
    return -(-dimension // 64)


def row_codes(embeddings: np.ndarray) -> np.ndarray:
    """Codes of a gallery's rows: those of a slightly longer or shorter embedding, so that all rows are equally long.

    Rounding makes some rows longer than others, by a few parts in a thousand. Ranked by the inner product
    a longer row wins over a nearer one: that cost 1.4 points of Recall@1 (docs/gallery.md). So of the codes

        q_j = clamp(round_half_even(e * 127 * (4096 + j) / 4096), -127, 127),  j = 0, ±2, ±4, …, ±64

    those count whose squared length is nearest to 127²; of equally near ones those of the smallest |j|,
    the negative j first. The product is exact in float64. Queries need none of this: their length is the
    same factor for every row.

    Args:
        embeddings: float32 [N, D], rows of unit length.

    Returns:
        int8 [N, D].

    Raises:
        ValueError: NaN or infinity.
    """
    best = int8_codes(embeddings)
    off = _length_error(best)
    product = embeddings.astype(np.float64) * 127
    for step in _STEPS[1:]:
        codes = np.clip(np.rint(product * ((_FACTORS + step) / _FACTORS)), -127, 127).astype(np.int8)
        error = _length_error(codes)
        nearer = error < off
        best[nearer] = codes[nearer]
        off[nearer] = error[nearer]
    return best


def _length_error(codes: np.ndarray) -> np.ndarray:
    return np.abs(np.square(codes, dtype=np.int64).sum(axis=1) - 127**2)


def sign_bits(rows: np.ndarray) -> np.ndarray:
    """Bit ``d % 64`` of word ``d // 64`` is 1 where ``row[d] >= 0``; bits from D on are 0.

    Args:
        rows: [N, D], int8 codes or float32 (whichever the gallery keeps: a small negative float
            has the code 0, and so another bit).

    Returns:
        uint64 [N, ceil(D / 64)].
    """
    count, dimension = rows.shape
    packed = np.zeros((count, words(dimension) * 8), np.uint8)
    packed[:, : -(-dimension // 8)] = np.packbits(rows >= 0, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)
