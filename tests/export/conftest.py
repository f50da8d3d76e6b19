"""A student, a data set and the bundles made from them, shared by the tests of this folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from export_helpers import picture_folder, student, write_checkpoint

from distill.console import run_app
from export.cli import app


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
    assert run_app(app, [str(checkpoint), "--target", "onnx", "--out", str(out)]) == 0
    return out


@pytest.fixture
def bundle(made_bundle: Path, tmp_path: Path) -> Path:
    """A copy that the test may modify."""
    return Path(shutil.copytree(made_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def tflite_bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every TFLite variant. It needs TensorFlow, so only slow tests use it."""
    out = tmp_path_factory.mktemp("bundle") / "tflite"
    command = [str(checkpoint), "--target", "tflite", "--quantize", "all", "--io", "all", "--out", str(out)]
    assert run_app(app, command) == 0
    return out
