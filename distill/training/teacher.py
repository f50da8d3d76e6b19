"""The teacher run at every step; ``teacher_store`` holds what it said of seeded crops."""

from __future__ import annotations

import torch

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
    """Runs the teacher on pixels."""

    def __init__(self, model: Embedder, preprocessing: Preprocessing, device: torch.device, autocast: bool) -> None:
        self.model = model.eval().to(device, memory_format=torch.channels_last)
        self.preprocessing = preprocessing
        self.device = device
        self.autocast = autocast
        self.stage_channels = model.backbone.stage_channels
        self.input_size: int | None = preprocessing.input_size

    @torch.no_grad()
    def __call__(self, batch: Batch, stages: bool) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        """Embeddings float32 [V·B, D] and, if asked for, the stage maps."""
        assert batch.teacher is not None
        return self.embed(batch.teacher, stages)

    @torch.no_grad()
    def embed(self, pixels: torch.Tensor, stages: bool = False) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            scaled = to_input(pixels, self.preprocessing, self.device)
            if stages:
                embeddings, maps = self.model.forward_stages(scaled)
                return embeddings.float(), maps
            return self.model(scaled).float(), None

    @torch.no_grad()
    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the embeddings are before their L2 norm: float32 [N, D]."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return self.model.project_map(self.model.backbone(to_input(pixels, self.preprocessing, self.device)))

    def prepare(self, views: tuple[int, ...]) -> None:
        """Nothing to prepare."""
