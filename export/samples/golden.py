"""Golden images: the first of the check images, some of them as files, so that an app can prove every step.

A file goes through decoding, resize and crop like any picture of an app. The bundle records the hash
of what each step must give, and the pixels after the last one are rows of ``golden/pixels.u8``.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

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
ORIENTATION, QUARTER_TURN = 0x0112, 6  # EXIF: to be shown turned by 90 degrees clockwise
# Chunks that hold nothing but the picture and how to show it.
_PNG_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs"}


@dataclass(frozen=True)
class EncodedImage:
    """A golden image as a file.

    Attributes:
        row: which golden image.
        content: PNG or JPEG.
        suffix: ``png`` or ``jpg``.
        width, height: of the decoded, upright picture, pixels.
        decoded_sha256: of its RGB bytes, row by row.
    """

    row: int
    content: bytes
    suffix: str
    width: int = 0
    height: int = 0
    decoded_sha256: str = ""


@dataclass(frozen=True)
class GoldenImages:
    """uint8 ``[N, side, side, 3]``, a key for each, and files for the first few."""

    pixels: np.ndarray
    keys: tuple[str, ...]
    files: tuple[EncodedImage, ...] = ()


def golden_images(
    images: ImageSet, rows: list[int], pixels: np.ndarray, keys: tuple[str, ...], preprocessing: Preprocessing
) -> GoldenImages:
    """The first ``GOLDEN_IMAGES`` of these, the first ``GOLDEN_FILES`` of them as files.

    Where a file had to be made anew, the pixels are those of the new file.

    Args:
        images: the set that they come from.
        rows: their indices in it.
        pixels: uint8 ``[N, side, side, 3]``, preprocessed.
        keys: of these images.
        preprocessing: the checkpoint's.

    Raises:
        Failure: a picture that was readable a moment ago no longer is.
    """
    pixels = pixels[:GOLDEN_IMAGES].copy()
    files = []
    for row in range(min(GOLDEN_FILES, len(pixels))):
        index = rows[row]
        try:
            made = encode(row, images.read(index), images.read_bytes(index), 2 * preprocessing.resize_size)
            upright = decode(made.content, keys[row])
        except UnreadableImage as error:
            raise Failure(str(error), "it was readable a moment ago: look after the data and export again") from None
        pixels[row] = preprocessing.pixels(upright)
        digest = hashlib.sha256(upright.tobytes()).hexdigest()
        files.append(replace(made, width=upright.width, height=upright.height, decoded_sha256=digest))
    return GoldenImages(pixels, keys[:GOLDEN_IMAGES], tuple(files))


def encode(row: int, image: PIL.Image.Image, original: bytes | None, largest: int) -> EncodedImage:
    """A golden image as a file, without metadata that could tell of people or places.

    Row 0 becomes a PNG: lossless, the resize can be compared to the bit on any machine. Row 1 a
    JPEG that lies on its side with an EXIF orientation, which an app has to obey. The others stay
    as they are where they are small PNG or JPEG files without metadata; otherwise photographs
    become JPEGs and drawn images PNGs.

    Args:
        row: which golden image.
        image: decoded, upright, RGB.
        original: the file that it came from, if there is one.
        largest: longest allowed shorter side of what is made anew, pixels.
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
    """Whether a PNG or JPEG file holds a picture and nothing else: no EXIF, no text, no appendix."""
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
            segments = image.applist
            plain = image.format == "JPEG"  # MPO holds several pictures
    except Exception:  # what Pillow cannot take apart is not kept
        return False
    # APP0: JFIF without a thumbnail, 14 bytes. APP14: Adobe's colour transform. Nothing after the end marker,
    # where some phones put a film.
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
    # 4:4:4: decoders differ most in how they enlarge reduced colour planes.
    clean = PIL.Image.fromarray(np.asarray(image))
    clean.save(buffer, "JPEG", quality=95, subsampling=0, **({"exif": exif} if orientation else {}))
    return buffer.getvalue()
