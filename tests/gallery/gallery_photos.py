"""Images for the tests of galleries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image

__all__ = ["write_photo"]


def write_photo(path: Path, seed: int, size: tuple[int, int] = (30, 24), **options: object) -> Path:
    """Write a smooth random image."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(small).resize(size).save(path, **options)
    return path
