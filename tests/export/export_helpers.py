"""A tiny student, and helpers to export it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from distill.console import run_app
from distill.models.checkpoint import save_checkpoint
from distill.models.embedder import Embedder
from distill.models.info import CheckpointInfo
from distill.models.registry import build_backbone
from export.cli import app

SIDE, SIZE = 64, 16


def student(
    arch: str = "mobilenet_v1_025", size: int = SIZE, side: int = SIDE, seed: int = 0, batches: int = 30
) -> Embedder:
    """Random weights and batch norm statistics that differ from channel to channel."""
    torch.manual_seed(seed)
    model = Embedder(build_backbone(arch), size).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.7, 1.4)
            torch.nn.init.uniform_(module.bias, -0.3, 0.5)
    with torch.inference_mode():
        for _ in range(batches):
            model(torch.rand(16, 3, side, side) * 2 - 1)
    return model.eval()


def noise(count: int, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Smooth random images: uint8 [count, side, side, 3]."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side))) for image in small])


def picture_folder(folder: Path, classes: int = 4, each: int = 12) -> Path:
    """``folder/class_k/n.png``."""
    pixels = noise(classes * each, 72, seed=5)
    for index, image in enumerate(pixels):
        path = folder / f"class_{index // each}" / f"{index % each}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def write_checkpoint(folder: Path, model: Embedder, data: dict[str, Any], side: int = SIDE) -> CheckpointInfo:
    """A checkpoint folder around ``model``."""
    info = CheckpointInfo(
        kind="student",
        arch=model.backbone.arch,
        embedding_size=model.embedding_size,
        preprocessing=model.backbone.default_preprocessing(side, side),
        data=data,
        licence="CC0-1.0",
    )
    return save_checkpoint(folder, model, info)


def call(*words: object) -> int:
    """Run ``distill-export`` with these words and return its exit code.

    int8 is plain unless the words name a repair: to search for one takes longer than most tests.
    """
    given = [str(word) for word in words]
    plain = [] if given[0] in ("inspect", "verify") or "--repair" in given else ["--repair", "none"]
    return run_app(app, [*given, *plain])


def export_everything(folder: Path, model: Embedder, pictures: Path) -> Path:
    """``student``: a checkpoint of ``model``; ``b``: every variant of it. Returns ``folder``."""
    write_checkpoint(folder / "student", model, {"spec": f"folder:{pictures}", "split": "half"})
    words = ("--quantize", "all", "--io", "all", "--tolerance", "int8=0.8", "--tolerance", "int16x8=0.8")
    assert call(folder / "student", *words, "--out", folder / "b") == 0
    return folder


def edit(bundle: Path, change: Any) -> None:
    """Rewrite bundle.json after ``change(dict)``."""
    path = bundle / "bundle.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
