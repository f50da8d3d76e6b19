"""What every backbone offers, whoever wrote it."""

from __future__ import annotations

from torch import Tensor, nn

from distill.console import UsageFailure
from distill.data.preprocess import Preprocessing

__all__ = ["Backbone"]

# ImageNet evaluation cuts a 224-pixel square out of an image whose shorter side is 256.
CROP_SHARE = 224 / 256


class Backbone(nn.Module):
    """A network from pixels to a feature map, and what is known of its input.

    Attributes:
        arch: name that ``build_backbone`` builds it from.
        feature_size: channels C of ``forward``'s map.
        stage_channels: channels of the four maps of ``stages``; the last is ``feature_size``.
        stage_strides: input pixels per cell of these maps: (4, 8, 16, 32) except for networks
            without a pyramid (plain vision transformers), whose maps all have the patch's stride.
        mean, std: per-channel scaling the weights were trained with, in 0..255 units:
            ``scaled = (pixel - mean) / std``.
        fixed_input_size: the only input side it accepts, ``None`` where any will do.
        weights: where the initial weights came from (``source``, ``sha256``, ``layout``, ...);
            empty for random ones.
    """

    arch: str
    feature_size: int
    stage_channels: tuple[int, int, int, int]
    stage_strides: tuple[int, int, int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fixed_input_size: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.weights: dict[str, str] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Scaled pixels [N, 3, H, W] to the last map [N, C, h, w]."""
        raise NotImplementedError

    def stages(self, x: Tensor) -> list[Tensor]:
        """Four maps [N, C_i, h_i, w_i], coarser and coarser; the last is ``forward(x)``."""
        raise NotImplementedError

    def default_preprocessing(self, input_size: int, resize_size: int | None = None) -> Preprocessing:
        """The preprocessing these weights expect.

        Args:
            input_size: side of the square input, pixels.
            resize_size: shorter side before the centre crop, pixels. Default:
                ``round(input_size * 256 / 224)``, ImageNet's convention; pass ``input_size``
                for pictures whose border matters (characters, tight crops).

        Raises:
            UsageFailure: the network was built for another input size only.
        """
        if self.fixed_input_size is not None and input_size != self.fixed_input_size:
            raise UsageFailure(
                f"{self.arch}: takes {self.fixed_input_size}-pixel images only, not {input_size}",
                f"use --input-size {self.fixed_input_size}, or a convolutional network",
            )
        return Preprocessing(
            input_size=input_size,
            resize_size=round(input_size / CROP_SHARE) if resize_size is None else resize_size,
            resize_rule="pillow_bilinear",
            crop="center",
            colour_order="RGB",
            mean=self.mean,
            std=self.std,
        )
