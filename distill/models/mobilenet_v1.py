"""MobileNetV1 with a width multiplier, layer for layer Keras' ``applications.MobileNet``:
SAME padding, batch norm with epsilon 1e-3, ReLU6, no convolution bias. And the same with a faster first part.

Source: Howard et al., "MobileNets" (arXiv 1704.04861), table 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from torch import Tensor, nn

from distill.models.backbone import Backbone
from distill.models.patch_conv import PatchConv2d
from distill.models.same_conv import SameConv2d
from distill.models.steps import ConvStep, Step

__all__ = ["ConvLayer", "MobileNetV1"]

# Table 1 of the paper: output channels at alpha 1 and stride of each depthwise-separable block.
BLOCKS = (
    (64, 1),
    (128, 2), (128, 1),
    (256, 2), (256, 1),
    (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
    (1024, 2), (1024, 1),
)  # fmt: skip
STEM_FILTERS = 32
STAGE_ENDS = (3, 5, 11, 13)  # number of blocks after which strides 4, 8, 16, 32 end
BN_EPSILON = 1e-3
PATCH_BLOCKS = 2  # that a patch stem replaces, with the first convolution


class ConvLayer(NamedTuple):
    """One convolution and the batch norm that follows it (then always ReLU6).

    Attributes:
        name: Keras' name of the layer: ``conv1``, ``conv_dw_7``, ``conv_pw_7``; ``conv_patch`` for a patch stem.
        kind: ``conv`` (weight [out, 3, height, width]), ``depthwise`` (3x3, weight [C, 1, 3, 3])
            or ``pointwise`` (1x1, weight [out, in, 1, 1]).
        conv: no bias, SAME padding; a ``PatchConv2d`` pads as it says.
        bn: its batch norm; fold with
            ``scale = weight / sqrt(running_var + eps)``, ``bias = bias - running_mean * scale``.
        stride: the same on both axes.
    """

    name: str
    kind: Literal["conv", "depthwise", "pointwise"]
    conv: SameConv2d | PatchConv2d
    bn: nn.BatchNorm2d
    stride: int


class SeparableBlock(nn.Module):
    """3x3 depthwise, batch norm, ReLU6, 1x1 pointwise, batch norm, ReLU6."""

    def __init__(self, channels: int, out: int, stride: int, bn_momentum: float) -> None:
        super().__init__()
        self.depthwise = SameConv2d(channels, channels, kernel=3, stride=stride, groups=channels)
        self.depthwise_bn = nn.BatchNorm2d(channels, eps=BN_EPSILON, momentum=bn_momentum)
        self.pointwise = SameConv2d(channels, out, kernel=1)
        self.pointwise_bn = nn.BatchNorm2d(out, eps=BN_EPSILON, momentum=bn_momentum)
        self.activation = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.depthwise_bn(self.depthwise(x)))
        return self.activation(self.pointwise_bn(self.pointwise(x)))


class MobileNetV1(Backbone):
    """The backbone: scaled pixels [N, 3, H, W] to [N, int(1024 * alpha), H/32, W/32].

    Keras pads the strided depthwise layers by (0, 1) whatever the size; here it is SAME, as in the
    original TensorFlow network. They differ only where a map's side is odd, so not for inputs that
    are multiples of 32.

    Args:
        alpha: width multiplier; channels are ``int(filters * alpha)`` as in Keras.
        bn_momentum: share of each batch in the running statistics. Keras trains with 0.99, which
            is 0.01 here: too slow for a fine-tuning of some hundred steps, hence 0.1.
        arch: name to carry.
        patch: one convolution at stride 4 (``PatchConv2d``) in place of the first convolution and blocks 1 and 2; the
            network goes on with block 3.
    """

    def __init__(self, alpha: float = 1.0, bn_momentum: float = 0.1, arch: str = "", patch: bool = False) -> None:
        super().__init__()
        if alpha <= 0:
            raise ValueError(f"alpha must be positive, not {alpha}")
        self.alpha = alpha
        self.patch = patch
        self.arch = arch or f"mobilenet_v1_{round(alpha * 100):03d}" + ("_patch" if patch else "")
        # x/127.5 - 1 in Keras; 128 makes an int8 input exactly pixel - 128 and moves it by < 0.008.
        self.mean = self.std = (128.0, 128.0, 128.0)

        skipped = PATCH_BLOCKS if patch else 0
        self.first_block = skipped + 1
        channels = int((BLOCKS[skipped - 1][0] if patch else STEM_FILTERS) * alpha)
        self.stem = PatchConv2d(3, channels) if patch else SameConv2d(3, channels, kernel=3, stride=2)
        self.stem_bn = nn.BatchNorm2d(channels, eps=BN_EPSILON, momentum=bn_momentum)
        self.activation = nn.ReLU6()
        self.blocks = nn.ModuleList()
        widths = []
        for filters, stride in BLOCKS[skipped:]:
            out = int(filters * alpha)
            self.blocks.append(SeparableBlock(channels, out, stride, bn_momentum))
            channels = out
            widths.append(out)
        self.feature_size = channels
        self.stage_channels = tuple(widths[end - self.first_block] for end in STAGE_ENDS)
        self.stage_strides = (4, 8, 16, 32)
        for layer in self.layers():
            # fan_in: PyTorch's fan_out forgets the groups and would make depthwise weights vanish.
            nn.init.kaiming_normal_(layer.conv.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.stem_bn(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return x

    def stages(self, x: Tensor) -> list[Tensor]:
        """Maps at strides 4, 8, 16, 32 with int(128|256|512|1024 * alpha) channels."""
        x = self.activation(self.stem_bn(self.stem(x)))
        maps = []
        for number, block in enumerate(self.blocks, start=self.first_block):
            x = block(x)
            if number in STAGE_ENDS:
                maps.append(x)
        return maps

    def layers(self) -> Iterator[ConvLayer]:
        """The 27 convolutions (23 with a patch stem) from input to output; ReLU6 follows each batch norm, nothing else.

        So the whole network in inference is, for each layer in turn,
        ``x = relu6(bn(conv_same(x, stride)))``.
        """
        yield ConvLayer("conv_patch" if self.patch else "conv1", "conv", self.stem, self.stem_bn, self.stem.stride[0])
        for number, block in enumerate(self.blocks, start=self.first_block):
            yield ConvLayer(
                f"conv_dw_{number}", "depthwise", block.depthwise, block.depthwise_bn, block.depthwise.stride[0]
            )
            yield ConvLayer(f"conv_pw_{number}", "pointwise", block.pointwise, block.pointwise_bn, 1)

    def folding_steps(self) -> list[Step]:
        """Return ``layers()`` in the form that export folds (``distill.models.steps``)."""
        return [
            ConvStep(layer.name, layer.conv, layer.bn, True, "right" if isinstance(layer.conv, PatchConv2d) else None)
            for layer in self.layers()
        ]
