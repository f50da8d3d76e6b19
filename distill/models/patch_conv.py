"""The convolution of a patch stem: one window for every fourth pixel."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from distill.models.padding import same_padding

__all__ = ["PATCH", "PatchConv2d"]

PATCH = 4


class PatchConv2d(nn.Conv2d):
    """7 x 8 pixels at stride 4, without bias: [N, 3, H, W] to [N, out, ceil(H / 4), ceil(W / 4)].

    Output column ``j`` reads input columns ``4 j`` to ``4 j + 7``: two whole groups of four pixels. The same sums
    can therefore be computed from the image viewed as ``[H, W / 4, 12]``, which has the same memory layout, with a
    kernel of 7 x 2 groups. A processor that multiplies eight or sixteen channels at once is mostly idle with 3 channels and
    busy with 12. Rows are padded as in TensorFlow's SAME, columns with zeros on the right.

    The window is that of MobileNetV1's first layers up to stride 4 (pixels ``4 j - 2`` to ``4 j + 8``), cut to whole
    groups.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, (7, 2 * PATCH), stride=PATCH, padding=0, bias=False)

    def pad(self, x: Tensor) -> Tensor:
        """Add the zeros that the outer windows reach into."""
        top, bottom = same_padding(x.shape[2], self.kernel_size[0], PATCH)
        return F.pad(x, (0, self.kernel_size[1] - PATCH + -x.shape[3] % PATCH, top, bottom))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.pad(x), self.weight, stride=PATCH)
