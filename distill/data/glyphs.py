"""``glyphs``: pictures of characters, rendered on the fly. Data for everyone, without a download.

Class = character (``U+0041``), image = that character in one typeface
(``U+0041/DejaVuSans-Bold``). A mirrored character is another one: ``flip`` is False.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache

import PIL.features
import PIL.Image
import PIL.ImageOps

from distill.data.glyph_fonts import FACES, font_path, load_font
from distill.data.glyph_scene import photograph
from distill.data.glyph_table import characters
from distill.data.imageset import ImageSet, UnreadableImage
from distill.files import sha256_file

__all__ = ["GlyphSet", "open_glyphs", "render_glyph"]

# Raise it whenever a change below alters a pixel: fingerprints and caches depend on it.
RENDERER_VERSION = 4

_EM_SHARE = 0.8
_MARGIN = 1


class GlyphSet(ImageSet):
    """Rendered characters, ``size`` × ``size`` pixels, black on white or as a camera sees them."""

    def __init__(self, spec: str, keys: list[str], class_names: list[str], size: int, clean: bool) -> None:
        super().__init__(spec, "glyphs", keys, class_names, flip=False)
        self.size = size
        self.clean = clean
        self.native_size = size

    def read(self, index: int) -> PIL.Image.Image:
        key = self.keys[index]
        name, _, face = key.partition("/")
        try:
            picture = render_glyph(int(name[2:], 16), face, self.size)
        except OSError as error:
            raise UnreadableImage(key, f"font: {error}") from None
        return picture if self.clean else photograph(PIL.ImageOps.invert(picture.convert("L")), key)

    def _content(self) -> Iterable[bytes]:
        faces = sorted({key.partition("/")[2] for key in self.keys})
        recipe = [RENDERER_VERSION, self.size, self.clean, PIL.features.version("freetype2"), *map(_font_hash, faces)]
        digest = hashlib.sha256(repr(recipe).encode()).digest()
        return (digest for _ in self.keys)


def open_glyphs(
    spec: str, classes: int | None = None, faces: int = len(FACES), size: int = 64, clean: bool = False
) -> GlyphSet:
    """Open the embedded data set.

    Args:
        spec: the spec string, kept for provenance.
        classes: this many of the 1,929 characters, spread evenly over the sorted list so that
            scripts stay mixed; None for all.
        faces: the first so many of the 12 typefaces (upright ones first).
        size: side of the pictures, pixels.
        clean: black on white, upright and centred. Many symbols are then the same picture in
            several typefaces.

    Raises:
        Failure: matplotlib or its fonts are missing.
    """
    codes = characters()
    if classes is not None:
        codes = [codes[i * len(codes) // classes] for i in range(classes)]
    for face in FACES[:faces]:
        font_path(face)  # fail now, not at the first picture
    keys = [f"U+{code:04X}/{face}" for code in codes for face in FACES[:faces]]
    class_names = [key.partition("/")[0] for key in keys]
    return GlyphSet(spec, keys, class_names, size, clean)


def render_glyph(code: int, face: str, size: int) -> PIL.Image.Image:
    """One character as an RGB picture, anti-aliased black on white.

    All characters share one scale, 0.8 × ``size`` pixels per em, so that x and X differ as in
    text; the ink is centred (rounded towards the top left). The few that would not fit (long
    arrows, doubled symbols) are set smaller until one white pixel remains on each side.
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
    picture = PIL.Image.new("L", (size, size), 255)
    width, height = mask.size
    if width and height:
        ink = PIL.Image.frombytes("L", (width, height), bytes(mask))
        corner = ((size - (right - left)) // 2 - left, (size - (bottom - top)) // 2 - top)
        picture.paste(0, corner, ink)
    return picture.convert("RGB")


@cache
def _font_hash(face: str) -> str:
    return sha256_file(font_path(face))
