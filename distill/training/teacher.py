"""The teacher's side: live, or its embeddings of seeded crops computed once and reused.

A view's embeddings are kept as one float16 file under a key made of the teacher's weights, its
preprocessing, the crop rule and the images: change any of them and the key changes.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from distill.console import progress
from distill.data.preprocess import Preprocessing
from distill.files import atomic_path
from distill.models.embedder import Embedder
from distill.models.parallel import map_batches
from distill.training.crops import CropRule
from distill.training.data import Batch, TrainImages

__all__ = ["CachedTeacher", "LiveTeacher", "to_input"]

_CHUNK = 32


def to_input(pixels: torch.Tensor, preprocessing: Preprocessing, device: torch.device) -> torch.Tensor:
    """uint8 [N, 3, H, W] → scaled float32 in channels-last memory on ``device``."""
    mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)
    scaled = (pixels.to(device, non_blocking=True).float() - mean) / std
    return scaled.contiguous(memory_format=torch.channels_last)


class LiveTeacher:
    """Runs the teacher at every step; the only way where its stage maps are needed."""

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


class CachedTeacher:
    """Embeddings of ``crops`` views an image, each view computed the first time it is needed.

    Args:
        live: runs the teacher for views that are not stored yet.
        teacher_id: identifies the teacher's weights.
        cache_dir: parent of the store.
    """

    input_size = None  # no teacher pixels are needed at a step

    def __init__(
        self, live: LiveTeacher, teacher_id: str, images: TrainImages, rule: CropRule, cache_dir: Path
    ) -> None:
        self._live = live
        self._images = images
        self._rule = rule
        key = json.dumps(
            {
                "teacher": teacher_id,
                "preprocessing": live.preprocessing.model_dump(mode="json"),
                "crops": [rule.scale, rule.flip, rule.seed],
                "images": images.fingerprint,
                "bfloat16": live.autocast,
            },
            sort_keys=True,
        )
        self._folder = cache_dir / f"teacher-{sha256(key.encode()).hexdigest()[:16]}"
        self._views: dict[int, np.ndarray] = {}

    def __call__(self, batch: Batch, stages: bool) -> tuple[torch.Tensor, None]:
        """Embeddings float32 [V·B, D]; ``stages`` must be False."""
        assert not stages
        rows = [torch.from_numpy(self._views[view][batch.indices].astype(np.float32)) for view in batch.views]
        return torch.cat(rows).to(self._live.device), None

    def prepare(self, views: tuple[int, ...]) -> None:
        """Make the stored embeddings of ``views`` available, computing those that are missing."""
        for view in views:
            if view in self._views:
                continue
            path = self._folder / f"view-{view:04d}.npy"
            if not self._load(view, path):
                self._compute(view, path)
                self._load(view, path)

    def _load(self, view: int, path: Path) -> bool:
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return False
        if stored.ndim != 2 or len(stored) != len(self._images):
            return False
        self._views[view] = stored
        return True

    def _compute(self, view: int, path: Path) -> None:
        plan = np.array_split(np.arange(len(self._images)), max(1, -(-len(self._images) // _CHUNK)))
        size = self._live.preprocessing.input_size

        with progress(f"teacher on view {view + 1}", len(plan)) as bar:

            def embed(indices: np.ndarray) -> np.ndarray:
                rows = self._live.embed(self._images.crops(indices, view, self._rule, size))[0]
                bar.advance()
                return rows.half().cpu().numpy()

            rows = map_batches(embed, plan, self._live.device)
        with atomic_path(path) as temporary:
            np.save(temporary, rows)
