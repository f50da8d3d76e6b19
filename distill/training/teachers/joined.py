"""Several teachers joined into one space.

With unit embeddings ``t_k`` and weights ``w_k``, the joined embedding is ``[√w_1·t_1; …; √w_K·t_K] / √Σw``, which has unit
length, and the cosine of two images is the weighted mean of the teachers' cosines: ``Σ w_k·cos_k / Σ w_k``. Principal
components then remove what the teachers say twice (Jégou, Chum, "Negative evidences and co-occurences in image
retrieval: the benefit of PCA and whitening", ECCV 2012, who so join vectors of several vocabularies).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from distill.console import Failure, UsageFailure
from distill.data.imageset import ImageSet
from distill.evaluation import Embeddings
from distill.training.crops import CropRule
from distill.training.data import TrainImages
from distill.training.teacher import ForeignInfo, OpenTeacher
from distill.training.teachers.composite_file import save_composite
from distill.training.teachers.kind import teacher_id

__all__ = ["JoinedTeacher", "parse_weights"]


class JoinedTeacher(OpenTeacher):
    """The weighted concatenation of several teachers' unit embeddings, of unit length itself.

    Args:
        teachers: two or more, opened without mirroring.
        weights: one for each, above 0. Only their ratios matter.
        mirror: average the joined embeddings of a crop and of its mirror image.
    """

    def __init__(self, teachers: Sequence[OpenTeacher], weights: Sequence[float], mirror: bool = False) -> None:
        self._teachers = tuple(teachers)
        self.path: Path | None = None  # the folder it was opened from
        self.weights = tuple(weights)
        total = sum(weights)
        self._factors = [math.sqrt(weight / total) for weight in weights]
        self.device = teachers[0].device
        self.autocast = any(teacher.autocast for teacher in teachers)
        self.mirror = mirror
        self.resize_size = max((teacher.resize_size or 0 for teacher in teachers), default=0) or None
        self.one_per_image = any(teacher.one_per_image for teacher in teachers)
        self.stored = all(teacher.stored for teacher in teachers)
        ids = [teacher.cache_id for teacher in teachers]
        size = sum(teacher.info.embedding_size for teacher in teachers)
        self.info = ForeignInfo(teacher_id("joined", ids, [weight / total for weight in weights]), size)

    @property
    def members(self) -> tuple[OpenTeacher, ...]:
        return self._teachers

    def describe(self) -> dict[str, Any]:
        if self.path is not None:
            return {"path": str(self.path), "id": self.info.id}
        return {
            "joined": [teacher.describe() for teacher in self._teachers],
            "weights": list(self.weights),
            "id": self.info.id,
        }

    def features_of(
        self, images: TrainImages, indices: np.ndarray, view: int, rule: CropRule, mirrored: bool = False
    ) -> torch.Tensor:
        parts = [
            factor * functional.normalize(teacher.features_of(images, indices, view, rule, mirrored))
            for factor, teacher in zip(self._factors, self._teachers, strict=True)
        ]
        return torch.cat(parts, dim=1)

    def with_target(self, images: ImageSet) -> np.ndarray | None:
        masks = [mask for teacher in self._teachers if (mask := teacher.with_target(images)) is not None]
        return reduce(np.logical_and, masks) if masks else None

    def index_features(self, images: ImageSet) -> Embeddings:
        found = [teacher.index(images) for teacher in self._teachers]
        indices = reduce(np.intersect1d, [each.indices for each in found])
        if not len(indices):
            raise Failure(f"{images.spec}: no image has an embedding of every teacher", "check the data and the names")
        rows = [
            np.float32(factor) * each.rows[np.searchsorted(each.indices, indices)]
            for factor, each in zip(self._factors, found, strict=True)
        ]
        return Embeddings.of(images, indices, np.concatenate(rows, axis=1))

    def keep(self, run: Path) -> None:
        """Save in the run's folder how the teachers are joined, so that the joined teacher can index a gallery."""
        save_composite(run, self, self)


def parse_weights(text: str | None, count: int) -> list[float]:
    """Parse ``--teacher-weights``: one number above 0 for each teacher, joined by commas. None: all 1.

    Raises:
        UsageFailure: another count, or something else than numbers above 0.
    """
    if text is None:
        return [1.0] * count
    words = text.split(",")
    try:
        weights = [math.nan if "_" in word else float(word) for word in words]
    except ValueError:
        weights = [math.nan]
    if len(words) != count or not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise UsageFailure(
            f"--teacher-weights {text}: expected {count} numbers above 0, one for each teacher", "for example 1,0.5"
        )
    return weights
