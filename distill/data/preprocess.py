"""From a picture to network input, defined to the integer so that a phone can repeat it.

**Resize.** For a picture of w × h pixels and a resize size r: the shorter side becomes r, the longer
``longer * r // shorter`` (integer division, rounded down; never below r). A picture that already
has that size is left untouched. The resampling is Pillow's antialiased ``BILINEAR`` on 8-bit RGB,
first horizontally, then vertically; its exact integer arithmetic is in ``docs/preprocessing.md``.

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
    """Pillow's antialiased 8-bit bilinear resize with a fixed order of its two passes.

    Args:
        image: RGB.
        size: (width, height), pixels.

    Returns:
        RGB of that size; ``image`` itself where it has the size already.
    """
    # One call for each pass: in a joint call some releases of Pillow resize horizontally first and
    # others choose the cheaper order, and the 8-bit rounding in between makes that a visible choice.
    for step in ((size[0], image.height), size):
        if image.size != step:
            image = image.resize(step, PIL.Image.Resampling.BILINEAR)
    return image


class Preprocessing(BaseModel):
    """What happens to every picture before the network, in training's validation and on the phone.

    Attributes:
        input_size: side of the square network input, pixels, 1 … 4096.
        resize_size: shorter side after the resize, pixels, ``input_size`` … 4096.
        resize_rule: how pixels are resampled; only Pillow's antialiased 8-bit bilinear so far.
        crop: what is cut out of the resized picture.
        colour_order: order of the channels.
        mean: per channel, in pixel values 0 … 255.
        std: per channel, in pixel values, above 0.

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
        """(width, height) after the resize of a ``width`` × ``height`` picture, pixels."""
        shorter, longer = min(width, height), max(width, height)
        other = longer * self.resize_size // shorter
        return (other, self.resize_size) if width > height else (self.resize_size, other)

    def crop_corner(self, width: int, height: int) -> tuple[int, int]:
        """(left, top) of the crop in a resized picture of ``width`` × ``height`` pixels."""
        return (width - self.input_size) // 2, (height - self.input_size) // 2

    def pixels(self, image: PIL.Image.Image) -> np.ndarray:
        """Resize and crop.

        Args:
            image: a picture; modes other than RGB are converted by Pillow.

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
        """``(pixels - mean) / std``.

        Args:
            pixels: uint8 (or any number) [..., 3].

        Returns:
            float32 of the same shape.

        Raises:
            ValueError: the last axis is not 3 channels.
        """
        if pixels.shape[-1:] != (3,):
            raise ValueError(f"expected [..., 3] pixels, got shape {pixels.shape}")
        return (pixels.astype(np.float32) - np.float32(self.mean)) / np.float32(self.std)
