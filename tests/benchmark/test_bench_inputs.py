"""A device that makes other input tensors than the export refuses the variant before it embeds anything."""

from __future__ import annotations

import json
import sys

import benchmark_fakes as fakes
import numpy as np
import pytest
import tiny_models

from benchmark.devices.host import Host
from benchmark.devices.local import Local
from benchmark.devices.python_side import PythonSide
from benchmark.devices.remote import Remote
from export.bundle import load_bundle, open_variant

NAMES = ("tflite-float32", "onnx-float32")


@pytest.fixture
def hashed(tmp_path):
    """A bundle with the hashes of its input tensors, of the mean 128."""
    side = fakes.SIDE
    models = {"tflite": tiny_models.tflite_model(side), "onnx": tiny_models.onnx_model(side)}
    folder = fakes.make_bundle(tmp_path / "bundle", variants=NAMES, models=models)
    bundle, path = load_bundle(folder), folder / "bundle.json"
    content = json.loads(path.read_text())
    for name in NAMES:
        hashes = open_variant(bundle, name).input_sha256(bundle.golden_pixels())
        content["golden"]["expected"][name]["input_sha256"] = hashes
    path.write_text(json.dumps(content))
    return folder


@pytest.fixture(params=["host", "board"])
def device(request, tmp_path):
    made = Host() if request.param == "host" else Remote(
        "board", PythonSide(Local(), sys.executable, str(tmp_path / "there"))
    )  # fmt: skip
    yield made
    made.close(True)


def errors(device, folder) -> dict[str, str | None]:
    pixels = np.random.default_rng(0).integers(0, 256, (3, fakes.SIDE, fakes.SIDE, 3), np.uint8)
    found = device.embed(load_bundle(folder), NAMES, [pixels], threads=1)
    assert all((found[name].embeddings is None) == bool(found[name].error) for name in NAMES)
    return {name: found[name].error for name in NAMES}


def test_equal_inputs_pass(device, hashed):
    assert errors(device, hashed) == dict.fromkeys(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_other_inputs_fail_that_variant_alone(device, hashed, name):
    path = hashed / "bundle.json"
    content = json.loads(path.read_text())
    content["golden"]["expected"][name]["input_sha256"][1] = "0" * 64
    path.write_text(json.dumps(content))
    found = errors(device, hashed)
    assert "the input tensors of the golden images are not those of the export" in found.pop(name)
    assert list(found.values()) == [None]


def test_another_mean_fails_all(device, hashed):
    path = hashed / "bundle.json"
    content = json.loads(path.read_text())
    content["preprocessing"]["mean"] = [127.5] * 3
    path.write_text(json.dumps(content))
    assert all("input tensors" in (error or "") for error in errors(device, hashed).values())


def test_a_bundle_without_hashes_runs_as_before(device, hashed):
    path = hashed / "bundle.json"
    content = json.loads(path.read_text())
    content["preprocessing"]["mean"] = [127.5] * 3
    for vectors in content["golden"]["expected"].values():
        vectors.pop("input_sha256", None)
    path.write_text(json.dumps(content))
    assert errors(device, hashed) == dict.fromkeys(NAMES)
