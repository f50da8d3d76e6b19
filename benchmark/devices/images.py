"""Decode and preprocess images on the device from the bundle's record alone, as an app has to.

Needs NumPy and Pillow; sent to remote devices unchanged. Deliberately independent of
:class:`distill.data.preprocess.Preprocessing`, so that the benchmark exposes a bundle that records other preprocessing
than it was trained with, and a device whose decoder or resize differs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image

from distill.data.decode import decode

__all__ = ["BadImage", "network_pixels", "unpack"]


class BadImage(ValueError):
    """An image that cannot be decoded here.

    Attributes:
        number: Index of the image within its chunk, from 0.
    """

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"cannot be decoded there: {why}")
        self.number = number


def network_pixels(data: bytes, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Decode, resize and crop one image.

    Args:
        data: Content of a JPEG, PNG, WebP or BMP file.
        preprocessing: Fields of a bundle's ``preprocessing``.

    Returns:
        uint8 [input_size, input_size, 3], RGB.

    Raises:
        UnreadableImage: not an image.
        ValueError: an unknown preprocessing rule.
    """
    _check(preprocessing)
    return _resized(decode(data, "image"), preprocessing)


def _check(preprocessing: Mapping[str, Any]) -> None:
    rules = {"resize_rule": "pillow_bilinear", "crop": "center", "colour_order": "RGB"}
    for name, known in rules.items():
        if preprocessing[name] != known:
            raise ValueError(f"unknown {name} {preprocessing[name]!r}")


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
            image = image.resize(size, PIL.Image.Resampling.BILINEAR)
    left, top = (width - side) // 2, (height - side) // 2
    return np.asarray(image)[top : top + side, left : left + side].copy()


def unpack(data: bytes, sizes: Sequence[int], preprocessing: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Decode and preprocess concatenated image files, timing each.

    Args:
        sizes: Bytes of each file.

    Returns:
        uint8 [N, H, W, 3]; and float32 [N, 2], milliseconds to decode to upright RGB, and to resize and crop.

    Raises:
        BadImage: an image cannot be decoded here.
        ValueError: the sizes do not add up to ``data``, or a preprocessing rule is unknown.
    """
    _check(preprocessing)
    rows, times, start = [], [], 0
    for number, size in enumerate(sizes):
        try:
            begun = time.perf_counter_ns()
            image = decode(data[start : start + size], "image")
            decoded = time.perf_counter_ns()
            rows.append(_resized(image, preprocessing))
            done = time.perf_counter_ns()
        except Exception as error:  # a hostile file can raise nearly anything
            raise BadImage(number, str(getattr(error, "reason", error))) from None
        times.append(((decoded - begun) / 1e6, (done - decoded) / 1e6))
        start += size
    if start != len(data) or not rows:
        raise ValueError("the sizes of the images do not add up")
    return np.stack(rows), np.asarray(times, np.float32)
