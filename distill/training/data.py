"""The images of a run: labelled and unlabelled ones under one numbering, cut into batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from distill.console import Failure
from distill.data.imageset import ImageSet
from distill.data.store import PixelStore
from distill.training.crops import CropRule, cut
from distill.training.degrade import Degrade

__all__ = ["Batch", "TrainImages", "load_batches"]


@dataclass(frozen=True)
class Batch:
    """One step's images: ``views`` crops of each index, view by view.

    Attributes:
        indices: int64 [B], rows of :class:`TrainImages`.
        views: the crop numbers, V of them.
        student: uint8 [V·B, 3, S, S], the student's (perhaps degraded) crops.
        teacher: uint8 [V·B, 3, T, T], the same crops for a live teacher; None where its
            embeddings are cached.
    """

    indices: np.ndarray
    views: tuple[int, ...]
    student: torch.Tensor
    teacher: torch.Tensor | None


class TrainImages:
    """Decoded images of one or two image sets.

    Args:
        labelled: the train classes.
        unlabelled: images that carry no label, or None.
        labelled_classes: share of the labelled classes whose labels are used; the others
            (the last in sorted order) join the unlabelled.
        size: shorter side of the stored images in pixels.
        cache_dir: where the pixel stores are kept.
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
        used = max(1, round(labelled_classes * len(labelled.classes)))
        labels = labelled.labels[rows[0]]
        self.labels = np.concatenate([np.where(labels < used, labels, -1)] + [np.full(len(r), -1) for r in rows[1:]])
        self.num_classes = used
        self.fingerprint = sha256("".join(images.fingerprint() for images in sets).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, index: int) -> np.ndarray:
        """Pixels of one image, uint8 [H, W, 3]."""
        return self._stores[self._store[index]][self._row[index]]

    def crops(self, indices: np.ndarray, view: int, rule: CropRule, size: int) -> torch.Tensor:
        """View ``view`` of the images ``indices``: uint8 [B, 3, size, size]."""
        return torch.stack([self._crop(int(index), view, rule, size) for index in indices])

    def _crop(self, index: int, view: int, rule: CropRule, size: int) -> torch.Tensor:
        pixels = self[index]
        return cut(pixels, rule.box(index, view, *pixels.shape[:2]), size)


def load_batches(
    images: TrainImages,
    plan: Iterable[np.ndarray],
    views: tuple[int, ...],
    rule: CropRule,
    student_size: int,
    teacher_size: int | None,
    degrade: Degrade | None,
    workers: int,
) -> Iterator[Batch]:
    """Cut the planned batches in background threads, in order, a few ahead of the training.

    Args:
        plan: index arrays, one a step.
        teacher_size: side of a live teacher's input; None where no teacher runs.
    """

    def make(indices: np.ndarray) -> Batch:
        student = torch.cat([images.crops(indices, view, rule, student_size) for view in views])
        if degrade is not None:
            student = torch.stack([degrade(crop) for crop in student])
        teacher = None
        if teacher_size is not None:
            teacher = torch.cat([images.crops(indices, view, rule, teacher_size) for view in views])
        return Batch(indices, views, student, teacher)

    ahead: deque = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="crops") as pool:
        try:
            for indices in plan:
                ahead.append(pool.submit(make, indices))
                if len(ahead) > workers + 1:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
