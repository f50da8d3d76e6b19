"""The teacher run at every step; ``teacher_store`` holds what it said of seeded crops."""

from __future__ import annotations

import torch
from torch import nn

from distill.data.preprocess import Preprocessing
from distill.models.embedder import Embedder
from distill.training.data import Batch

__all__ = ["LiveTeacher", "to_input"]


def to_input(pixels: torch.Tensor, preprocessing: Preprocessing, device: torch.device) -> torch.Tensor:
    """uint8 [N, 3, H, W] → scaled float32 in channels-last memory on ``device``."""
    mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)
    scaled = (pixels.to(device, non_blocking=True).float() - mean) / std
    return scaled.contiguous(memory_format=torch.channels_last)


class LiveTeacher:
    """Runs the teacher on pixels.

    Args:
        mirror: an embedding is the mean of the picture's and its mirror image's, on the unit sphere (test-time
            augmentation): what the teacher says of the one and not of the other is noise to a student.
    """

    def __init__(
        self, model: Embedder, preprocessing: Preprocessing, device: torch.device, autocast: bool, mirror: bool = False
    ) -> None:
        self.model = model.eval().to(device, memory_format=torch.channels_last)
        self.preprocessing = preprocessing
        self.device = device
        self.autocast = autocast
        self.mirror = mirror
        self.stage_channels = model.backbone.stage_channels
        self.input_size: int | None = preprocessing.input_size

    @torch.no_grad()
    def __call__(self, batch: Batch, stages: bool) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        """Embeddings float32 [V·B, D] and, if asked for, the stage maps."""
        assert batch.teacher is not None
        return self.embed(batch.teacher, stages)

    @torch.no_grad()
    def embed(self, pixels: torch.Tensor, stages: bool = False) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        """Embeddings float32 [N, D] of uint8 [N, 3, S, S] and, if asked for, the stage maps (of the pictures as they are)."""
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
        """What the embeddings are before their L2 norm: float32 [N, D]."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return self.model.project_map(self.model.backbone(to_input(pixels, self.preprocessing, self.device)))

    def prepare(self, views: tuple[int, ...]) -> None:
        """Nothing to prepare."""
