"""A bundle for the phone's Java, made once for all tests here."""

from __future__ import annotations

import numpy as np
import pytest

from distill.data.spec import open_data
from export.bundle import Bundle, load_bundle

DATA = "glyphs:classes=40"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A student with random weights on glyphs: what it retrieves is far from chance and far from perfect."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    from distill.models.backbones import build_backbone
    from distill.models.checkpoint import save_checkpoint
    from distill.models.embedder import Embedder
    from distill.models.info import CheckpointInfo
    from export.bundle.schema import Tolerance
    from export.pipeline import Options, export_bundle

    folder = tmp_path_factory.mktemp("android")
    torch.manual_seed(0)
    model = Embedder(build_backbone("mobilenet_v1_025"), 64).train()
    preprocessing = model.backbone.default_preprocessing(48, 55)
    images = open_data(DATA)
    pixels = np.stack([preprocessing.pixels(images.read(index)) for index in range(len(images))])
    scaled = torch.from_numpy(preprocessing.scale(pixels).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        for _ in range(20):  # the statistics of batch normalisation
            model(scaled[:: len(scaled) // 96])
    info = CheckpointInfo(
        kind="student", arch="mobilenet_v1_025", embedding_size=64, preprocessing=preprocessing,
        data={"spec": DATA, "split": "half"},
    )
    save_checkpoint(folder / "student", model.eval(), info)
    options = Options(calibration_images=32, tolerances={name: Tolerance() for name in ("float32", "int8")}, target="tflite")
    assert export_bundle(folder / "student", folder / "bundle", options).folder is not None
    return load_bundle(folder / "bundle")
