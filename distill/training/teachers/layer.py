"""The linear layer of a reduced teacher that is no checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

__all__ = ["Layer"]


@dataclass(frozen=True)
class Layer:
    """``weight · features + bias``.

    Attributes:
        weight: float32 [D, F].
        bias: float32 [D].
    """

    weight: np.ndarray
    bias: np.ndarray

    @property
    def digest(self) -> str:
        """SHA-256 of its numbers."""
        return sha256(self.weight.tobytes() + self.bias.tobytes()).hexdigest()

    def rows(self, features: np.ndarray) -> np.ndarray:
        """Return the embeddings of features [n, F]: float32 [n, D], of unit length."""
        rows = features @ self.weight.T + self.bias
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
