"""A teacher's features of seeded training crops, before its L2 norm, computed once and cached.

A projection or an embedding layer is fitted to them without a pass through the network.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np

from distill.console import progress
from distill.files import atomic_path
from distill.models.parallel import map_batches
from distill.training.crops import CropRule
from distill.training.data import TrainImages
from distill.training.teacher import OpenTeacher

__all__ = ["CropFeatures", "crop_features"]

_CHUNK = 32
# Enough for covariances of a few thousand dimensions, and the rows still fit in memory.
_MOST_IMAGES = 20_000


class CropFeatures:
    """Features of ``views`` crops of some of a run's images.

    Attributes:
        rows: float32 [V, N, F].
        images: int64 [N], indices of the images, ascending.
    """

    def __init__(self, rows: np.ndarray, images: np.ndarray) -> None:
        self.rows = rows
        self.images = images

    def flat(self) -> np.ndarray:
        """All crops as rows: float32 [V·N, F]."""
        return self.rows.reshape(-1, self.rows.shape[-1])


def crop_features(live: OpenTeacher, images: TrainImages, rule: CropRule, views: int, cache_dir: Path) -> CropFeatures:
    """Compute, or read, the teacher's features of the first ``views`` crops of each image.

    Of more than 20,000 images, 20,000 are drawn by seed. Each view is one file in ``cache_dir``, under a
    key made of the teacher, the crop rule and the images, so that a killed run continues with the next view.
    """
    count = len(images)
    chosen = np.arange(count)
    if count > _MOST_IMAGES:
        chosen = np.sort(np.random.default_rng(rule.seed).choice(count, _MOST_IMAGES, replace=False))
    key = json.dumps(
        [live.cache_id, rule.scale, rule.flip, rule.seed, images.fingerprint, images.size, _MOST_IMAGES, live.autocast]
    )
    folder = cache_dir / f"features-{sha256(key.encode()).hexdigest()[:16]}"
    rows = [_view(live, images, chosen, view, rule, folder / f"view-{view:04d}.npy") for view in range(views)]
    return CropFeatures(np.stack(rows), chosen)


def _view(
    live: OpenTeacher, images: TrainImages, chosen: np.ndarray, view: int, rule: CropRule, path: Path
) -> np.ndarray:
    try:
        stored = np.load(path, allow_pickle=False)
        if stored.ndim == 2 and len(stored) == len(chosen) and stored.dtype == np.float32:
            return stored
    except (OSError, ValueError, EOFError):
        pass  # absent or damaged: compute it
    plan = np.array_split(chosen, max(1, -(-len(chosen) // _CHUNK)))
    with progress(f"teacher's features of view {view + 1}", len(plan)) as bar:

        def features(indices: np.ndarray) -> np.ndarray:
            rows = live.features_of(images, indices, view, rule)
            bar.advance()
            return rows.cpu().numpy()

        found = map_batches(features, plan, live.device)
    with atomic_path(path) as temporary:
        np.save(temporary, found)
    return found
