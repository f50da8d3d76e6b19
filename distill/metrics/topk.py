"""Find the largest values of each row of a matrix in few passes over memory."""

from __future__ import annotations

import numpy as np

__all__ = ["block_suffices", "candidates", "pick"]

_BLOCK = 32
_BLOCKS_PER_ANSWER = 8


def block_suffices(width: int, k: int) -> bool:
    """Return whether rows of ``width`` values have enough blocks for the fast path of :func:`candidates`."""
    return width // _BLOCK >= _BLOCKS_PER_ANSWER * k


def candidates(
    scores: np.ndarray, k: int, floor: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the cells that can be among the ``k`` largest of their row, ties by lower column.

    Args:
        scores: ``[n, width]``, width ≥ k if ``floor`` is None; any strides.
        k: Number of values per row, at least 1.
        floor: ``[n]``, values that a cell must reach: at most the k-th largest seen elsewhere.

    Returns:
        ``(rows, columns, bounds)``: the cells, at least the ``k`` largest of each row that reach its
        floor; and a lower bound ``[n]`` of the k-th largest of each row.
    """
    count, width = scores.shape
    floor = np.full(count, -np.inf, dtype=np.float32) if floor is None else floor
    if not block_suffices(width, k):
        rows, columns = np.divmod(np.flatnonzero(_exact_mask(scores, min(k, width))), width)
        reaching = scores[rows, columns] >= floor[rows]
        return rows[reaching], columns[reaching], floor
    # The k-th largest of the block maxima is at most the k-th largest value, so one pass finds the
    # few blocks that can contain a result. Block b is the columns b, b + blocks, b + 2·blocks, …
    blocks = width // _BLOCK
    maxima = np.ascontiguousarray(scores[:, : blocks * _BLOCK].reshape(count, _BLOCK, blocks).max(axis=1))
    bounds = np.maximum(np.partition(maxima, blocks - k, axis=1)[:, blocks - k], floor)
    passing = maxima >= bounds[:, None]
    tail = scores[:, blocks * _BLOCK :] >= bounds[:, None]
    crowded = np.flatnonzero(np.count_nonzero(passing, axis=1) > 4 * k)
    passing[crowded] = tail[crowded] = False

    row, block = np.divmod(np.flatnonzero(passing), blocks)
    column = block[:, None] + np.arange(0, blocks * _BLOCK, blocks)
    inside = scores[row[:, None], column] >= bounds[row, None]
    tail_row, tail_column = np.nonzero(tail)
    found_rows = [np.broadcast_to(row[:, None], column.shape)[inside], tail_row]
    found_columns = [column[inside], tail_column + blocks * _BLOCK]
    if len(crowded):
        place, exact = np.nonzero(_exact_mask(scores[crowded], k))
        found_rows.append(crowded[place])
        found_columns.append(exact)
    return np.concatenate(found_rows), np.concatenate(found_columns), bounds


def pick(
    count: int, k: int, rows: np.ndarray, columns: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best ``k`` candidates of each of ``count`` rows, best first, ties by lower column.

    Args:
        rows, columns, values: The candidates in any order, each cell once, at least ``k`` per row.

    Returns:
        ``(columns, values)``, both ``[count, k]``.
    """
    order = np.lexsort((columns, -values, rows))
    first = np.searchsorted(rows[order], np.arange(count))
    best = order[first[:, None] + np.arange(k)]
    return columns[best], values[best]


def _exact_mask(scores: np.ndarray, k: int) -> np.ndarray:
    """Mark exactly ``k`` cells per row: its largest values, the first of equal ones."""
    width = scores.shape[1]
    threshold = np.partition(scores, width - k, axis=1)[:, width - k, None]
    mask = scores > threshold
    missing = k - np.count_nonzero(mask, axis=1)
    equal = scores == threshold
    mask |= equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= missing[:, None])
    return mask
