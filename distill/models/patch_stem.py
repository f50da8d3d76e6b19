"""Initialise a patch stem from the layers that it replaces, so that weights of the whole MobileNetV1 can be used.

The first convolution and blocks 1 and 2 compute a nearly linear function of the image. Ridge regression, in closed form,
finds the closest linear map. It is fitted to noise with the spectrum of natural images, so no image is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.models.mobilenet_v1 import PATCH_BLOCKS, MobileNetV1
from distill.models.patch_conv import PATCH, PatchConv2d

__all__ = ["noise_images", "start_from_whole"]

_COUNT, _SIDE = 64, 128
_RIDGE = 1e-3  # times the mean square of an input
# Brightness, blue-yellow and green-magenta, as in natural images: most of the contrast is brightness.
_COLOURS = ((0.7, 0.4, 0.2), (0.7, 0.0, -0.4), (0.7, -0.4, 0.2))
_CONTRASTS = (1.0, 0.35, 0.2)
_SPREAD, _MEAN_SPREAD = 0.55, 0.25


def noise_images(count: int, side: int, seed: int = 0) -> Tensor:
    """Return noise whose amplitude falls with frequency as in natural images: float32 [count, 3, side, side], -1..1.

    Source: Field, "Relations between the statistics of natural images and the response properties of
    cortical cells" (J. Opt. Soc. Am. A 4, 1987): amplitude ~ 1 / frequency.
    """
    generator = torch.Generator().manual_seed(seed)
    frequency = torch.fft.fftfreq(side)
    radius = torch.sqrt(frequency[:, None] ** 2 + frequency[None] ** 2)
    radius[0, 0] = 1 / side
    white = torch.randn(count, 3, side, side, generator=generator)
    pink = torch.fft.ifft2(torch.fft.fft2(white) / radius).real
    pink = pink / pink.std(dim=(2, 3), keepdim=True) * torch.tensor(_CONTRASTS)[:, None, None]
    images = torch.einsum("ij,njhw->nihw", torch.tensor(_COLOURS), pink) * _SPREAD
    means = torch.randn(count, 3, 1, 1, generator=generator) * _MEAN_SPREAD
    return (images + means).clamp(-1, 1)


@torch.no_grad()
def start_from_whole(model: MobileNetV1, whole: MobileNetV1) -> None:
    """Copy the blocks of ``whole`` into ``model``, which has a patch stem, and fit that stem to its first layers.

    The batch norm of the stem holds the statistics of the noise, so that the value before ReLU6 is the fitted one.

    Args:
        model: Changed in place.
        whole: The same width without a patch stem; left in evaluation mode.
    """
    stem = model.stem
    assert isinstance(stem, PatchConv2d)
    model.blocks.load_state_dict(whole.blocks[PATCH_BLOCKS:].state_dict())
    whole.eval()
    images = noise_images(_COUNT, _SIDE)
    wanted = _before_last_relu6(whole, images).permute(0, 2, 3, 1).flatten(0, 2).double()
    patches = F.unfold(stem.pad(images), stem.kernel_size, stride=PATCH)
    rows = patches.transpose(1, 2).flatten(0, 1).double()
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], dim=1)
    gram = rows.T @ rows
    gram += torch.eye(len(gram), dtype=gram.dtype) * _RIDGE * gram.diagonal().mean()
    fitted = torch.linalg.solve(gram, rows.T @ wanted)  # [3 * height * width + 1, channels]

    sums = rows[:, :-1] @ fitted[:-1]
    bn = model.stem_bn
    assert bn.running_mean is not None and bn.running_var is not None
    stem.weight.copy_(fitted[:-1].T.reshape(stem.weight.shape))
    bn.running_mean.copy_(sums.mean(dim=0))
    bn.running_var.copy_(sums.var(dim=0))
    bn.weight.copy_((sums.var(dim=0) + bn.eps).sqrt())
    bn.bias.copy_(fitted[-1] + sums.mean(dim=0))


def _before_last_relu6(whole: MobileNetV1, x: Tensor) -> Tensor:
    """Return the input of the ReLU6 of the last replaced layer, [N, C, H/4, W/4]."""
    layers = list(whole.layers())[: 1 + 2 * PATCH_BLOCKS]
    for layer in layers[:-1]:
        x = whole.activation(layer.bn(layer.conv(x)))
    return layers[-1].bn(layers[-1].conv(x))
