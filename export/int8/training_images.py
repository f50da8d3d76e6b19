"""Random crops for quantization-aware training, from the data that calibration images are drawn from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distill.console import Failure
from distill.data.batches import read_ahead
from distill.data.preprocess import Preprocessing

if TYPE_CHECKING:
    from distill.data.imageset import ImageSet
    from distill.data.store import PixelStore

__all__ = ["CROP_SCALE", "TrainingImages"]

CROP_SCALE = 0.5  # smallest share of an image's area: close to what an app embeds, yet different every time


@dataclass(frozen=True)
class TrainingImages:
    """Random crops, the same for the same seed.

    Attributes:
        images: images to crop.
        left_out: keys of the check images, which are not trained on.
        preprocessing: preprocessing of the checkpoint.
        cache_dir: folder of decoded images (``distill.data.store``).
    """

    images: ImageSet
    left_out: frozenset[str]
    preprocessing: Preprocessing
    cache_dir: Path

    @cached_property
    def _store(self) -> PixelStore:
        from distill.data.store import PixelStore

        return PixelStore.open(self.images, self.preprocessing.resize_size, self.cache_dir)

    @cached_property
    def _rows(self) -> np.ndarray:
        kept = np.array([key not in self.left_out for key in self.images.keys], bool)
        return np.flatnonzero(self._store.readable & kept)

    def __len__(self) -> int:
        """Number of readable images."""
        return len(self._rows)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 that identifies the images."""
        text = self.images.fingerprint() + "\0".join(sorted(self.left_out))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def batches(self, steps: int, size: int, seed: int) -> Iterator[np.ndarray]:
        """Yield batches of crops; every image is used once before any is used again.

        Args:
            steps: number of batches.
            size: images per batch.
            seed: seed of order and crops.

        Yields:
            uint8 ``[size, side, side, 3]``.

        Raises:
            Failure: no image is readable.
        """
        from distill.training.crops import CropRule, cut

        store, rows = self._store, self._rows
        if not len(rows):
            raise Failure(f"{self.images.spec}: no image to train on", "give another --calibration-data")
        rule = CropRule(CROP_SCALE, self.images.flip, seed)
        places = _order(len(rows), steps * size, seed).reshape(steps, size, 2)
        side = self.preprocessing.input_size

        def crops(step: int) -> np.ndarray:
            cuts = []
            for place, view in places[step]:
                pixels = store[int(rows[place])]
                cuts.append(
                    cut(pixels, rule.box(int(rows[place]), int(view), *pixels.shape[:2]), side).permute(1, 2, 0)
                )
            return np.stack(cuts)

        yield from read_ahead(crops, range(steps), workers=1, ahead=3)


def _order(images: int, wanted: int, seed: int) -> np.ndarray:
    """Return rows and their rounds, ``[wanted, 2]``; each round has its own order."""
    rounds = -(-wanted // images)
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.permutation(images) for _ in range(rounds)])[:wanted]
    return np.stack([rows, np.arange(wanted) // images], axis=1)
