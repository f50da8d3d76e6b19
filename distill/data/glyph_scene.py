"""A character as a camera would see it: turned, shifted, tinted, a little blurred and noisy.

Without this, many symbols are the same picture in several typefaces (27 % of all pictures have an
equal one in their class), and a network that knows nothing would find it.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import PIL.Image
import PIL.ImageFilter

__all__ = ["photograph"]

_TURN = math.radians(6)
_SCALE = (0.85, 1.0)
_SHIFT = 0.03
_BLUR = 0.8 / 64
_NOISE = 6.0


def photograph(ink: PIL.Image.Image, key: str) -> PIL.Image.Image:
    """Deterministic in ``key``: the same picture every time, another one for every key.

    Args:
        ink: square, mode L, 0 nothing to 255 full ink.
        key: the image's key.

    Returns:
        RGB of the same size. Turned by up to 6°, scaled by 0.85 to 1, shifted by up to 3 % of the
        side; dark ink on light paper, both tinted; blurred by up to 0.8/64 of the side; Gaussian
        noise of up to 6 grey levels.
    """
    size = ink.width
    random = np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big")))
    turn = random.uniform(-_TURN, _TURN)
    scale = random.uniform(*_SCALE)
    shift = random.uniform(-_SHIFT, _SHIFT, 2) * size
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    centre = size / 2
    # Pillow asks where each output pixel comes from: the inverse transform about the centre.
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
