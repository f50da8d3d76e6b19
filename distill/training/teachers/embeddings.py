"""Stored vectors as a teacher: an embedding service, or the index of a server, without the model behind it.

There is one vector for each image, whatever the crop. The student's crops should therefore be mild.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from distill.console import warn
from distill.data.embeddings_file import SUFFIXES, EmbeddingsFile, read_embeddings
from distill.data.imageset import ImageSet
from distill.evaluation import Embeddings
from distill.training.crops import CropRule
from distill.training.data import TrainImages
from distill.training.teacher import ForeignInfo, OpenTeacher
from distill.training.teachers.kind import TeacherContext, TeacherKind, teacher_id

__all__ = ["EMBEDDINGS", "EmbeddingsTeacher", "index_stored"]


class EmbeddingsTeacher(OpenTeacher):
    """The vectors of a file, one for each image.

    Args:
        file: names and vectors.
        context: device of the results, and the share of images that may lack a vector.
    """

    one_per_image = True
    stored = True

    def __init__(self, file: EmbeddingsFile, context: TeacherContext) -> None:
        self.file = file
        self.device = context.device
        self._missing = context.missing
        self.info = ForeignInfo(teacher_id("embeddings", file.sha256), file.size)
        self._of: tuple[TrainImages, np.ndarray] | None = None

    def describe(self) -> dict[str, Any]:
        return {"path": str(self.file.path), "id": self.info.id, "sha256": self.file.sha256}

    def features_of(
        self, images: TrainImages, indices: np.ndarray, view: int, rule: CropRule, mirrored: bool = False
    ) -> torch.Tensor:
        if self._of is None or self._of[0] is not images:
            self._of = images, self.file.match(images.keys).rows
        return torch.from_numpy(self.file.unit(self._of[1][indices])).to(self.device)

    def with_target(self, images: ImageSet) -> np.ndarray | None:
        found = self.file.require(images.keys, self._missing, images.spec, "--teacher-missing")
        if (found.rows >= 0).all():
            return None
        warn(f"{found.summary(self.file.path)}: they are left out of the training")
        return found.rows >= 0

    def index_features(self, images: ImageSet) -> Embeddings:
        return index_stored(self.file, images)


def index_stored(file: EmbeddingsFile, images: ImageSet) -> Embeddings:
    """Return the vectors of those images that have one; the others are reported in one line.

    Raises:
        Failure: no image has one.
    """
    found = file.require(images.keys, 1.0, images.spec)
    indices = np.flatnonzero(found.rows >= 0)
    if len(indices) < len(images):
        warn(f"{found.summary(file.path)}: they are left out of queries and gallery")
    return Embeddings.of(images, indices, file.unit(found.rows[indices]))


EMBEDDINGS = TeacherKind(
    help="vectors in .npz, .npy or .parquet",
    claims=lambda path: path.suffix.lower() in SUFFIXES,
    open=lambda path, context: EmbeddingsTeacher(read_embeddings(path), context),
)
