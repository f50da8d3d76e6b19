"""Which characters are classes of ``glyphs``: how the committed table was made.

``python -m distill.data.glyph_choice`` prints the table of ``glyph_table.py``. The table is
committed rather than computed at run time so that the class list does not depend on the versions
of FreeType and Pillow; a test computes it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import PIL.Image
import PIL.ImageFont

from distill.data.glyph_fonts import FACES, load_font

__all__ = ["choose_characters", "shared_characters", "to_ranges"]

# Two characters look the same where the squared difference of their pictures, scaled to the same
# size, is below this share of the ink of the fainter one ...
SAME_BELOW = 0.10
# ... in at least this many of the 12 faces: a few faces draw, say, Latin a and Cyrillic а apart.
SAME_FACES = 9

_EM = 72
_SIDE = 36


def shared_characters() -> list[int]:
    """Code points that all 12 faces have, ascending."""
    shared = None
    for face in FACES:
        found = _charmap(face)
        shared = found if shared is None else shared & found
    return sorted(shared or ())


def choose_characters(candidates: Sequence[int]) -> list[int]:
    """The candidates without blank ones and without those that look like an earlier one.

    Pictures are compared after scaling the ink to the same size, because a random crop in training
    removes what differs in size and place only (ˣ and x, ¯ and _, • and ·).
    """
    pictures = np.stack([_fitted(face, candidates) for face in FACES])  # [12, N, pixels]
    ink = np.square(pictures).sum(2)
    close = np.zeros((len(candidates), len(candidates)), np.int8)
    for face, energy in zip(pictures, ink, strict=True):
        distance = energy[:, None] + energy[None] - 2 * (face @ face.T)
        close += distance < SAME_BELOW * np.minimum(energy[:, None], energy[None])
    visible = (ink > 1).all(0)
    kept: list[int] = []
    for i in np.flatnonzero(visible):
        if not (close[i, kept] >= SAME_FACES).any():
            kept.append(int(i))
    return [candidates[i] for i in kept]


def to_ranges(codes: Iterable[int]) -> str:
    """Ascending code points as text: ``"21-7e a1 a3-a5"`` (hexadecimal, ends included)."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return " ".join(f"{a:x}" if a == b else f"{a:x}-{b:x}" for a, b in ranges)


def _charmap(face: str) -> set[int]:
    from matplotlib.ft2font import FT2Font

    from distill.data.glyph_fonts import font_path

    return {code for code, glyph in FT2Font(str(font_path(face))).get_charmap().items() if glyph}


def _fitted(face: str, codes: Sequence[int]) -> np.ndarray:
    """float32 [N, side²] in 0..1: ink scaled so that its longer side fills the frame, centred."""
    font = load_font(face, _EM)
    pictures = np.zeros((len(codes), _SIDE, _SIDE), np.float32)
    for picture, code in zip(pictures, codes, strict=True):
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
        picture[top : top + h, left : left + w] = np.asarray(small, np.float32) / 255
    return pictures.reshape(len(codes), -1)


if __name__ == "__main__":
    print(to_ranges(choose_characters(shared_characters())))
