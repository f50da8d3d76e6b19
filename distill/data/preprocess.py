"""Preprocessing from an image to network input, in exact integer arithmetic so that a phone can reproduce it.

**Resize.** For an image of w × h pixels and a resize size r: the shorter side becomes r, the longer
``longer * r // shorter`` (integer division, rounded down; never below r). An image that already
has that size is left unchanged. The resampling is Pillow's antialiased ``BILINEAR`` on 8-bit RGB,
first horizontally, then vertically; ``docs/preprocessing.md`` has its exact integer arithmetic.

**Crop.** A square of the input size s from the centre: left = ``(w - s) // 2``, top =
``(h - s) // 2`` (rounded down: the odd pixel is lost on the right and at the bottom).

**Scale.** ``(pixel - mean) / std`` in float32, mean and std in units of pixel values (0 … 255).
With mean = std = 128, the default of students, int8 input is exactly pixel - 128.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
import PIL.Image
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

__all__ = ["Preprocessing", "resize_exactly"]

_Side = Annotated[int, Field(ge=1, le=4096)]
_Positive = Annotated[FiniteFloat, Field(gt=0)]


def resize_exactly(image: PIL.Image.Image, size: tuple[int, int]) -> PIL.Image.Image:
    """Resize with Pillow's antialiased 8-bit bilinear filter, in a fixed order of its two passes.

    Args:
        image: RGB.
        size: (width, height), pixels.

    Returns:
        RGB of that size; ``image`` itself if it already has the size.
    """
    # One call per pass: in a joint call some releases of Pillow resize horizontally first and others
    # choose the cheaper order, and the 8-bit rounding in between makes the results differ.
    for step in ((size[0], image.height), size):
        if image.size != step:
            image = image.resize(step, PIL.Image.Resampling.BILINEAR)
    return image


class Preprocessing(BaseModel):
    """Preprocessing of every image before the network, in validation and on the phone.

    Attributes:
        input_size: Side of the square network input, pixels, 1 … 4096.
        resize_size: Shorter side after the resize, pixels, ``input_size`` … 4096.
        resize_rule: Resampling; only Pillow's antialiased 8-bit bilinear so far.
        crop: Which part of the resized image is used.
        colour_order: Order of the channels.
        mean: Per channel, in pixel values 0 … 255.
        std: Per channel, in pixel values, above 0.

    Raises:
        pydantic.ValidationError: a value is out of range or not finite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_size: _Side
    resize_size: _Side
    resize_rule: Literal["pillow_bilinear"] = "pillow_bilinear"
    crop: Literal["center"] = "center"
    colour_order: Literal["RGB"] = "RGB"
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat] = (128.0, 128.0, 128.0)
    std: tuple[_Positive, _Positive, _Positive] = (128.0, 128.0, 128.0)

    @model_validator(mode="after")
    def _resize_covers_input(self) -> Self:
        if self.resize_size < self.input_size:
            raise ValueError(f"resize_size {self.resize_size} is below input_size {self.input_size}")
        return self

    def resized_size(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) after the resize of a ``width`` × ``height`` image, pixels."""
        shorter, longer = min(width, height), max(width, height)
        other = longer * self.resize_size // shorter
        return (other, self.resize_size) if width > height else (self.resize_size, other)

    def crop_corner(self, width: int, height: int) -> tuple[int, int]:
        """Return (left, top) of the crop in a resized image of ``width`` × ``height`` pixels."""
        return (width - self.input_size) // 2, (height - self.input_size) // 2

    def pixels(self, image: PIL.Image.Image) -> np.ndarray:
        """Resize and crop.

        Args:
            image: Modes other than RGB are converted by Pillow.

        Returns:
            uint8 [input_size, input_size, 3], RGB.
        """
        if image.mode != "RGB":
            image = image.convert("RGB")
        size = self.resized_size(*image.size)
        left, top = self.crop_corner(*size)
        side = self.input_size
        image = resize_exactly(image, size)
        return np.array(image.crop((left, top, left + side, top + side)))

    def scale(self, pixels: np.ndarray) -> np.ndarray:
        """Return ``(pixels - mean) / std``.

        Args:
            pixels: uint8 (or any number) [..., 3].

        Returns:
            float32 of the same shape.

        Raises:
            ValueError: the last axis is not 3 channels.
        """
        if pixels.shape[-1:] != (3,):
            raise ValueError(f"expected [..., 3] pixels, got shape {pixels.shape}")
        return (pixels.astype(np.float32) - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
