"""A student trained on a few glyphs for seconds, and its bundle: its Recall@1 is far from chance and from 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image

from distill.data.spec import open_data

__all__ = ["DATA", "images", "make_bundle"]

DATA = "glyphs:classes=24"
SIZE, SIDE, RESIZE = 64, 48, 55
STEPS = 30


def images() -> list[PIL.Image.Image]:
    """Return all images of ``DATA``, in order."""
    data = open_data(DATA)
    return [data.read(index) for index in range(len(data))]


def make_bundle(folder: Path) -> Path:
    """Export MobileNetV1-0.25 to TFLite float32 and int8."""
    import torch

    from distill.models.checkpoint import save_checkpoint
    from distill.models.embedder import Embedder
    from distill.models.info import CheckpointInfo
    from distill.models.registry import build_backbone
    from export.bundle.schema import Tolerance
    from export.pipeline import ExportOptions, export_bundle

    torch.manual_seed(0)
    model = Embedder(build_backbone("mobilenet_v1_025"), SIZE).train()
    preprocessing = model.backbone.default_preprocessing(SIDE, RESIZE)
    pixels = np.stack([preprocessing.pixels(image) for image in images()])
    scaled = torch.from_numpy(preprocessing.scale(pixels).transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(open_data(DATA).labels.copy())
    proxies = torch.nn.Parameter(torch.randn(int(labels.max()) + 1, SIZE))
    optimiser = torch.optim.Adam([*model.parameters(), proxies], lr=3e-3)
    for _ in range(STEPS):
        batch = torch.randint(len(scaled), (64,))
        similarity = model(scaled[batch]) @ torch.nn.functional.normalize(proxies).T
        loss = torch.nn.functional.cross_entropy(10 * similarity, labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.inference_mode():
        for _ in range(20):  # after such a short training the running statistics lag behind
            model(scaled[::3])
    info = CheckpointInfo(
        kind="student",
        arch="mobilenet_v1_025",
        embedding_size=SIZE,
        preprocessing=preprocessing,
        data={"spec": DATA, "split": "half"},
    )
    save_checkpoint(folder / "student", model.eval(), info)
    options = ExportOptions(
        calibration_images=32,
        tolerances={name: Tolerance() for name in ("float32", "int8")},
        target="tflite",
        repair="none",
    )
    assert export_bundle(folder / "student", folder / "bundle", options).folder is not None
    return folder / "bundle"
