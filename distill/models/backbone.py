"""Interface of a backbone."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from distill.console import UsageFailure
from distill.data.preprocess import Preprocessing
from distill.models.steps import Residual, Step
from distill.models.weights_file import load_matching, read_matching, weights_record

__all__ = ["Backbone"]

# ImageNet evaluation crops 224 pixels from an image whose shorter side is 256.
CROP_SHARE = 224 / 256


class Backbone(nn.Module):
    """A network from pixels to feature maps, and the input it expects.

    A subclass sets the attributes without a default in ``__init__`` and defines ``forward`` and ``stages``.

    Attributes:
        arch: Name that ``build_backbone`` builds it from.
        feature_size: Channels C of the map that ``forward`` returns.
        stage_channels: Channels of the four maps of ``stages``; the last is ``feature_size``.
        stage_strides: Input pixels per cell of these maps: (4, 8, 16, 32), except for networks
            without a pyramid (plain vision transformers), whose maps all have the stride of the patch.
        mean, std: Per-channel scaling that the weights were trained with, in 0..255 units:
            ``scaled = (pixel - mean) / std``.
        fixed_input_size: The only input side it accepts, ``None`` if it accepts any.
        head_norm: Whether the network was trained with a normalisation between the average pool and its last
            layer (ConvNeXt, EdgeNeXt), which :meth:`after_pool` then applies.
        weights: Origin of the initial weights (``source``, ``sha256``, ``layout``, ...);
            empty for random ones.
    """

    arch: str
    feature_size: int
    stage_channels: tuple[int, int, int, int]
    stage_strides: tuple[int, int, int, int] = (4, 8, 16, 32)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fixed_input_size: int | None = None
    head_norm: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.weights: dict[str, str] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Scaled pixels [N, 3, H, W] to the last map [N, C, h, w]."""
        raise NotImplementedError

    def stages(self, x: Tensor) -> list[Tensor]:
        """Four maps [N, C_i, h_i, w_i], from fine to coarse; the last is ``forward(x)``."""
        raise NotImplementedError

    def after_pool(self, pooled: Tensor) -> Tensor:
        """Apply what the network has between its average pool and its last layer: [N, C] to [N, C]."""
        return pooled

    def steps(self) -> list[Step | Residual] | None:
        """Every step from the image to the last map, in order; ``None`` if the network is not made of such steps.

        A backbone that returns its steps can be folded, which gives it every quantization scheme and repair of
        ``distill-export``.
        """
        return None

    def load_weights(self, path: Path) -> None:
        """Load weights by name and shape, and record their origin in ``weights``.

        Override it for other file formats or other names, and to set ``mean`` and ``std`` of the weights.

        Args:
            path: A .safetensors, .pth or .pt file. The classifier and the prefixes of wrappers are ignored.

        Raises:
            UsageFailure: unknown kind of file.
            Failure: a file that is missing, damaged, or of another network.
        """
        load_matching(self, read_matching(path, self), str(path))
        self.weights = weights_record(path)

    def default_preprocessing(self, input_size: int, resize_size: int | None = None) -> Preprocessing:
        """Return the preprocessing that the weights expect.

        Args:
            input_size: Side of the square input, pixels.
            resize_size: Shorter side before the centre crop, pixels. Default:
                ``round(input_size * 256 / 224)``, the ImageNet convention. Pass ``input_size``
                for images whose margin matters (characters, tight crops).

        Raises:
            UsageFailure: the network accepts another input size only.
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
