"""Encoded pictures to the network's pixels on the device itself, from the bundle's record alone: what an app has to do.

Needs Pillow beside NumPy; sent to remote devices as it is. Written apart from
:class:`distill.data.preprocess.Preprocessing`, so that a bundle which records something else than it was trained with,
or a device whose decoder or resize differs, shows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image

from distill.data.decode import decode

__all__ = ["BadPicture", "network_pixels", "unpack"]


class BadPicture(ValueError):
    """One picture that cannot be decoded here.

    Attributes:
        number: which of those that came together, from 0.
    """

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"cannot be decoded there: {why}")
        self.number = number


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
    _check(preprocessing)
    return _resized(decode(data, "picture"), preprocessing)


def _check(preprocessing: Mapping[str, Any]) -> None:
    rules = {"resize_rule": "pillow_bilinear", "crop": "center", "colour_order": "RGB"}
    for name, known in rules.items():
        if preprocessing[name] != known:
            raise ValueError(f"{name} {preprocessing[name]!r} is not known here")


def _resized(image: PIL.Image.Image, preprocessing: Mapping[str, Any]) -> np.ndarray:
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


def unpack(data: bytes, sizes: Sequence[int], preprocessing: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of pictures that lie one behind the other, and how long that took.

    Args:
        sizes: bytes of each.

    Returns:
        uint8 [N, H, W, 3]; and float32 [N, 2], milliseconds: decoding to upright RGB, resize and crop.

    Raises:
        BadPicture: a picture cannot be decoded here.
        ValueError: the sizes are not those of ``data``, or a rule is not known here.
    """
    _check(preprocessing)
    rows, times, start = [], [], 0
    for number, size in enumerate(sizes):
        try:
            begun = time.perf_counter_ns()
            image = decode(data[start : start + size], "picture")
            decoded = time.perf_counter_ns()
            rows.append(_resized(image, preprocessing))
            done = time.perf_counter_ns()
        except Exception as error:  # a hostile file can raise nearly anything
            raise BadPicture(number, str(getattr(error, "reason", error))) from None
        times.append(((decoded - begun) / 1e6, (done - decoded) / 1e6))
        start += size
    if start != len(data) or not rows:
        raise ValueError("pictures of other sizes than announced")
    return np.stack(rows), np.asarray(times, np.float32)
