"""Golden images: the first check images, some of them as files, with which an app can test each step.

An app decodes, resizes and crops these files like any other image. The bundle records the hash of the result of
each step; the pixels after the last one are rows of ``golden/pixels.u8``.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
from PIL.JpegImagePlugin import JpegImageFile

from distill.console import Failure
from distill.data.decode import decode
from distill.data.imageset import UnreadableImage
from distill.data.preprocess import Preprocessing, resize_exactly

if TYPE_CHECKING:
    from distill.data.imageset import ImageSet

__all__ = ["GOLDEN_FILES", "GOLDEN_IMAGES", "EncodedImage", "GoldenImages", "encode", "golden_images", "is_plain"]

GOLDEN_IMAGES = 8
GOLDEN_FILES = 4
MAX_ORIGINAL_BYTES = 256 * 1024
ORIENTATION, QUARTER_TURN = 0x0112, 6  # EXIF: rotate by 90 degrees clockwise for display
# Chunks that hold only the image and how to display it.
_PNG_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs"}


@dataclass(frozen=True)
class EncodedImage:
    """A golden image as a file.

    Attributes:
        row: index of the golden image.
        content: the PNG or JPEG file.
        suffix: ``png`` or ``jpg``.
        width, height: size of the decoded, upright image, pixels.
        decoded_sha256: SHA-256 of its RGB bytes, row by row.
    """

    row: int
    content: bytes
    suffix: str
    width: int = 0
    height: int = 0
    decoded_sha256: str = ""


@dataclass(frozen=True)
class GoldenImages:
    """Golden images.

    Attributes:
        pixels: uint8 ``[N, side, side, 3]``, preprocessed.
        keys: key of each image.
        files: the first few as files.
    """

    pixels: np.ndarray
    keys: tuple[str, ...]
    files: tuple[EncodedImage, ...] = ()


def golden_images(
    images: ImageSet, rows: list[int], pixels: np.ndarray, keys: tuple[str, ...], preprocessing: Preprocessing
) -> GoldenImages:
    """Return the first ``GOLDEN_IMAGES`` of these images, with the first ``GOLDEN_FILES`` as files.

    If a file had to be encoded again, the pixels are those of the new file.

    Args:
        images: image set that they come from.
        rows: their indices in it.
        pixels: uint8 ``[N, side, side, 3]``, preprocessed.
        keys: their keys.
        preprocessing: preprocessing of the checkpoint.

    Raises:
        Failure: an image that was readable before no longer is.
    """
    pixels = pixels[:GOLDEN_IMAGES].copy()
    files = []
    for row in range(min(GOLDEN_FILES, len(pixels))):
        index = rows[row]
        try:
            made = encode(row, images.read(index), images.read_bytes(index), 2 * preprocessing.resize_size)
            upright = decode(made.content, keys[row])
        except UnreadableImage as error:
            raise Failure(str(error), "it was readable a moment ago: check the data and export again") from None
        pixels[row] = preprocessing.pixels(upright)
        digest = hashlib.sha256(upright.tobytes()).hexdigest()
        files.append(replace(made, width=upright.width, height=upright.height, decoded_sha256=digest))
    return GoldenImages(pixels, keys[:GOLDEN_IMAGES], tuple(files))


def encode(row: int, image: PIL.Image.Image, original: bytes | None, largest: int) -> EncodedImage:
    """Encode a golden image as a file, without metadata that could identify people or places.

    Row 0 becomes a PNG: being lossless, its resize can be compared bit by bit on any machine. Row 1 becomes a
    JPEG stored sideways with an EXIF orientation, which an app has to apply. The others keep
    their files if these are small PNG or JPEG files without metadata; otherwise JPEG files
    become new JPEGs and all others PNGs.

    Args:
        row: index of the golden image.
        image: decoded, upright, RGB.
        original: the file that it came from, if there is one.
        largest: maximum of the shorter side of an image that is encoded again, pixels.
    """
    if row > 1 and original is not None and len(original) <= MAX_ORIGINAL_BYTES and is_plain(original):
        return EncodedImage(row, original, "png" if original.startswith(b"\x89PNG") else "jpg")
    image = _reduced(image, largest)
    if row == 1:
        return EncodedImage(row, _jpeg(image.transpose(PIL.Image.Transpose.ROTATE_90), QUARTER_TURN), "jpg")
    if row > 1 and original is not None and not original.startswith(b"\x89PNG"):
        return EncodedImage(row, _jpeg(image), "jpg")
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.asarray(image)).save(buffer, "PNG", optimize=True)
    return EncodedImage(row, buffer.getvalue(), "png")


def is_plain(content: bytes) -> bool:
    """Return whether a PNG or JPEG file holds only an image: no EXIF, no text, no trailing data."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _plain_png(content)
    return content.startswith(b"\xff\xd8") and _plain_jpeg(content)


def _plain_png(content: bytes) -> bool:
    place, kind = 8, b""
    while place + 12 <= len(content) and kind != b"IEND":
        length, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        if kind not in _PNG_CHUNKS:
            return False
        place += length + 12
    return kind == b"IEND" and place == len(content)


def _plain_jpeg(content: bytes) -> bool:
    try:
        with PIL.Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            assert isinstance(image, JpegImageFile)
            segments = image.applist
            plain = image.format == "JPEG"  # MPO holds several images
    except Exception:  # not parsed by Pillow: not plain
        return False
    # APP0: JFIF without a thumbnail, 14 bytes. APP14: Adobe's colour transform. Nothing may follow the end marker,
    # where some phones store a video.
    known = all(
        (name == "APP0" and len(data) <= 14) or (name == "APP14" and len(data) <= 12) for name, data in segments
    )
    return plain and known and content.endswith(b"\xff\xd9") and content.count(b"\xff\xd9") == 1


def _reduced(image: PIL.Image.Image, largest: int) -> PIL.Image.Image:
    shorter = min(image.size)
    if shorter <= largest:
        return image
    return resize_exactly(image, (image.width * largest // shorter, image.height * largest // shorter))


def _jpeg(image: PIL.Image.Image, orientation: int | None = None) -> bytes:
    buffer = io.BytesIO()
    exif = PIL.Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    # 4:4:4, because decoders differ most in how they upsample chroma.
    clean = PIL.Image.fromarray(np.asarray(image))
    clean.save(buffer, "JPEG", quality=95, subsampling=0, **({"exif": exif} if orientation else {}))
    return buffer.getvalue()
