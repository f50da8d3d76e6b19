"""The interfaces of a teacher, and the teacher that is a checkpoint of this project.

:class:`Teacher` is what the training loop asks; :class:`OpenTeacher` what is behind it, opened from ``--teacher``.
``teachers/`` holds one file for each other kind, ``teacher_store`` the teacher that computes seeded crops once,
``reduction`` the one of fewer dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from distill.data.batches import pixel_batches
from distill.data.imageset import ImageSet
from distill.data.preprocess import Preprocessing
from distill.evaluation import Embeddings, embed_images
from distill.metrics.inputs import unit_rows
from distill.models.embedder import Embedder
from distill.models.info import CheckpointInfo
from distill.models.parallel import map_batches
from distill.training.crops import CropRule
from distill.training.data import Batch, TrainImages

__all__ = [
    "ForeignInfo",
    "LiveTeacher",
    "OpenTeacher",
    "PixelTeacher",
    "Teacher",
    "TeacherInfo",
    "to_input",
]


class TeacherInfo(Protocol):
    """What is recorded of any teacher; ``model.json`` of a checkpoint has it all."""

    @property
    def id(self) -> str:
        """16 hex digits that identify the embedding space."""

    @property
    def embedding_size(self) -> int: ...
    @property
    def training(self) -> dict[str, Any]: ...
    @property
    def data(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class ForeignInfo:
    """Record of a teacher that is no checkpoint of this project.

    Attributes:
        id: 16 hex digits, made of the hashes of its files and how they are used.
        embedding_size: dimensions.
        training, data: as in ``model.json``, as far as known.
    """

    id: str
    embedding_size: int
    training: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


class Teacher(Protocol):
    """Source of embeddings and stage maps of training crops."""

    @property
    def source(self) -> Literal["live", "stored"]:
        """``"live"`` if the network runs at every step, ``"stored"`` if cached results are read."""

    @property
    def stored(self) -> bool:
        """Whether no network runs for any crop, so that crops need not repeat."""

    @property
    def input_size(self) -> int | None:
        """Side of the teacher's crops that a batch must hold; None if it needs no pixels."""

    @property
    def live(self) -> OpenTeacher:
        """The teacher behind this one: itself, if it is live."""

    @property
    def reduction(self) -> dict[str, Any] | None:
        """Record of the dimension reduction made for this run; None without one."""

    def prepare(self, views: tuple[int, ...]) -> None:
        """Make the crops numbered ``views`` available before an epoch uses them."""

    def __call__(self, batch: Batch, stages: bool) -> tuple[torch.Tensor, list[torch.Tensor | None] | None]:
        """Embeddings float32 [V·B, D] and, if asked for, the four stage maps (None for stages that no loss uses)."""

    def keep(self, run: Path) -> None:
        """Save in the run's folder whatever the run alone owns, such as a reduced teacher."""


class OpenTeacher(ABC):
    """A teacher as it was opened: embeddings of numbered crops, and of whole image sets.

    Attributes:
        info: its record; ``info.id`` names its embedding space.
        device: where its embeddings are returned.
        autocast: whether it computes in bfloat16.
        mirror: average the embeddings of a crop and of its mirror image, on the unit sphere.
        preprocessing: how whole images become its pixels; None if it takes no pixels itself.
        resize_size: shorter side, in pixels, of the images that its centre crops need; None if it needs none.
        stage_channels: channels of its four stage maps; None if it has none.
        one_per_image: whether (a part of) the embedding is the same for all crops of an image.
        stored: whether no network runs.
    """

    info: TeacherInfo
    device: torch.device
    autocast: bool = False
    mirror: bool = False
    preprocessing: Preprocessing | None = None
    resize_size: int | None = None
    stage_channels: Sequence[int] | None = None
    one_per_image: bool = False
    stored: bool = False

    @property
    def reduction(self) -> dict[str, Any] | None:
        return None

    @property
    def cache_id(self) -> str:
        """What its results are cached under; ``info.id``, unless other teachers have the same embedding space."""
        return self.info.id

    @property
    def members(self) -> tuple[OpenTeacher, ...]:
        """The teachers that this one joins; itself, if it joins none."""
        return (self,)

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what it takes to open it again, as JSON: ``path`` and ``id``, or the teachers it is made of."""

    @abstractmethod
    def features_of(
        self, images: TrainImages, indices: np.ndarray, view: int, rule: CropRule, mirrored: bool = False
    ) -> torch.Tensor:
        """Embeddings before their L2 norm of crop ``view`` of some images: float32 [n, D].

        Args:
            images: the run's images.
            indices: which of them, int64 [n].
            rule: how crops are cut.
            mirrored: mirror the crops once more.
        """

    def rows_of(
        self, images: TrainImages, indices: np.ndarray, view: int, rule: CropRule, stages: bool = False
    ) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        """Embeddings of unit length, float32 [n, D], and, if asked for, stage maps; arguments as above."""
        rows = functional.normalize(self.features_of(images, indices, view, rule))
        if self.mirror:
            rows = functional.normalize(
                rows + functional.normalize(self.features_of(images, indices, view, rule, mirrored=True))
            )
        return rows, None

    @abstractmethod
    def index_features(self, images: ImageSet) -> Embeddings:
        """Embed whole images, as for a gallery, before the L2 norm. Those it cannot embed are left out, with a warning."""

    def index(self, images: ImageSet) -> Embeddings:
        """Do the same, with rows of unit length."""
        found = self.index_features(images)
        return Embeddings(unit_rows(found.rows), found.labels, found.indices)

    def with_target(self, images: ImageSet) -> np.ndarray | None:
        """Tell which images can be learned from: bool [N], or None for all.

        Raises:
            Failure: more lack an embedding than is allowed.
        """
        return None

    def prepare(self, views: tuple[int, ...]) -> None:
        """Do nothing: crops are computed when they are needed."""

    def keep(self, run: Path) -> None:
        """Do nothing: the teacher has files of its own."""


class PixelTeacher(OpenTeacher):
    """A network that sees nothing but the pixels of a crop. A subclass defines ``features``."""

    source: Literal["live", "stored"] = "live"
    preprocessing: Preprocessing

    @property
    def input_size(self) -> int | None:
        return self.preprocessing.input_size

    @property
    def live(self) -> PixelTeacher:
        return self

    @abstractmethod
    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embeddings before their L2 norm of uint8 [N, 3, S, S]: float32 [N, D]."""

    def embed(self, pixels: torch.Tensor, stages: bool = False) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        """Embeddings float32 [N, D] of uint8 [N, 3, S, S], of unit length, and, if it has them, stage maps."""
        rows = functional.normalize(self.features(pixels))
        if self.mirror:
            rows = functional.normalize(rows + functional.normalize(self.features(pixels.flip(3))))
        return rows, None

    def __call__(self, batch: Batch, stages: bool) -> tuple[torch.Tensor, list[torch.Tensor | None] | None]:
        """Embeddings float32 [V·B, D] and, if asked for, the four stage maps."""
        assert batch.teacher is not None
        embeddings, maps = self.embed(batch.teacher, stages)
        return embeddings, None if maps is None else [*maps]

    def features_of(
        self, images: TrainImages, indices: np.ndarray, view: int, rule: CropRule, mirrored: bool = False
    ) -> torch.Tensor:
        crops = images.crops(indices, view, rule, self.preprocessing.input_size)
        return self.features(crops.flip(3) if mirrored else crops)

    def rows_of(
        self, images: TrainImages, indices: np.ndarray, view: int, rule: CropRule, stages: bool = False
    ) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        return self.embed(images.crops(indices, view, rule, self.preprocessing.input_size), stages)

    def index_features(self, images: ImageSet) -> Embeddings:
        found: list[np.ndarray] = []

        def pixels() -> Iterator[np.ndarray]:
            for batch, numbers in pixel_batches(images, self.preprocessing, 32, label="indexing the gallery"):
                found.append(numbers)
                yield batch

        def embed(batch: np.ndarray) -> np.ndarray:
            return self.features(torch.from_numpy(batch).permute(0, 3, 1, 2)).cpu().numpy()

        rows = map_batches(embed, pixels(), self.device)
        indices = np.concatenate(found)
        return Embeddings.of(images, indices, rows)


def to_input(pixels: torch.Tensor, preprocessing: Preprocessing, device: torch.device) -> torch.Tensor:
    """Scale uint8 [N, 3, H, W] to float32 in channels-last memory on ``device``."""
    mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)
    scaled = (pixels.to(device, non_blocking=True).float() - mean) / std
    return scaled.contiguous(memory_format=torch.channels_last)


class LiveTeacher(PixelTeacher):
    """A checkpoint of this project, which runs on the pixels of every batch.

    Args:
        model: the network, moved to ``device``.
        info: its ``model.json``.
        autocast: run in bfloat16.
        mirror: average the embeddings of an image and of its mirror image, on the unit sphere (test-time
            augmentation). Where the two differ, the difference is noise to a student.
        path: folder of the checkpoint.
    """

    info: CheckpointInfo

    def __init__(
        self,
        model: Embedder,
        info: CheckpointInfo,
        device: torch.device,
        autocast: bool,
        mirror: bool = False,
        path: Path | None = None,
    ) -> None:
        self.model = model.eval().to(device).to(memory_format=torch.channels_last)
        self.info = info
        self.preprocessing = info.preprocessing
        self.resize_size = info.preprocessing.resize_size
        self.device = device
        self.autocast = autocast
        self.mirror = mirror
        self.stage_channels = model.backbone.stage_channels
        self._path = path

    def describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "id": self.info.id}

    @torch.no_grad()
    def embed(self, pixels: torch.Tensor, stages: bool = False) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        """Embeddings float32 [N, D] of uint8 [N, 3, S, S] and, if asked for, the stage maps (never mirrored)."""
        maps = None
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            scaled = to_input(pixels, self.preprocessing, self.device)
            if stages:
                embeddings, maps = self.model.forward_stages(scaled)
            else:
                embeddings = self.model(scaled)
            if self.mirror:
                embeddings = nn.functional.normalize(embeddings.float() + self.model(scaled.flip(3)).float())
        return embeddings.float(), maps

    @torch.no_grad()
    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return self.model.project_map(self.model.backbone(to_input(pixels, self.preprocessing, self.device)))

    def index(self, images: ImageSet) -> Embeddings:
        return embed_images(self.model, self.preprocessing, images, label="indexing the gallery")
