"""The 12 DejaVu faces that matplotlib ships, found and loaded without importing more than needed."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

import PIL.ImageFont

from distill.console.errors import Failure

__all__ = ["FACES", "font_path", "load_font"]

# Sorted by file name would mix weights; this order makes ``faces=N`` take upright text faces first.
FACES = (
    "DejaVuSans",
    "DejaVuSerif",
    "DejaVuSansMono",
    "DejaVuSans-Bold",
    "DejaVuSerif-Bold",
    "DejaVuSansMono-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSerif-Italic",
    "DejaVuSansMono-Oblique",
    "DejaVuSans-BoldOblique",
    "DejaVuSerif-BoldItalic",
    "DejaVuSansMono-BoldOblique",
)

_local = threading.local()


@cache
def _font_folder() -> Path:
    try:
        import matplotlib
    except ImportError:
        raise Failure("glyphs: needs the fonts that matplotlib ships", "pip install matplotlib") from None
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def font_path(face: str) -> Path:
    """The .ttf file of a face.

    Raises:
        Failure: matplotlib is not installed, or its fonts were removed.
    """
    path = _font_folder() / f"{face}.ttf"
    if not path.is_file():
        raise Failure(f"glyphs: {path} is missing", "install matplotlib from PyPI: it ships the DejaVu fonts")
    return path


def load_font(face: str, em: int) -> PIL.ImageFont.FreeTypeFont:
    """A face at ``em`` pixels per em. One object per thread: FreeType faces are not shared."""
    fonts = _local.__dict__.setdefault("fonts", {})
    if (face, em) not in fonts:
        # The basic layout engine: the result must not depend on whether libraqm is installed.
        fonts[face, em] = PIL.ImageFont.truetype(str(font_path(face)), em, layout_engine=PIL.ImageFont.Layout.BASIC)
    return fonts[face, em]
