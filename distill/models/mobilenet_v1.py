"""MobileNetV1 with a width multiplier, identical to Keras' ``applications.MobileNet``, and a variant with a patch stem.

SAME padding, batch norm with epsilon 1e-3, ReLU6, no convolution bias.
Source: Howard et al., "MobileNets" (arXiv 1704.04861), table 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, cast

from torch import Tensor, nn

from distill.models.backbone import Backbone
from distill.models.patch_conv import PatchConv2d
from distill.models.registry import BackboneSpec
from distill.models.same_conv import SameConv2d
from distill.models.steps import Residual, Step
from distill.models.weights_file import load_matching, read_matching, weights_record

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
STAGE_ENDS = (3, 5, 11, 13)  # blocks after which strides 4, 8, 16 and 32 end, counted from 1
BN_EPSILON = 1e-3
PATCH_BLOCKS = 2  # blocks that a patch stem replaces, together with the first convolution
KERAS_SUFFIXES = (".h5", ".hdf5")


class ConvLayer(NamedTuple):
    """One convolution and the batch norm after it (ReLU6 always follows).

    Attributes:
        name: Keras' name of the layer: ``conv1``, ``conv_dw_7``, ``conv_pw_7``; ``conv_patch`` for a patch stem.
        kind: ``conv`` (weight [out, 3, height, width]), ``depthwise`` (3x3, weight [C, 1, 3, 3])
            or ``pointwise`` (1x1, weight [out, in, 1, 1]).
        conv: No bias; SAME padding, except for ``PatchConv2d``.
        bn: Its batch norm; fold with
            ``scale = weight / sqrt(running_var + eps)``, ``bias = bias - running_mean * scale``.
        stride: The same on both axes.
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
    """Scaled pixels [N, 3, H, W] to a map [N, int(1024 * alpha), H/32, W/32].

    Keras pads the strided depthwise layers by (0, 1) for every size; here the padding is SAME, as in
    the original TensorFlow network. The two differ only for maps with an odd side, so not for inputs
    whose sides are multiples of 32.

    Args:
        alpha: Width multiplier; channels are ``int(filters * alpha)`` as in Keras.
        bn_momentum: Weight of each batch in the running statistics. Keras trains with 0.99, which
            is 0.01 here: too slow for a fine-tuning of a few hundred steps, hence 0.1.
        arch: Name of the backbone. Default: ``mobilenet_v1_025`` and so on.
        patch: Replace the first convolution and blocks 1 and 2 by one convolution at stride 4 (``PatchConv2d``).
    """

    def __init__(self, alpha: float = 1.0, bn_momentum: float = 0.1, arch: str = "", patch: bool = False) -> None:
        super().__init__()
        if alpha <= 0:
            raise ValueError(f"alpha must be positive, not {alpha}")
        self.alpha = alpha
        self.patch = patch
        self.arch = arch or f"mobilenet_v1_{round(alpha * 100):03d}" + ("_patch" if patch else "")
        # x/127.5 - 1 in Keras; with 128 an int8 input is exactly pixel - 128, and values move by < 0.008.
        self.mean = self.std = (128.0, 128.0, 128.0)

        skipped = PATCH_BLOCKS if patch else 0
        self.first_block = skipped + 1
        channels = int((BLOCKS[skipped - 1][0] if patch else STEM_FILTERS) * alpha)
        self.stem: SameConv2d | PatchConv2d = (
            PatchConv2d(3, channels) if patch else SameConv2d(3, channels, kernel=3, stride=2)
        )
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
        a, b, c, d = (widths[end - self.first_block] for end in STAGE_ENDS)
        self.stage_channels = (a, b, c, d)
        for layer in self.layers():
            # fan_in: PyTorch's fan_out ignores the groups and would make depthwise weights vanish.
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
        """Yield the 27 convolutions (23 with a patch stem) from input to output.

        Inference is, for each layer in turn, ``x = relu6(bn(conv(x)))`` and nothing else.
        """
        yield ConvLayer("conv_patch" if self.patch else "conv1", "conv", self.stem, self.stem_bn, self.stem.stride[0])
        blocks = cast("Iterable[SeparableBlock]", self.blocks)
        for number, block in enumerate(blocks, start=self.first_block):
            yield ConvLayer(
                f"conv_dw_{number}", "depthwise", block.depthwise, block.depthwise_bn, block.depthwise.stride[0]
            )
            yield ConvLayer(f"conv_pw_{number}", "pointwise", block.pointwise, block.pointwise_bn, 1)

    def steps(self) -> list[Step | Residual]:
        return [
            Step(layer.name, layer.conv, layer.bn, True, "right" if isinstance(layer.conv, PatchConv2d) else None)
            for layer in self.layers()
        ]

    def load_weights(self, path: Path) -> None:
        """Load a PyTorch or safetensors file, or Keras' .h5.

        A network with a patch stem also takes weights of the whole network; its stem is then fitted to the layers
        that it replaces.
        """
        # The network that the file may hold beside this one.
        whole = MobileNetV1(self.alpha) if self.patch else None
        if path.suffix.lower() in KERAS_SUFFIXES:
            from distill.models.keras_weights import keras_state_dict

            source = whole or self
            state = keras_state_dict(path, source)
            layout = "Keras MobileNet"
        else:
            source = self
            state = read_matching(path, self)
            layout = "own names"
            # The stem's window tells the two apart: neither a head nor another width makes a whole network.
            stem = state.get("stem.weight")
            if whole is not None and stem is not None and stem.shape[1:] == whole.stem.weight.shape[1:]:
                source = whole
        load_matching(source, state, str(path))
        if source is whole:
            from distill.models.patch_stem import start_from_whole

            start_from_whole(self, source)
            layout += ", first layers fitted"
        self.weights = weights_record(path, layout)


def _build(alpha: float, arch: str, patch: bool = False) -> MobileNetV1:
    return MobileNetV1(alpha, arch=arch, patch=patch)


def _build_pretrained(alpha: float, arch: str, patch: bool = False) -> MobileNetV1:
    from distill.models.keras_weights import download_imagenet

    model = _build(alpha, arch, patch)
    model.load_weights(download_imagenet(alpha))
    return model


def _spec(alpha: float, patch: bool = False) -> BackboneSpec:
    return BackboneSpec(partial(_build, alpha, patch=patch), partial(_build_pretrained, alpha, patch=patch))


MOBILENET_V1_025 = _spec(0.25)
MOBILENET_V1_025_PATCH = _spec(0.25, patch=True)
MOBILENET_V1_050 = _spec(0.50)
MOBILENET_V1_075 = _spec(0.75)
MOBILENET_V1_100 = _spec(1.0)
