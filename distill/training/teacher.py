"""The interface of a teacher, and the teacher that runs at every step.

``teacher_store`` has the teacher that computes seeded crops once, ``reduction`` the one of fewer dimensions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn

from distill.data.preprocess import Preprocessing
from distill.models.embedder import Embedder
from distill.models.info import CheckpointInfo
from distill.training.data import Batch

__all__ = ["LiveTeacher", "Teacher", "to_input"]


class Teacher(Protocol):
    """Source of embeddings and stage maps of training crops."""

    @property
    def info(self) -> CheckpointInfo:
        """The teacher's ``model.json``; ``info.id`` names its embedding space."""

    @property
    def source(self) -> Literal["live", "stored"]:
        """``"live"`` if the network runs at every step, ``"stored"`` if cached results are read."""

    @property
    def input_size(self) -> int | None:
        """Side of the teacher's crops that a batch must hold; None if it needs no pixels."""

    @property
    def live(self) -> LiveTeacher:
        """The running teacher behind this one: itself, if it is live."""

    @property
    def reduction(self) -> dict[str, Any] | None:
        """Record of the dimension reduction made for this run; None without one."""

    def prepare(self, views: tuple[int, ...]) -> None:
        """Make the crops numbered ``views`` available before an epoch uses them."""

    def __call__(self, batch: Batch, stages: bool) -> tuple[torch.Tensor, list[torch.Tensor | None] | None]:
        """Embeddings float32 [V·B, D] and, if asked for, the four stage maps (None for stages that no loss uses)."""

    def keep(self, run: Path) -> None:
        """Save in the run's folder whatever the run alone owns, such as a reduced teacher."""


def to_input(pixels: torch.Tensor, preprocessing: Preprocessing, device: torch.device) -> torch.Tensor:
    """Scale uint8 [N, 3, H, W] to float32 in channels-last memory on ``device``."""
    mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)
    scaled = (pixels.to(device, non_blocking=True).float() - mean) / std
    return scaled.contiguous(memory_format=torch.channels_last)


class LiveTeacher:
    """A teacher that runs on the pixels of every batch.

    Args:
        model: the network, moved to ``device``.
        info: its ``model.json``.
        autocast: run in bfloat16.
        mirror: average the embeddings of an image and of its mirror image, on the unit sphere (test-time
            augmentation). Where the two differ, the difference is noise to a student.
    """

    source: Literal["live", "stored"] = "live"

    def __init__(
        self, model: Embedder, info: CheckpointInfo, device: torch.device, autocast: bool, mirror: bool = False
    ) -> None:
        self.model = model.eval().to(device).to(memory_format=torch.channels_last)
        self.info = info
        self.preprocessing = info.preprocessing
        self.device = device
        self.autocast = autocast
        self.mirror = mirror
        self.stage_channels = model.backbone.stage_channels
        self.input_size: int | None = info.preprocessing.input_size

    @property
    def live(self) -> LiveTeacher:
        return self

    @property
    def reduction(self) -> dict[str, Any] | None:
        return None

    def prepare(self, views: tuple[int, ...]) -> None:
        """Do nothing: crops are computed when they are needed."""

    @torch.no_grad()
    def __call__(self, batch: Batch, stages: bool) -> tuple[torch.Tensor, list[torch.Tensor | None] | None]:
        """Embeddings float32 [V·B, D] and, if asked for, the four stage maps."""
        assert batch.teacher is not None
        embeddings, maps = self.embed(batch.teacher, stages)
        return embeddings, None if maps is None else [*maps]

    def keep(self, run: Path) -> None:
        """Do nothing: the teacher has a folder of its own."""

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
        """Embeddings before their L2 norm: float32 [N, D]."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return self.model.project_map(self.model.backbone(to_input(pixels, self.preprocessing, self.device)))
