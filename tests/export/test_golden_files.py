"""Golden files, step by step from the encoded file: each step is tested, and each can fail."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pytest
from export_helpers import SIDE, call, edit, noise, student, write_checkpoint
from PIL import Image, PngImagePlugin

from distill.console import Failure
from distill.data.decode import decode
from distill.data.preprocess import Preprocessing
from export.bundle import load_bundle
from export.bundle.golden_files import verify_golden_files
from export.samples.calibration import choose_samples
from export.samples.golden import encode, is_plain

PRE = Preprocessing(input_size=SIDE, resize_size=SIDE)


def saved(kind: str, image: Image.Image | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(noise(1, 80)[0])).save(buffer, kind, **options)
    return buffer.getvalue()


def put(bundle, file: str, content: bytes, **facts) -> None:
    """Replace a golden file and update its hash."""
    (bundle / file).write_bytes(content)

    def change(description: dict) -> None:
        entry = next(f for f in description["golden"]["files"] if f["file"] == file)
        entry.update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), **facts)

    edit(bundle, change)


def test_a_file_becomes_its_row_by_the_documented_steps(made_bundle):
    """An independent version with Pillow alone, as in an app."""
    manifest = load_bundle(made_bundle).manifest
    pixels = load_bundle(made_bundle).golden_pixels()
    assert [f.file for f in manifest.golden.files] == [
        "golden/image0.png", "golden/image1.jpg", "golden/image2.png", "golden/image3.png",
    ]  # fmt: skip
    for file in manifest.golden.files:
        image = Image.open(made_bundle / file.file)
        if file.file.endswith(".jpg"):
            assert image.getexif()[0x0112] == 6
            image = image.transpose(Image.Transpose.ROTATE_270)  # a quarter turn clockwise
        rgb = np.asarray(image.convert("RGB"))
        assert rgb.shape == (file.height, file.width, 3)
        assert hashlib.sha256(rgb.tobytes()).hexdigest() == file.decoded_sha256
        small = (
            image.convert("RGB")
            .resize((SIDE, 72), Image.Resampling.BILINEAR)
            .resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        )
        assert np.array_equal(np.asarray(small), pixels[file.row])
        assert hashlib.sha256(np.asarray(small).tobytes()).hexdigest() == file.pixels_sha256


def test_golden_embeddings_are_those_of_the_golden_pixels(made_bundle, model):
    from export.check import reference_embeddings

    bundle = load_bundle(made_bundle)
    got = reference_embeddings(model, bundle.golden_pixels(), bundle.manifest.preprocessing)
    assert np.abs(got - bundle.golden_embeddings("pytorch")).max() < 1e-5


def test_verify_shows_each_step(made_bundle, capsys):
    assert call("verify", made_bundle, "--json") == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert len(files) == 4
    assert all(f["decoded"] and f["resized"] and f["passed"] and f["max_level_diff"] == 0 for f in files)
    assert call("verify", made_bundle) == 0
    text = capsys.readouterr().out
    assert "golden/image1.jpg" in text
    assert "exact" in text


def test_a_resize_that_differs_is_found(bundle, capsys, monkeypatch):
    def careless(image: Image.Image, size: tuple[int, int]) -> Image.Image:
        return image.resize(size, Image.Resampling.NEAREST)

    monkeypatch.setattr("distill.data.preprocess.resize_exactly", careless)
    assert call("verify", bundle) == 1
    captured = capsys.readouterr()
    assert "golden/image0.png: decoded correctly, but resized differently" in captured.err
    assert "compare Pillow's version" in captured.err


def test_an_orientation_that_is_not_obeyed_is_found(bundle):
    content = (bundle / "golden" / "image1.jpg").read_bytes()
    image = Image.open(io.BytesIO(content))
    lying = Image.fromarray(np.asarray(image)[:, :-1])  # no longer square, so that its orientation is visible
    put(bundle, "golden/image1.jpg", saved("JPEG", lying), width=lying.height, height=lying.width)
    verdict = verify_golden_files(bundle)[1]
    assert not verdict.passed
    assert "EXIF orientation" in verdict.problem


@pytest.mark.parametrize(("shift", "passed"), [(1, True), (40, False)])
def test_jpeg_decoders_may_differ_a_little(bundle, shift: int, passed: bool):
    path = bundle / "golden" / "image1.jpg"
    upright = decode(path.read_bytes(), "x")
    other = Image.fromarray(np.clip(np.asarray(upright).astype(int) + shift, 0, 255).astype(np.uint8))
    put(bundle, "golden/image1.jpg", saved("JPEG", other, quality=100, subsampling=0))
    verdict = verify_golden_files(bundle)[1]
    assert not verdict.decoded
    assert not verdict.resized
    assert verdict.passed == passed, verdict


def test_a_png_may_not(bundle):
    pixels = np.asarray(Image.open(bundle / "golden" / "image0.png")).copy()
    pixels[0, 0, 0] ^= 1
    put(bundle, "golden/image0.png", saved("PNG", Image.fromarray(pixels)))
    assert "a PNG that this machine decodes differently" in verify_golden_files(bundle)[0].problem


@pytest.mark.parametrize("content", [b"x", b"\x89PNG\r\n\x1a\n" + b"0" * 50])
def test_what_is_no_picture_is_one_line(bundle, content: bytes, capsys):
    put(bundle, "golden/image0.png", content)
    assert call("verify", bundle) == 1
    assert "golden/image0.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files[0].update(row=99), "files of rows"),
        (lambda files: files[0].update(row=1), "files of rows"),
        (lambda files: files[0].update(width=10**6), "width"),
        (lambda files: files[0].update(size_bytes=2**30), "size_bytes"),
        (lambda files: files[0].update(file="../x.png"), "not a plain path"),
        (lambda files: files[0].update(file=files[1]["file"]), "occurs twice"),
    ],
)
def test_descriptions_that_do_not_hold_together(bundle, change, message: str):
    edit(bundle, lambda content: change(content["golden"]["files"]))
    with pytest.raises(Failure, match=message):
        load_bundle(bundle)


def test_a_missing_or_changed_file_is_refused(bundle):
    path = bundle / "golden" / "image2.png"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Failure, match=r"image2\.png: its content changed"):
        load_bundle(bundle)


def test_bundles_without_files_stay_readable(bundle, capsys):
    edit(bundle, lambda content: content["golden"].pop("files"))
    assert call("verify", bundle, "--json") == 0
    assert json.loads(capsys.readouterr().out)["files"] == []


def text_chunk() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "somebody")
    return info


def gps() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    return exif


@pytest.mark.parametrize(
    ("content", "plain"),
    [
        (saved("PNG"), True),
        (saved("JPEG"), True),
        (saved("JPEG", progressive=True), True),
        (saved("PNG", pnginfo=text_chunk()), False),
        (saved("PNG", exif=gps()), False),
        (saved("JPEG", exif=gps()), False),
        (saved("JPEG", comment=b"who took it"), False),
        (saved("JPEG", icc_profile=b"x" * 200), False),
        (saved("JPEG") + b"a film \xff\xd9", False),
        (saved("PNG") + b"more", False),
        (saved("PNG")[:-20], False),
        (saved("WEBP"), False),
        (b"", False),
    ],
)
def test_what_tells_of_people_is_not_plain(content: bytes, plain: bool):
    assert is_plain(content) == plain


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_metadata_never_reaches_the_bundle(row: int, kind: str):
    original = saved(kind, exif=gps())
    made = encode(row, decode(original, "x"), original, 1000)
    assert b"a maker" not in made.content
    assert decode(made.content, "y").size == (80, 80)


def test_small_plain_originals_are_kept_and_large_ones_reduced():
    original = saved("JPEG")
    assert encode(2, decode(original, "x"), original, 1000).content == original
    wide = Image.fromarray(noise(1, 600)[0]).resize((900, 600))
    made = encode(0, wide, None, 200)
    assert decode(made.content, "x").size == (300, 200)
    assert encode(3, wide, None, 200).suffix == "png"  # drawn: no file


def test_drawn_images_have_files_too(tmp_path):
    samples = choose_samples(PRE, {}, "glyphs:classes=4", 0, seed=0)
    assert [file.suffix for file in samples.golden.files] == ["png", "jpg", "png", "png"]


def test_an_image_that_vanishes_meanwhile(pictures, tmp_path, monkeypatch, capsys):
    from distill.data.files import FileImageSet
    from distill.data.imageset import UnreadableImage

    def gone(self, index):
        raise UnreadableImage(self.keys[index], "No such file or directory")

    monkeypatch.setattr(FileImageSet, "read_bytes", gone)
    write_checkpoint(tmp_path / "c", student(), {"spec": f"folder:{pictures}", "split": "half"})
    assert call(tmp_path / "c", "--target", "onnx", "--quantize", "none", "--out", tmp_path / "b") == 1
    assert "readable a moment ago" in capsys.readouterr().err
