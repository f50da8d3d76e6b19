"""The characters and typefaces of ``glyphs``.

The characters are a committed table rather than computed at run time, so that the classes do not depend on the
versions of FreeType and Pillow. ``python -m distill.data.glyph_table`` computes and prints the table again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFont

from distill.console.errors import Failure

__all__ = [
    "FACES",
    "characters",
    "choose_characters",
    "font_path",
    "load_font",
    "parse_ranges",
    "shared_characters",
    "to_ranges",
]

# The 12 DejaVu faces that matplotlib ships. In this order ``faces=N`` takes upright text faces first.
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

# The 1,929 characters: hexadecimal code points and ranges, ends included.
_RANGES = """
21-7e a1-ac ae-b6 b8-c0 c3-c8 cb-d2 d6-d9 dc-101 103-109 10b 10d-10f 111-113 115 117-119 11c-11d 11f
121-12b 12d-12f 131-146 148-14d 14f-157 159-15b 15d-15f 161-16b 16d-17a 17c 17e-188 18a-1c3 1cf-1d0
1d5-1d8 1dc-1dd 1df-1e3 1e7-1ef 1f6 1f9 1fc-1ff 201 203-205 207-209 20b 20d 20f 211-213 215 217-21d
21f 221 224-225 227-22b 22f-241 243-245 24c-24d 250-258 25a-2b9 2bb 2bd-2c1 2c6-2c8 2d0-2d1 2d6-2d9
2db-2de 2e0-2e3 2e5-2e9 2ee 2f3 309 30d-315 318-31b 31d-31e 320-323 325-326 32a-32b 32f 333-338
33a-33e 361 375 37a 385-386 388-38a 38c 38e-390 393-394 39e 3a0 3a6 3a8-3a9 3ac-3b4 3b6 3b8-3bb
3bd-3be 3c0-3cb 3cd-3ce 3d0-3d7 3d9-3db 3dd-3e1 3f0-3f1 3f5-3f6 3fa-3fc 3fe-3ff 402-404 409-40f 414
416 418-41b 423-424 426-42f 431 433-434 436-43c 43f 442 444 446-44f 452-454 459-45f 462-463 490-49b
4a2-4a5 4ac-4ad 4af-4b3 4ba 4c1-4c4 4c7-4c8 4cb-4cc 4cf 4da-4dc 4de-4df 4e2-4e5 4ea-4ee 4f2-4f9 511
531-552 554 556 55b-55f 562-56f 571-577 579 57b-57c 57e-580 582-584 586-587 589-58a e3f 10d0-10fc
1d02 1d08-1d09 1d14 1d16-1d17 1d1d-1d1f 1d2c-1d2e 1d30-1d34 1d36-1d3c 1d3e-1d4d 1d4f-1d56 1d58-1d5b
1d62 1d77 1d7b 1d85 1d9b-1da4 1da6 1da8 1daa-1db7 1db9-1dbf 1e00-1e13 1e18-1e1f 1e21 1e23-1e25
1e27-1e2d 1e31-1e3f 1e41-1e43 1e45-1e4d 1e54-1e55 1e57 1e59-1e5f 1e61-1e63 1e68-1e77 1e79 1e7c-1e7f
1e81 1e83 1e85 1e87-1e8d 1e8f 1e91-1e99 1e9b 1ea0-1ea1 1eac-1ead 1eb0-1eb1 1eb6-1eb9 1ebd 1ec6-1ec7
1eca-1ecb 1ecd 1ed8-1edb 1edd 1ee0-1ee5 1ee8-1ee9 1eeb 1eee-1ef1 1ef3-1ef4 1ef9 1f00 1f02 1f04 1f06
1f08 1f0a 1f0c-1f0e 1f10 1f12 1f14 1f18 1f1a-1f1d 1f20 1f22 1f24 1f26 1f28 1f2a 1f2c-1f2e 1f30
1f32-1f36 1f38-1f3a 1f3c-1f3e 1f40 1f42 1f44 1f48-1f4a 1f4c-1f4d 1f50 1f52 1f54 1f56 1f59 1f5b 1f5d
1f5f-1f60 1f62 1f64 1f66 1f68-1f70 1f72 1f74 1f76 1f7a 1f7c 1f80 1f82 1f84 1f86 1f88 1f8a 1f8c 1f8e
1f91 1f93 1f95 1f97-1f98 1f9a 1f9c-1f9e 1fa0 1fa2 1fa4 1fa6 1fa8-1faa 1fac-1fb4 1fb6-1fb7 1fba 1fbd
1fc1-1fc3 1fc6 1fc8 1fca 1fcc-1fd2 1fd6-1fd7 1fda 1fdd-1fe2 1fe4 1fe6-1fe7 1fea 1fec-1fed 1ff2-1ff4
1ff6-1ff8 1ffa 1ffc 1ffe 2012-2016 201b-201c 201f-2023 2026 2030-2037 2039-203a 203c-203d 2047-2049
204b 2070 2074-207f 20a6 20ac 20af 20b1 20b4-20b5 20b8-20b9 210e 2116 2122 2150-2151 2153-215f 2189
2190-21eb 21ed-2200 2202-2204 2206-2209 220b-220c 220f-2213 221a-2220 2223 2227-222d 2238-223b 223d
2242-2243 2248 2250-2255 2260-2261 2264-2265 2282-2287 228d-229c 229e-22a5 22c4-22c5 2302 2308-230b
2310-2311 2318-2319 2320-2321 2325 2328 237d 239b-239e 23a0-23a1 23a3-23a4 23a6-23ae 23cf 2423
2500-2520 2524-2528 252c-2532 2534-253a 253c-253e 2540-2542 2547-2548 254b-256c 2571-2573 2575
2578-2579 257c-2583 2585-258f 2591-2593 2599-259c 259e-25a9 25ab 25ad-25b3 25b5-25b7 25b9-25bd
25bf-25c1 25c3-25ce 25d0-25fb 25fd 25ff-2600 2638-263c 263f-2647 2660-2667 2669-266f 27c5-27c6 27e0
27e8-27e9 27f5-27f7 29eb 2a6a-2a6b 2b05-2b0d 2b12-2b1a 2c64 2c6d-2c70 2c75-2c77 2c79-2c7a 2c7d-2c7f
2e18 2e1f 2e22-2e25 2e2e a708-a716 a71b-a71e a727 a78b a790-a791 a7aa a7f8-a7f9 fb01-fb02 fffd
"""

# Two characters look the same if the squared difference of their images, scaled to the same
# size, is below this share of the ink of the fainter one ...
SAME_BELOW = 0.10
# ... in at least this many of the 12 faces: a few faces distinguish, say, Latin a and Cyrillic а.
SAME_FACES = 9

_EM = 72
_SIDE = 36

_local = threading.local()


@cache
def _font_folder() -> Path:
    try:
        import matplotlib
    except ImportError:
        raise Failure("glyphs: needs the fonts that matplotlib ships", "pip install matplotlib") from None
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def font_path(face: str) -> Path:
    """Return the .ttf file of a face.

    Raises:
        Failure: matplotlib is not installed, or its fonts were removed.
    """
    path = _font_folder() / f"{face}.ttf"
    if not path.is_file():
        raise Failure(f"glyphs: {path} is missing", "install matplotlib from PyPI: it ships the DejaVu fonts")
    return path


def load_font(face: str, em: int) -> PIL.ImageFont.FreeTypeFont:
    """Return a face at ``em`` pixels per em, one object per thread because FreeType faces are not thread-safe."""
    fonts = _local.__dict__.setdefault("fonts", {})
    if (face, em) not in fonts:
        # The basic layout engine, so that the result does not depend on whether libraqm is installed.
        fonts[face, em] = PIL.ImageFont.truetype(str(font_path(face)), em, layout_engine=PIL.ImageFont.Layout.BASIC)
    return fonts[face, em]


@cache
def characters() -> tuple[int, ...]:
    """Return the code points of all classes, ascending."""
    return tuple(parse_ranges(_RANGES))


def parse_ranges(text: str) -> list[int]:
    """Parse ``"21-7e a1"`` to [0x21, ..., 0x7e, 0xa1]."""
    codes: list[int] = []
    for word in text.split():
        first, _, last = word.partition("-")
        codes.extend(range(int(first, 16), int(last or first, 16) + 1))
    return codes


def shared_characters() -> list[int]:
    """Return the code points that all 12 faces have, ascending."""
    shared = None
    for face in FACES:
        found = _charmap(face)
        shared = found if shared is None else shared & found
    return sorted(shared or ())


def choose_characters(candidates: Sequence[int]) -> list[int]:
    """Return the candidates that are not blank and do not look like an earlier candidate.

    Images are compared after scaling the ink to the same size, because random crops in training
    remove differences in size and position (ˣ and x, ¯ and _, • and ·).
    """
    images = np.stack([_fitted(face, candidates) for face in FACES])  # [12, N, pixels]
    ink = np.square(images).sum(2)
    close = np.zeros((len(candidates), len(candidates)), np.int8)
    for face, energy in zip(images, ink, strict=True):
        distance = energy[:, None] + energy[None] - 2 * (face @ face.T)
        close += distance < SAME_BELOW * np.minimum(energy[:, None], energy[None])
    visible = (ink > 1).all(0)
    kept: list[int] = []
    for i in np.flatnonzero(visible):
        if not (close[i, kept] >= SAME_FACES).any():
            kept.append(int(i))
    return [candidates[i] for i in kept]


def to_ranges(codes: Iterable[int]) -> str:
    """Format ascending code points as text: ``"21-7e a1 a3-a5"`` (hexadecimal, ends included)."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return " ".join(f"{a:x}" if a == b else f"{a:x}-{b:x}" for a, b in ranges)


def _charmap(face: str) -> set[int]:
    from matplotlib.ft2font import FT2Font

    return {code for code, glyph in FT2Font(str(font_path(face))).get_charmap().items() if glyph}


def _fitted(face: str, codes: Sequence[int]) -> np.ndarray:
    """Render each character with its longer side filling the frame, centred: float32 [N, side²], 0..1."""
    font = load_font(face, _EM)
    images = np.zeros((len(codes), _SIDE, _SIDE), np.float32)
    for image, code in zip(images, codes, strict=True):
        mask, _ = font.getmask2(chr(code), mode="L")
        box = mask.getbbox()
        if box is None:
            continue
        width, height = mask.size
        ink = np.frombuffer(bytes(mask), np.uint8).reshape(height, width)[box[1] : box[3], box[0] : box[2]]
        longer = max(ink.shape)
        h, w = (max(1, round(side * _SIDE / longer)) for side in ink.shape)
        small = PIL.Image.fromarray(np.ascontiguousarray(ink)).resize((w, h), PIL.Image.Resampling.BILINEAR)
        top, left = (_SIDE - h) // 2, (_SIDE - w) // 2
        image[top : top + h, left : left + w] = np.asarray(small, np.float32) / 255
    return images.reshape(len(codes), -1)


if __name__ == "__main__":
    print(to_ranges(choose_characters(shared_characters())))
