from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.data.decode import decode
from distill.data.imageset import UnreadableImage


def encoded(image: PIL.Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def gradient(width: int = 32, height: int = 24) -> PIL.Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return PIL.Image.fromarray(np.stack([x, y, (x + y) / 2], 2).astype(np.uint8))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP"])
def test_formats(form: str) -> None:
    image = decode(encoded(gradient(), form), "k")
    assert image.mode == "RGB" and image.size == (32, 24)
    assert np.abs(np.asarray(image, int) - np.asarray(gradient(), int)).mean() < 6


def test_the_first_image_of_a_phones_multi_image_file() -> None:
    data = encoded(gradient(), "MPO", save_all=True, append_images=[PIL.Image.new("RGB", (32, 24))])
    assert np.asarray(decode(data, "k")).max() > 200


def test_formats_open_in_a_fresh_process(tmp_path: Path) -> None:
    # Pillow loads its decoders in two steps; which ones are there already depends on what ran before.
    for form in ("bmp", "webp", "png", "jpeg"):
        gradient().save(tmp_path / f"a.{form}")
        code = "import sys, pathlib; from distill.data.decode import decode; print(decode(pathlib.Path(sys.argv[1]), 'k').size)"
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / f"a.{form}")], capture_output=True, text=True)
        assert done.stdout.strip() == "(32, 24)", done.stderr


@pytest.mark.parametrize(
    ("orientation", "operation"),
    [
        (2, PIL.Image.Transpose.FLIP_LEFT_RIGHT),
        (3, PIL.Image.Transpose.ROTATE_180),
        (6, PIL.Image.Transpose.ROTATE_270),
        (8, PIL.Image.Transpose.ROTATE_90),
    ],
)
def test_exif_orientation_is_applied(orientation: int, operation: PIL.Image.Transpose) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    plain = encoded(gradient(), "PNG")
    turned = encoded(gradient(), "PNG", exif=exif.tobytes())
    expected = decode(plain, "k").transpose(operation)
    np.testing.assert_array_equal(np.asarray(decode(turned, "k")), np.asarray(expected))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_cost_the_image() -> None:
    data = encoded(gradient(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\xff\xff" * 9)
    assert decode(data, "k").size == (32, 24)


def test_alpha_is_laid_over_white() -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255  # black above, nothing below
    for form in ("PNG", "WEBP"):
        image = np.asarray(decode(encoded(PIL.Image.fromarray(pixels, "RGBA"), form, lossless=True), "k"))
        assert (image[:2] == 0).all() and (image[2:] == 255).all()


def test_grey_alpha_and_transparent_palette() -> None:
    grey = PIL.Image.fromarray(np.array([[[0, 255], [0, 0]]], np.uint8), "LA")
    assert np.asarray(decode(encoded(grey, "PNG"), "k"))[0].tolist() == [[0, 0, 0], [255, 255, 255]]
    palette = PIL.Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert np.asarray(decode(encoded(palette, "PNG"), "k"))[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    clear = np.asarray(decode(encoded(palette, "PNG", transparency=1), "k"))
    assert clear[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_transparent_colour_of_an_rgb_image() -> None:
    image = PIL.Image.new("RGB", (1, 1), (1, 2, 3))
    assert np.asarray(decode(encoded(image, "PNG", transparency=(1, 2, 3)), "k")).tolist() == [[[255] * 3]]


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    grey = PIL.Image.fromarray(np.array([[0, 255, 256, 32768, 65535]], np.uint16))
    assert np.asarray(decode(encoded(grey, "PNG"), "k"))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_one_bit_and_cmyk() -> None:
    assert np.asarray(decode(encoded(PIL.Image.new("1", (2, 2), 1), "PNG"), "k")).min() == 255
    red = decode(encoded(PIL.Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), "k")
    assert red.mode == "RGB" and np.asarray(red)[4, 4, 0] > 200 > 60 > np.asarray(red)[4, 4, 1]


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a JPEG"),
        (b"just some text, renamed to .jpg", "not a JPEG"),
        (b"GIF89a" + bytes(30), "not a JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG"),
        (encoded(gradient(), "JPEG")[:400], "truncated|decod"),
        (encoded(gradient(), "PNG")[:-60], "truncated|decod|broken"),
        (png_header(30_000, 30_000), "more pixels"),
        (png_header(6500, 100), "strip"),
        (png_header(200, 200), "truncated|decod|broken|incomplete"),
    ],
)
def test_hostile_files_are_unreadable(data: bytes, says: str) -> None:
    with pytest.raises(UnreadableImage, match=f"(?i){says}") as caught:
        decode(data, "bees/1.jpg")
    assert caught.value.key == "bees/1.jpg" and "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="No such file"):
        decode(tmp_path / "no.jpg", "no.jpg")
    with pytest.raises(UnreadableImage, match="directory"):
        decode(tmp_path, "folder.jpg")


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8),
    st.integers(0, 5000),
)
def test_any_damage_is_an_image_or_unreadable(form: str, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(encoded(gradient(), form))
    for place, value in changes:
        data[place % len(data)] = value
    try:
        image = decode(bytes(data[: max(0, len(data) - cut)]), "k")
    except UnreadableImage:
        return
    assert image.mode == "RGB"
    np.asarray(image)
