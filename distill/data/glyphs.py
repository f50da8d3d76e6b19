"""``glyphs``: images of characters, rendered on the fly, so nothing has to be downloaded.

Each character is a class (``U+0041``), with one image per typeface (``U+0041/DejaVuSans-Bold``).
A mirrored character is another character, so ``flip`` is False.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import PIL.features
import PIL.Image
import PIL.ImageFilter
import PIL.ImageOps

from distill.data.glyph_table import FACES, characters, font_path, load_font
from distill.data.imageset import ImageSet, UnreadableImage
from distill.data.kind import LABEL_OPTIONS, DataKind, whole_number, yes_or_no
from distill.files import sha256_file

__all__ = ["KIND", "GlyphSet", "open_glyphs", "render_glyph", "simulate_camera"]

# Raise this whenever a change below alters a pixel: fingerprints and caches depend on it.
RENDERER_VERSION = 4

_EM_SHARE = 0.8
_MARGIN = 1
# Limits of the simulated camera; lengths as shares of the side.
_ROTATION = math.radians(6)
_SCALE = (0.85, 1.0)
_SHIFT = 0.03
_BLUR = 0.8 / 64
_NOISE = 6.0


class GlyphSet(ImageSet):
    """Rendered characters, ``size`` × ``size`` pixels, black on white or as a camera would see them."""

    def __init__(self, spec: str, keys: list[str], class_names: list[str], size: int, clean: bool) -> None:
        super().__init__(spec, "glyphs", keys, class_names, flip=False)
        self.size = size
        self.clean = clean
        self.native_size = size

    def read(self, index: int) -> PIL.Image.Image:
        key = self.keys[index]
        name, _, face = key.partition("/")
        try:
            image = render_glyph(int(name[2:], 16), face, self.size)
        except OSError as error:
            raise UnreadableImage(key, f"font: {error}") from None
        return image if self.clean else simulate_camera(PIL.ImageOps.invert(image.convert("L")), key)

    def _content(self) -> Iterable[bytes]:
        faces = sorted({key.partition("/")[2] for key in self.keys})
        recipe = [RENDERER_VERSION, self.size, self.clean, PIL.features.version("freetype2"), *map(_font_hash, faces)]
        digest = hashlib.sha256(repr(recipe).encode()).digest()
        return (digest for _ in self.keys)


def open_glyphs(
    spec: str, classes: int | None = None, faces: int = len(FACES), size: int = 64, clean: bool = False
) -> GlyphSet:
    """Open the built-in data set.

    Args:
        spec: The data spec, kept as a record.
        classes: Number of the 1,929 characters, spread evenly over the sorted list so that
            scripts stay mixed; None for all.
        faces: Number of the 12 typefaces (upright ones first).
        size: Side of the images, pixels.
        clean: Black on white, upright and centred. Many symbols then have identical images in
            several typefaces.

    Raises:
        Failure: matplotlib or its fonts are missing.
    """
    codes: Sequence[int] = characters()
    if classes is not None:
        codes = [codes[i * len(codes) // classes] for i in range(classes)]
    for face in FACES[:faces]:
        font_path(face)  # fail now, not at the first image
    keys = [f"U+{code:04X}/{face}" for code in codes for face in FACES[:faces]]
    class_names = [key.partition("/")[0] for key in keys]
    return GlyphSet(spec, keys, class_names, size, clean)


KIND = DataKind(
    open_glyphs,
    "",
    {
        "classes": whole_number(2, 1929),
        "faces": whole_number(1, 12),
        "size": whole_number(16, 1024),
        "clean": yes_or_no,
        **LABEL_OPTIONS,
    },
)


def render_glyph(code: int, face: str, size: int) -> PIL.Image.Image:
    """Render one character as an RGB image, anti-aliased black on white.

    All characters share one scale, 0.8 × ``size`` pixels per em, so that x and X differ as in
    text. The ink is centred (rounded towards the top left). The few characters that would not fit (long
    arrows, doubled symbols) are made smaller until one white pixel remains on each side.
    """
    em = max(4, round(size * _EM_SHARE))
    space = size - 2 * _MARGIN
    while True:
        mask, _ = load_font(face, em).getmask2(chr(code), mode="L")
        left, top, right, bottom = mask.getbbox() or (0, 0, 0, 0)
        longer = max(right - left, bottom - top)
        if longer <= space or em <= 4:
            break
        em = max(4, min(em - 1, em * space // longer))
    image = PIL.Image.new("L", (size, size), 255)
    width, height = mask.size
    if width and height:
        ink = PIL.Image.frombytes("L", (width, height), bytes(mask))
        corner = ((size - (right - left)) // 2 - left, (size - (bottom - top)) // 2 - top)
        image.paste(0, corner, ink)
    return image.convert("RGB")


def simulate_camera(ink: PIL.Image.Image, key: str) -> PIL.Image.Image:
    """Render a character as a camera would see it: rotated, shifted, tinted, slightly blurred and noisy.

    Without this step, many symbols have identical images in several typefaces (27 % of all images have a
    duplicate in their class), which even an untrained network would find.

    Args:
        ink: Square image, mode L, from 0 (no ink) to 255 (full ink).
        key: Key of the image. It seeds the random numbers, so the result is the same every time.

    Returns:
        RGB of the same size. Rotated by up to 6°, scaled by 0.85 to 1, shifted by up to 3 % of the
        side; dark ink on light paper, both tinted; blurred by up to 0.8/64 of the side; Gaussian
        noise of up to 6 grey levels.
    """
    size = ink.width
    random = np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big")))
    angle = random.uniform(-_ROTATION, _ROTATION)
    scale = random.uniform(*_SCALE)
    shift = random.uniform(-_SHIFT, _SHIFT, 2) * size
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    centre = size / 2
    # Pillow needs the source of each output pixel: the inverse transform about the centre.
    x0 = centre - cos * (centre + shift[0]) + sin * (centre + shift[1])
    y0 = centre - sin * (centre + shift[0]) - cos * (centre + shift[1])
    moved = ink.transform(
        ink.size, PIL.Image.Transform.AFFINE, (cos, -sin, x0, sin, cos, y0), PIL.Image.Resampling.BILINEAR
    )
    moved = moved.filter(PIL.ImageFilter.GaussianBlur(random.uniform(0, _BLUR) * size))
    cover = np.asarray(moved, np.float32)[..., None] / 255
    paper = (random.uniform(200, 245) + random.uniform(-10, 10, 3)).astype(np.float32)
    colour = (random.uniform(10, 80) + random.uniform(-10, 10, 3)).astype(np.float32)
    noise = random.standard_normal((size, size, 1), np.float32) * np.float32(random.uniform(0, _NOISE))
    pixels = paper + cover * (colour - paper) + noise
    return PIL.Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


@cache
def _font_hash(face: str) -> str:
    return sha256_file(font_path(face))
