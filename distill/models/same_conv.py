"""Convolution with TensorFlow's SAME padding."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from distill.models.padding import same_padding

__all__ = ["SameConv2d"]


class SameConv2d(nn.Conv2d):
    """``nn.Conv2d`` with TensorFlow's SAME padding, for square kernels, without bias.

    Input [N, C, H, W], output [N, out, ceil(H / stride), ceil(W / stride)].
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride=stride, padding=0, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if kernel == 1 and stride == 1:
            return F.conv2d(x, self.weight, groups=self.groups)
        top, bottom = same_padding(x.shape[2], kernel, stride)
        left, right = same_padding(x.shape[3], kernel, stride)
        if top == bottom and left == right:
            return F.conv2d(x, self.weight, stride=stride, padding=(top, left), groups=self.groups)
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, self.weight, stride=stride, groups=self.groups)
