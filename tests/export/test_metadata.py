"""Metadata of our TFLite files, tested with the programs that read it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from export_helpers import SIDE, SIZE, noise

from distill.data.preprocess import Preprocessing
from export.bundle import load_bundle, open_variant
from export.bundle.tflite_file import interpreter_for
from export.formats.tflite.metadata import add_metadata, build_metadata

PRE = Preprocessing(input_size=SIDE, resize_size=SIDE)
CLIENT = Path(__file__).with_name("embed_with_client.py")
TAKEN = ["tflite-float32", "tflite-float16", "tflite-int8-io-float32", "tflite-int8-io-uint8"]
# Its packages conflict with TensorFlow's: set this to the Python of a separate environment.
MEDIAPIPE_PYTHON = os.environ.get("MEDIAPIPE_PYTHON")
CLIENTS = {"tasklib": (sys.executable, "tflite_support"), "mediapipe": (MEDIAPIPE_PYTHON, "mediapipe")}


@functools.cache
def missing(client: str) -> str:
    """Return why the client cannot run here; empty if it can. The Task Library also needs libusb-1.0."""
    python, package = CLIENTS[client]
    if not python:
        return "MEDIAPIPE_PYTHON is not set"
    program = f"import sys; sys.modules['tensorflow'] = None; import {package}"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=120)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def ask(client: str, model: Path, pixels: np.ndarray, tmp_path: Path) -> np.ndarray | str:
    """Return the client's embeddings, or its error message."""
    if missing(client):
        pytest.skip(f"{client}: {missing(client)}")
    python = CLIENTS[client][0]
    pixels.tofile(tmp_path / "pixels.u8")
    out = tmp_path / "out.f32"
    words = [python, CLIENT, client, model, tmp_path / "pixels.u8", str(SIDE), out]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=120)
    return np.fromfile(out, "<f4").reshape(len(pixels), -1) if done.returncode == 0 else done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", TAKEN)
def test_clients_give_our_embeddings(tflite_bundle, client: str, name: str, tmp_path):
    bundle = load_bundle(tflite_bundle)
    pixels = noise(4, seed=21)
    got = ask(client, bundle.path(bundle.variant(name)), pixels, tmp_path)
    assert not isinstance(got, str), got
    assert np.abs(got - open_variant(bundle, name).embed(pixels)).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS)
def test_clients_refuse_int8_borders(tflite_bundle, client: str, tmp_path):
    """The reason for --io. If a client accepts int8 one day, the docs must change."""
    bundle = load_bundle(tflite_bundle)
    got = ask(client, bundle.path(bundle.variant("tflite-int8")), noise(1), tmp_path)
    assert isinstance(got, str)
    assert "int8" in got.lower()


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS)
def test_clients_read_our_scaling(tflite_bundle, client: str, tmp_path):
    """Other numbers in the metadata give other embeddings: the clients read them."""
    bundle = load_bundle(tflite_bundle)
    content = bundle.path(bundle.variant("tflite-float32")).read_bytes()
    other = PRE.model_copy(update={"mean": (100.0,) * 3, "std": (50.0,) * 3})
    (tmp_path / "other.tflite").write_bytes(add_metadata(content, build_metadata("x", "y", other)))
    pixels = noise(2, seed=21)
    got = ask(client, tmp_path / "other.tflite", pixels, tmp_path)
    assert not isinstance(got, str), got
    assert np.abs(got - open_variant(bundle, "tflite-float32").embed(pixels)).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("mean", [(128.0,) * 3, (123.7, 116.3, 103.5)])
def test_the_official_parser_reads_it(tflite_bundle, tmp_path, mean):
    if missing("tasklib"):
        pytest.skip(missing("tasklib"))
    bundle = load_bundle(tflite_bundle)
    content = bundle.path(bundle.variant("tflite-float32")).read_bytes()
    metadata = build_metadata("name", "words", PRE.model_copy(update={"mean": mean}))
    (tmp_path / "m.tflite").write_bytes(add_metadata(content, metadata))
    program = """
import sys
sys.modules["tensorflow"] = None
from tflite_support import metadata
print(metadata.MetadataDisplayer.with_model_file(sys.argv[1]).get_metadata_json())
"""
    words = [sys.executable, "-c", program, str(tmp_path / "m.tflite")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["name"] == "name"
    assert shown["description"] == "words"
    image = shown["subgraph_metadata"][0]["input_tensor_metadata"][0]
    assert image["content"]["content_properties"] == {"color_space": "RGB"}
    options = image["process_units"][0]["options"]
    assert np.allclose(options["mean"], mean[:1] if len(set(mean)) == 1 else mean)
    assert options["std"] == [128.0]


@pytest.mark.slow
def test_nothing_but_the_metadata_changes(tflite_bundle):
    from ai_edge_litert import schema_py_generated as schema

    bundle = load_bundle(tflite_bundle)
    content = bundle.path(bundle.variant("tflite-int8")).read_bytes()
    again = add_metadata(add_metadata(content, b"x" * 33), build_metadata("n", "d", PRE))
    before, after = (schema.ModelT.InitFromPackedBuf(c, 0) for c in (content, again))
    assert [m.name for m in after.metadata] == [m.name for m in before.metadata]  # replaced, not added
    where = next(m.buffer for m in before.metadata if m.name == b"TFLITE_METADATA")
    assert bytes(after.buffers[where].data[4:8]) == b"M001"
    for index, (one, other) in enumerate(zip(before.buffers, after.buffers, strict=True)):
        if index != where:
            assert np.array_equal(one.data, other.data)
    pixels = (noise(1).astype(np.int16) - 128).astype(np.int8)
    rows = []
    for model in (content, again):
        interpreter = interpreter_for(model)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert np.array_equal(*rows)
    assert rows[0].shape == (1, SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tflite-float32", "tflite-int8"])
def test_weights_stay_aligned(tflite_bundle, name: str):
    """Kernels read them in place, 16 bytes at a time."""
    from ai_edge_litert import schema_py_generated as schema

    bundle = load_bundle(tflite_bundle)
    content = bundle.path(bundle.variant(name)).read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    full = [buffer for buffer in buffers if not buffer.DataIsNone() and buffer.DataLength()]
    assert len(full) > 50
    assert {buffer._tab.Vector(buffer._tab.Offset(4)) % 16 for buffer in full} == {0}
