"""TensorFlow's SAME padding, without importing torch."""

from __future__ import annotations

__all__ = ["same_padding"]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros that TensorFlow's ``SAME`` puts before and after one axis.

    The output has ``ceil(size / stride)`` cells, the padding is
    ``max((cells - 1) * stride + kernel - size, 0)``, and the odd zero comes *after*
    (TensorFlow, "Notes on padding combination conventions", tf.nn).

    >>> same_padding(224, kernel=3, stride=2)  # PyTorch's padding=1 would be (1, 1)
    (0, 1)
    >>> same_padding(7, kernel=3, stride=2)
    (1, 1)
    """
    cells = -(-size // stride)
    total = max((cells - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
