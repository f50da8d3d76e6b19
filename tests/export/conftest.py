"""A student, a data set and the bundles made from them, shared by the tests of this folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from export_helpers import call, picture_folder, student, write_checkpoint


@pytest.fixture(scope="session")
def model():
    return student()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_folder(tmp_path_factory.mktemp("pictures") / "data")


@pytest.fixture(scope="session")
def checkpoint(model, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "student"
    write_checkpoint(folder, model, {"spec": f"folder:{pictures}", "split": "half", "classes": ["a", "b"]})
    return folder


@pytest.fixture(scope="session")
def made_bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX float32 and int8, built by the command line."""
    out = tmp_path_factory.mktemp("bundle") / "onnx"
    assert call(checkpoint, "--target", "onnx", "--out", out) == 0
    return out


@pytest.fixture
def bundle(made_bundle: Path, tmp_path: Path) -> Path:
    """A copy that the test may modify."""
    return Path(shutil.copytree(made_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def tflite_bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every TFLite variant. It needs TensorFlow, so only slow tests use it."""
    out = tmp_path_factory.mktemp("bundle") / "tflite"
    assert call(checkpoint, "--target", "tflite", "--quantize", "all", "--io", "all", "--out", out) == 0
    return out
