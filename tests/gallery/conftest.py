"""Fixtures: a bundle with real, tiny models (the mean over patches), and images to index."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmark"))  # the tiny models and the bundle around them

from benchmark_fakes import SIDE, make_bundle
from gallery_photos import write_photo
from tiny_models import onnx_model, tflite_model

VARIANTS = ("tflite-float32", "onnx-float32")


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = {"onnx": onnx_model(SIDE), "tflite": tflite_model(SIDE)}
    return make_bundle(tmp_path_factory.mktemp("bundles") / "toy", variants=VARIANTS, models=models)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a subfolder, as on phones: nine images."""
    folder = tmp_path / "photos"
    for number in range(6):
        write_photo(folder / f"IMG_{number:04d}.jpg", number)
    for number in range(3):
        write_photo(folder / "2024" / "Ausflug ä 日本" / f"{number}.png", 10 + number)
    return folder
