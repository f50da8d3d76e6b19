"""Encoded pictures to the network's pixels on the device itself, from the bundle's record alone: what an app has to do.

Needs Pillow beside NumPy; sent to remote devices as it is. Written apart from
:class:`distill.data.preprocess.Preprocessing`, so that a bundle which records something else than it was trained with,
or a device whose decoder or resize differs, shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image

from distill.data.decode import decode

__all__ = ["network_pixels", "unpack"]


def network_pixels(data: bytes, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Decode, resize and crop one picture.

    Args:
        data: a JPEG, PNG, WebP or BMP file.
        preprocessing: the fields of a bundle's ``preprocessing``.

    Returns:
        uint8 [input_size, input_size, 3], RGB.

    Raises:
        UnreadableImage: not a picture.
        ValueError: a rule that is not known here.
    """
    rules = {"resize_rule": "pillow_bilinear", "crop": "center", "colour_order": "RGB"}
    for name, known in rules.items():
        if preprocessing[name] != known:
            raise ValueError(f"{name} {preprocessing[name]!r} is not known here")
    image = decode(data, "picture")
    side, shorter = preprocessing["input_size"], preprocessing["resize_size"]
    width, height = image.size
    if width > height:
        width, height = width * shorter // height, shorter
    else:
        width, height = shorter, height * shorter // width
    # Horizontally, then vertically: docs/preprocessing.md.
    for size in ((width, image.height), (width, height)):
        if size != image.size:
            image = image.resize(size, PIL.Image.BILINEAR)
    left, top = (width - side) // 2, (height - side) // 2
    return np.asarray(image)[top : top + side, left : left + side].copy()


def unpack(data: bytes, sizes: Sequence[int], preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Pixels of pictures that lie one behind the other, uint8 [N, H, W, 3].

    Args:
        sizes: bytes of each.

    Raises:
        ValueError: a picture cannot be decoded here, or the sizes are not those of ``data``.
    """
    rows, start = [], 0
    for number, size in enumerate(sizes):
        try:
            rows.append(network_pixels(data[start : start + size], preprocessing))
        except Exception as error:  # a hostile file can raise nearly anything
            raise ValueError(f"picture {number} of {len(sizes)} cannot be decoded there: {error}") from None
        start += size
    if start != len(data) or not rows:
        raise ValueError("pictures of other sizes than announced")
    return np.stack(rows)
