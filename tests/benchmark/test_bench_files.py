"""Devices that decode the images themselves: --from files."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import benchmark_fakes as fakes
import numpy as np
import PIL.Image
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.cli import app
from benchmark.devices import open_device
from benchmark.devices.images import network_pixels, unpack
from benchmark.devices.local import Local
from benchmark.devices.python_side import PythonSide
from benchmark.devices.remote import Remote
from benchmark.devices.transport import Undecodable
from distill.console import run_app
from distill.data.decode import decode
from distill.data.preprocess import Preprocessing
from export.bundle import load_bundle

NAMES = ("tflite-float32", "onnx-float32")


def encoded(pixels: np.ndarray, form: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def encoded_images(count: int, seed: int = 0) -> list[bytes]:
    random = np.random.default_rng(seed)
    sizes = random.integers(20, 60, (count, 2))
    return [encoded(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 20), st.sampled_from(["JPEG", "PNG"]))
@settings(max_examples=60, deadline=None)
def test_both_implementations_agree(width, height, side, margin, form):
    rule = Preprocessing(input_size=side, resize_size=side + margin)
    data = encoded(np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8), form)
    try:
        expected = rule.pixels(decode(data, "x"))
    except Exception:  # a strip
        with pytest.raises(Exception):  # noqa: B017
            network_pixels(data, rule.model_dump())
        return
    assert np.array_equal(network_pixels(data, rule.model_dump()), expected)


def test_upright_as_the_file_says():
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:, :20] = 255
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was rotated
    rule = Preprocessing(input_size=16, resize_size=16).model_dump()
    turned = network_pixels(encoded(pixels, "PNG", exif=exif), rule)
    assert turned[0].mean() > 200 > 50 > turned[-1].mean()


@pytest.mark.parametrize("sizes", [[3], [5], [4, 0], []])
def test_what_is_no_image_or_has_another_size(sizes):
    with pytest.raises(ValueError, match="decoded there|do not add up"):
        unpack(b"none", sizes, Preprocessing(input_size=16, resize_size=16).model_dump())
    with pytest.raises(ValueError, match="unknown crop"):
        unpack(
            encoded_images(1)[0],
            [len(encoded_images(1)[0])],
            Preprocessing(input_size=16, resize_size=16).model_dump() | {"crop": "corner"},
        )
    with pytest.raises(ValueError, match="unknown crop"):
        network_pixels(
            encoded_images(1)[0], Preprocessing(input_size=16, resize_size=16).model_dump() | {"crop": "corner"}
        )


@pytest.fixture
def jpegs(tmp_path) -> Path:
    """The images of the other tests as JPEGs of many shapes, and one that cannot be read."""
    root = fakes.make_photos(tmp_path / "jpegs", names=[f"class{n:02d}" for n in range(8)])
    for path in sorted(root.rglob("*.png")):
        image = PIL.Image.open(path)
        image.resize((30, 24 + len(path.stem))).save(path.with_suffix(".jpg"), quality=90)
        path.unlink()
    (root / "class00" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    return root


@pytest.fixture
def bundle_dir(tmp_path, jpegs) -> Path:
    models = {"tflite": tiny_models.tflite_model(fakes.SIDE), "onnx": tiny_models.onnx_model(fakes.SIDE)}
    return fakes.make_bundle(tmp_path / "bundle", f"folder:{jpegs}", NAMES, models=models)


def test_a_healthy_bundle_loses_nothing(bundle_dir, tmp_path, capsys):
    found = {}
    for source in ("pixels", "files"):
        out = tmp_path / f"{source}.json"
        arguments = ["--from", source, "--part", "all", "--seconds", "0", "--no-memory", "--json-out", str(out)]
        assert run_app(app, [str(bundle_dir), *arguments]) == 0
        found[source] = json.loads(out.read_text())
    said = " ".join(capsys.readouterr().out.split())
    assert "decoded on the device" in said and "before the network: decoding" in said
    cost, images = found["files"]["decoding"], found["files"]["data"]["images"]
    assert (
        found["pixels"]["decoding"] is None and cost["decode_ms"]["samples"] == cost["resize_ms"]["samples"] == images
    )
    assert 0 < cost["decode_ms"]["p50"] < 1000
    assert found["files"]["data"]["decoded_by"] == "device" and found["files"]["data"]["skipped"] == 1
    for a, b in zip(found["pixels"]["variants"], found["files"]["variants"], strict=True):
        assert a["recall"] == b["recall"] and a["map_at_r"] == b["map_at_r"]


def test_a_device_that_crops_otherwise_is_caught(bundle_dir, tmp_path, monkeypatch, capsys):
    """A fault that sharing pixels would hide."""
    fakes.replace_torch(monkeypatch)
    import benchmark.devices.images as module

    arguments = [
        str(bundle_dir),
        "--part",
        "all",
        "--seconds",
        "0",
        "--no-memory",
        "--checkpoint",
        str(tmp_path),
        "--min-cosine",
        "0.99",
    ]
    assert run_app(app, [*arguments, "--from", "files"]) == 0

    def upside_down(data, sizes, rule):
        pixels, times = unpack(data, sizes, rule)
        return pixels[:, ::-1], times

    monkeypatch.setattr(module, "unpack", upside_down)
    assert run_app(app, [*arguments, "--from", "files"]) == 1
    assert run_app(app, [*arguments, "--from", "pixels"]) == 0


def test_a_remote_device_decodes_too(bundle_dir, tmp_path):
    device = Remote("local", PythonSide(Local(), sys.executable, str(tmp_path / "there")))
    bundle, files = load_bundle(bundle_dir), encoded_images(5)
    batches = [files[:3], files[3:], files[:3]]  # one of them twice
    there, here = device.embed(bundle, NAMES, batches, 1), open_device("host").embed(bundle, NAMES, batches, 1)
    assert all(np.array_equal(there[name].embeddings, here[name].embeddings) for name in NAMES)
    assert device.image_ms.shape == (8, 2) and (device.image_ms > 0).all()
    for where in (device, open_device("host")):
        with pytest.raises(Undecodable, match="cannot be decoded there: not a JPEG") as failure:
            where.embed(bundle, NAMES, [files[:3], [files[0], b"nonsense"]], 1)
        assert failure.value.number == 4
    assert (
        device.embed(bundle, NAMES, [np.zeros((1, fakes.SIDE, fakes.SIDE, 3), np.uint8)], 1) and device.image_ms is None
    )
    device.close(True)
    assert not (tmp_path / "there").exists()


def test_an_image_that_the_device_refuses_is_named(bundle_dir, monkeypatch, capsys):
    """Python can read it here, so the data set is not at fault."""
    import benchmark.devices.images as module

    def refuse(data, sizes, rule):
        raise module.BadImage(3, "a CMYK JPEG")

    monkeypatch.setattr(module, "unpack", refuse)
    assert run_app(app, [str(bundle_dir), "--from", "files", "--part", "all", "--seconds", "0", "--no-memory"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "class00/3.jpg: host: cannot be decoded there: a CMYK JPEG" in said and "--from pixels" in said


def test_what_has_no_files(tmp_path, capsys):
    bundle = fakes.make_bundle(tmp_path / "glyphs", "glyphs:classes=4,faces=2")
    assert run_app(app, [str(bundle), "--from", "files", "--part", "all", "--no-memory", "--seconds", "0"]) == 2
    assert "are not files" in capsys.readouterr().err
    assert run_app(app, [str(bundle), "--from", "file"]) == 2
    assert "did you mean 'files'" in capsys.readouterr().err.replace("\n", " ")
