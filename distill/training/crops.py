"""Seeded crops: view ``v`` of image ``i`` is always the same rectangle.

Therefore the teacher sees exactly the student's crop ("Knowledge distillation: A good teacher is patient and
consistent", CVPR 2022), its embeddings of a few views can be cached, and a killed run continues with the crops
it would have had.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from distill.data.preprocess import resize_exactly

__all__ = ["Crop", "CropRule", "cut"]


@dataclass(frozen=True)
class Crop:
    """A rectangle in the stored image, in pixels, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool


@dataclass(frozen=True)
class CropRule:
    """Random resized crop: area share in ``[scale, 1]``, aspect ratio in ``[3/4, 4/3]`` (log-uniform).

    The rule of torchvision's ``RandomResizedCrop``, with randomness keyed by (seed, image, view)
    instead of drawn from a global generator. ``scale == 1`` takes the centred square.

    Attributes:
        scale: smallest fraction of the image area, above 0.
        flip: mirror half of the crops.
        seed: seed of all crops.
    """

    scale: float
    flip: bool
    seed: int

    def box(self, image: int, view: int, height: int, width: int) -> Crop:
        """Return the crop of view ``view`` of image number ``image``, which has ``height`` × ``width`` pixels."""
        random = np.random.Generator(np.random.Philox(key=[self.seed, 0x63726F70], counter=[0, 0, image, view]))
        mirrored = bool(self.flip and random.random() < 0.5)
        if self.scale < 1:
            for _ in range(10):
                area = height * width * random.uniform(self.scale, 1.0)
                aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
                w = round(math.sqrt(area * aspect))
                h = round(math.sqrt(area / aspect))
                if 0 < w <= width and 0 < h <= height:
                    top = int(random.integers(0, height - h + 1))
                    left = int(random.integers(0, width - w + 1))
                    return Crop(top, left, h, w, mirrored)
        side = min(height, width)
        return Crop((height - side) // 2, (width - side) // 2, side, side, mirrored)


def cut(pixels: np.ndarray, crop: Crop, size: int) -> torch.Tensor:
    """Cut ``crop`` out of ``pixels`` (uint8 [H, W, 3]) and resize it to uint8 [3, size, size].

    The resize is that of :class:`distill.data.preprocess.Preprocessing`: Pillow's antialiased bilinear.
    """
    window = pixels[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    if crop.mirrored:
        window = window[:, ::-1]
    window = np.array(window, order="C")
    if (crop.height, crop.width) != (size, size):
        window = np.array(resize_exactly(Image.fromarray(window), (size, size)))
    return torch.from_numpy(window).permute(2, 0, 1)
