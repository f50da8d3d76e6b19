"""Convolution with TensorFlow's SAME padding."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SameConv2d", "same_padding"]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros that TensorFlow's ``SAME`` puts before and after one axis.

    The output has ``ceil(size / stride)`` cells, the padding is
    ``max((cells - 1) * stride + kernel - size, 0)``, and the odd zero comes *after*
    (TensorFlow, "Notes on padding combination conventions", tf.nn).

    >>> same_padding(224, kernel=3, stride=2)  # PyTorch's padding=1 would be (1, 1)
    (0, 1)
    >>> same_padding(7, kernel=3, stride=2)
    (1, 1)
    """
    cells = -(-size // stride)
    total = max((cells - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


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
