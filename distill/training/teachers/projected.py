"""A teacher of any kind with a linear layer after it: what ``reduction`` makes of one that is no checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from distill.console import note
from distill.data.embeddings_file import write_embeddings
from distill.data.imageset import ImageSet
from distill.evaluation import Embeddings
from distill.files import atomic_path
from distill.training.crops import CropRule
from distill.training.data import TrainImages
from distill.training.teacher import ForeignInfo, OpenTeacher
from distill.training.teachers.composite_file import FOLDER, save_composite
from distill.training.teachers.embeddings import EmbeddingsTeacher
from distill.training.teachers.kind import teacher_id
from distill.training.teachers.layer import Layer

__all__ = ["ProjectedTeacher", "note_reduction"]


class ProjectedTeacher(OpenTeacher):
    """A teacher whose features pass through a linear layer before their L2 norm.

    Args:
        of: the teacher.
        layer: the layer, as many columns as ``of`` has dimensions.
        record: record of the reduction.
        data: record of the images that it was fitted to.
    """

    def __init__(self, of: OpenTeacher, layer: Layer, record: dict[str, Any], data: dict[str, Any]) -> None:
        self.of = of
        self.layer = layer
        self.path: Path | None = None  # the folder it was opened from
        self.device = of.device
        self.autocast = of.autocast
        self.mirror = of.mirror
        self.resize_size = of.resize_size
        self.one_per_image = of.one_per_image
        self.stored = of.stored
        self.info = ForeignInfo(
            teacher_id("projected", of.cache_id, layer.digest),
            len(layer.weight),
            {"reduction": record},
            data,
        )

    @property
    def reduction(self) -> dict[str, Any]:
        return self.info.training["reduction"]

    @property
    def members(self) -> tuple[OpenTeacher, ...]:
        return self.of.members

    def describe(self) -> dict[str, Any]:
        return {"path": str(self.path), "id": self.info.id, "of": self.of.describe()}

    def features_of(
        self, images: TrainImages, indices: np.ndarray, view: int, rule: CropRule, mirrored: bool = False
    ) -> torch.Tensor:
        features = self.of.features_of(images, indices, view, rule, mirrored)
        weight, bias = (torch.from_numpy(part).to(features.device) for part in (self.layer.weight, self.layer.bias))
        return torch.nn.functional.linear(features, weight, bias)

    def with_target(self, images: ImageSet) -> np.ndarray | None:
        return self.of.with_target(images)

    def index_features(self, images: ImageSet) -> Embeddings:
        found = self.of.index_features(images)
        return Embeddings(self.layer.rows(found.rows), found.labels, found.indices)

    def keep(self, run: Path) -> None:
        """Save it in the run's folder; of stored vectors, also the reduced vectors of the whole file."""
        note_reduction(self, run / FOLDER)
        folder, fresh = save_composite(run, self, self.of, self.layer)
        file = folder / "embeddings.npz"
        self.path = self.path or folder
        if isinstance(self.of, EmbeddingsTeacher) and (fresh or not file.exists()):
            rows = np.concatenate([self.layer.rows(block) for block in self.of.file.blocks()])
            with atomic_path(file) as temporary:
                write_embeddings(temporary, self.of.file.names, rows)


def note_reduction(teacher: OpenTeacher, folder: Path) -> None:
    """Report how much variance a reduced teacher keeps, and where it is saved."""
    record = teacher.reduction or {}
    started = "" if record["kind"] == "pca" else "a projection learned from labels, started from "
    note(
        f"the teacher is reduced from {record['from_size']} to {teacher.info.embedding_size} dimensions by {started}principal "
        f"components with {100 * record['variance_kept']:.1f} % of the variance of {record['crops']:,} crops: {folder}"
    )
