"""Training images, labelled and unlabelled under one numbering, and their batches of crops."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from distill.console import Failure
from distill.data.imageset import ImageSet
from distill.data.store import PixelStore
from distill.training.crops import CropRule, cut
from distill.training.degrade import Degrade

__all__ = ["Batch", "TrainImages", "labels_used", "load_batches"]


def labels_used(share: float, classes: int) -> int:
    """Return how many of the sorted classes keep their labels under ``--labelled-classes``."""
    return max(1, round(share * classes))


@dataclass(frozen=True)
class Batch:
    """The crops of one step, view by view.

    Attributes:
        indices: int64 [B], indices into :class:`TrainImages`.
        views: the V crop numbers.
        student: uint8 [V·B, 3, S, S], the student's crops, degraded under ``--student-degrade``.
        teacher: uint8 [V·B, 3, T, T], the same crops for a live teacher; None for a cached one.
    """

    indices: np.ndarray
    views: tuple[int, ...]
    student: torch.Tensor
    teacher: torch.Tensor | None


class TrainImages:
    """Decoded images of one or two image sets.

    Args:
        labelled: the train part of the data set, with labels or without.
        unlabelled: additional images whose labels are not used, or None.
        labelled_classes: fraction of the labelled classes whose labels are used; the others
            (the last in sorted order) count as unlabelled.
        size: shorter side of the stored images in pixels.
        cache_dir: folder of the pixel stores.

    Attributes:
        labels: int64 [N], −1 for an unlabelled image.
        keys: names of the images in their sets.
        num_classes: number of classes whose labels are used; 0 without labels.
        fingerprint: hash of the image sets.

    Raises:
        Failure: no image can be read.
    """

    def __init__(
        self,
        labelled: ImageSet,
        unlabelled: ImageSet | None,
        labelled_classes: float,
        size: int,
        cache_dir: Path,
    ) -> None:
        sets = [labelled] + ([unlabelled] if unlabelled is not None else [])
        self._stores = [PixelStore.open(images, size, cache_dir) for images in sets]
        rows = [np.flatnonzero(store.readable) for store in self._stores]
        if not sum(map(len, rows)):
            raise Failure(f"{labelled.spec}: no readable image", "check the files")
        self._store = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        self._row = np.concatenate(rows)
        used = labels_used(labelled_classes, len(labelled.classes)) if labelled.labelled else 0
        self.labels = np.full(len(self._row), -1)
        if used:
            labels = labelled.labels[rows[0]]
            self.labels[: len(labels)] = np.where(labels < used, labels, -1)
        self.keys = [images.keys[row] for images, chosen in zip(sets, rows, strict=True) for row in chosen]
        self.num_classes = used
        self.size = size
        self.fingerprint = sha256("".join(images.fingerprint() for images in sets).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, index: int) -> np.ndarray:
        """Pixels of one image, uint8 [H, W, 3]."""
        return self._stores[self._store[index]][self._row[index]]

    def crops(self, indices: np.ndarray, view: int, rule: CropRule, size: int) -> torch.Tensor:
        """Return view ``view`` of the images ``indices``: uint8 [B, 3, size, size]."""
        return torch.stack([self._crop(int(index), view, rule, size) for index in indices])

    def _crop(self, index: int, view: int, rule: CropRule, size: int) -> torch.Tensor:
        pixels = self[index]
        return cut(pixels, rule.box(index, view, *pixels.shape[:2]), size)


class _Plan(Dataset[Batch]):
    """The batches of one epoch, cut one by one in the data-loader workers."""

    def __init__(
        self,
        images: TrainImages,
        plan: Sequence[np.ndarray],
        views: tuple[int, ...],
        rule: CropRule,
        student_size: int,
        teacher_size: int | None,
        degrade: Degrade | None,
        mirrored: tuple[bool, ...],
    ) -> None:
        self._images = images
        self._plan = plan
        self._views = views
        self._rule = rule
        self._student_size = student_size
        self._teacher_size = teacher_size
        self._degrade = degrade
        self._mirrored = mirrored

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, step: int) -> Batch:
        indices = self._plan[step]
        student = self._crops(indices, self._student_size)
        if self._degrade is not None:
            student = torch.stack([self._degrade(crop) for crop in student])
        teacher = self._crops(indices, self._teacher_size) if self._teacher_size else None
        return Batch(indices, self._views, student, teacher)

    def _crops(self, indices: np.ndarray, size: int) -> torch.Tensor:
        views = [self._images.crops(indices, view, self._rule, size) for view in self._views]
        return torch.cat([crops.flip(3) if flip else crops for crops, flip in zip(views, self._mirrored, strict=True)])


def load_batches(
    images: TrainImages,
    plan: Iterable[np.ndarray],
    views: tuple[int, ...],
    rule: CropRule,
    student_size: int,
    teacher_size: int | None,
    degrade: Degrade | None,
    workers: int,
    mirrored: tuple[bool, ...] | None = None,
) -> Iterable[Batch]:
    """Yield the planned batches in order, cut a few steps ahead by data-loader workers.

    Workers are processes: threads would compete with the training for Python's global lock, which made an epoch
    of a small student 1.6 times as long. Where processes cannot be forked (Windows, macOS), the training process
    cuts the crops itself.

    Args:
        images: the training images.
        plan: index arrays, one per step.
        views: crop numbers of this epoch.
        rule: how crops are cut.
        student_size: side of the student's input in pixels.
        teacher_size: side of a live teacher's input; None if no teacher runs.
        degrade: applied to the student's crops only.
        workers: number of worker processes; 0 loads in-process.
        mirrored: for each view, whether its crops are mirrored once more.
    """
    forked = "fork" in multiprocessing.get_all_start_methods() and sys.platform == "linux" and workers > 0
    return DataLoader(
        _Plan(images, list(plan), views, rule, student_size, teacher_size, degrade, mirrored or (False,) * len(views)),
        batch_size=None,
        num_workers=workers if forked else 0,
        prefetch_factor=4 if forked else None,
        multiprocessing_context="fork" if forked else None,
    )
