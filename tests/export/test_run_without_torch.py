"""Running a bundle must work with the ``run`` extra alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "tensorflow", "timm", "onnx", "sklearn", "faiss", "keras", "safetensors", "h5py")

PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy!r}:
            raise ImportError(name + " is not there")

sys.meta_path.insert(0, Absent())
import numpy as np
from distill.console import run_app
from export.bundle import load_bundle, open_variant
from export.cli import app
bundle = load_bundle({bundle!r})
pixels = bundle.golden_pixels()
for variant in bundle.manifest.variants:
    rows = open_variant(bundle, variant.name).embed(pixels)
    assert np.allclose(rows, bundle.golden_embeddings(variant.name), atol=1e-3), variant.name
assert run_app(app, ["verify", {bundle!r}]) == 0
assert run_app(app, ["inspect", {bundle!r}]) == 0
loaded = [name for name in {heavy!r} if name in sys.modules]
assert not loaded, loaded
print("ran", len(bundle.manifest.variants))
"""


def run(bundle: Path) -> str:
    program = PROGRAM.format(heavy=HEAVY, bundle=str(bundle))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_onnx(made_bundle):
    assert "ran 2" in run(made_bundle)


@pytest.mark.slow
def test_tflite(tflite_bundle):
    assert "ran 7" in run(tflite_bundle)


@pytest.mark.parametrize("module", ["export.cli", "export.bundle", "export.targets", "export.pipeline", "export.show"])
def test_importing_is_cheap(module: str):
    heavy = (*HEAVY, "onnxruntime", "ai_edge_litert", "matplotlib")
    program = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
