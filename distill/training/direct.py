"""A teacher that is asked for every crop of every step: stored vectors, which cost nothing, or ``--teacher-crops 0``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from distill.training.crops import CropRule
from distill.training.data import Batch, TrainImages
from distill.training.teacher import OpenTeacher

__all__ = ["DirectTeacher"]


class DirectTeacher:
    """Asks an open teacher for the crops of each batch; the teacher cuts them itself, if it needs pixels.

    Args:
        live: the teacher.
        images: the images of the run.
        rule: how their crops are cut.
    """

    input_size: int | None = None  # needs no pixels from the batch

    def __init__(self, live: OpenTeacher, images: TrainImages, rule: CropRule) -> None:
        self.live = live
        self._images = images
        self._rule = rule
        self.stored = live.stored
        self.source: Literal["live", "stored"] = "stored" if live.stored else "live"

    @property
    def reduction(self) -> dict[str, Any] | None:
        return self.live.reduction

    def prepare(self, views: tuple[int, ...]) -> None:
        """Do nothing: crops are computed when they are needed."""

    def __call__(self, batch: Batch, stages: bool) -> tuple[torch.Tensor, list[torch.Tensor | None] | None]:
        """Embeddings float32 [V·B, D]; a teacher of this kind has no stage maps."""
        rows = [self.live.rows_of(self._images, batch.indices, view, self._rule)[0] for view in batch.views]
        return torch.cat(rows), None

    def keep(self, run: Path) -> None:
        """Save in the run's folder what the open teacher saves there."""
        self.live.keep(run)
