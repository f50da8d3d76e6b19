"""A patch stem that begins as the layers it replaces: weights of the whole MobileNetV1 serve the faster one.

What the first convolution and blocks 1 and 2 compute of a picture is nearly linear. The linear map nearest to it (ridge
regression, in closed form) is found on noise with the spectrum of photographs, so that no picture is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.models.mobilenet_v1 import PATCH_BLOCKS, MobileNetV1
from distill.models.patch_conv import PATCH

__all__ = ["noise_pictures", "start_from_whole"]

_COUNT, _SIDE = 64, 128
_RIDGE = 1e-3  # times the mean square of an input
# Brightness, blue against yellow and green against magenta, as in photographs: most is brightness.
_COLOURS = ((0.7, 0.4, 0.2), (0.7, 0.0, -0.4), (0.7, -0.4, 0.2))
_CONTRASTS = (1.0, 0.35, 0.2)
_SPREAD, _MEAN_SPREAD = 0.55, 0.25


def noise_pictures(count: int, side: int, seed: int = 0) -> Tensor:
    """Noise whose amplitude falls with frequency as in photographs: float32 [count, 3, side, side] in [-1, 1].

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
    pictures = torch.einsum("ij,njhw->nihw", torch.tensor(_COLOURS), pink) * _SPREAD
    means = torch.randn(count, 3, 1, 1, generator=generator) * _MEAN_SPREAD
    return (pictures + means).clamp(-1, 1)


@torch.no_grad()
def start_from_whole(model: MobileNetV1, whole: MobileNetV1) -> None:
    """Give ``model``, which has a patch stem, the blocks of ``whole`` and a stem fitted to its first layers.

    The stem's batch norm holds the statistics of the noise, so that the sum before ReLU6 is the fitted one.

    Args:
        model: filled in place.
        whole: the same width without a patch stem; left in evaluation mode.
    """
    model.blocks.load_state_dict(whole.blocks[PATCH_BLOCKS:].state_dict())
    whole.eval()
    pictures = noise_pictures(_COUNT, _SIDE)
    wanted = _before_last_relu6(whole, pictures).permute(0, 2, 3, 1).flatten(0, 2).double()
    patches = F.unfold(model.stem.pad(pictures), model.stem.kernel_size, stride=PATCH)
    rows = patches.transpose(1, 2).flatten(0, 1).double()
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], dim=1)
    gram = rows.T @ rows
    gram += torch.eye(len(gram), dtype=gram.dtype) * _RIDGE * gram.diagonal().mean()
    fitted = torch.linalg.solve(gram, rows.T @ wanted)  # [3 * height * width + 1, channels]

    sums = rows[:, :-1] @ fitted[:-1]
    bn = model.stem_bn
    model.stem.weight.copy_(fitted[:-1].T.reshape(model.stem.weight.shape))
    bn.running_mean.copy_(sums.mean(dim=0))
    bn.running_var.copy_(sums.var(dim=0))
    bn.weight.copy_((sums.var(dim=0) + bn.eps).sqrt())
    bn.bias.copy_(fitted[-1] + sums.mean(dim=0))


def _before_last_relu6(whole: MobileNetV1, x: Tensor) -> Tensor:
    """What the last replaced layer hands to its ReLU6, [N, C, H/4, W/4]."""
    layers = list(whole.layers())[: 1 + 2 * PATCH_BLOCKS]
    for layer in layers[:-1]:
        x = whole.activation(layer.bn(layer.conv(x)))
    return layers[-1].bn(layers[-1].conv(x))
