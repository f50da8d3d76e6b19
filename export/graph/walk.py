"""Lists the convolutions of a backbone, for the networks that can be folded.

A backbone lists them itself (``Backbone.steps``). Those of timm's MobileNetV2 and EfficientNet-lite, which share one
class and one kind of block, are listed here. They are recognized by their parts, not by name: ReLU6 or nothing after
each batch norm, no squeeze-and-excitation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from distill.models.steps import Residual, Step

if TYPE_CHECKING:
    from distill.models.backbone import Backbone

__all__ = ["walk"]


class _UnknownPart(Exception):
    """A part of a network that no rule covers."""


def walk(backbone: Backbone) -> list[Step | Residual] | None:
    """Return every step from the image to the last feature map, in order; ``None`` if the network cannot be folded."""
    steps = backbone.steps()
    if steps is not None:
        return steps
    network = getattr(backbone, "net", None)
    if type(network).__name__ != "EfficientNet" or not type(network).__module__.startswith("timm."):
        return None
    try:
        return list(_efficientnet(network))
    except _UnknownPart:
        return None


def _efficientnet(network: Any) -> Iterator[Step | Residual]:
    yield _step("conv_stem", network.conv_stem, network.bn1)
    before = "conv_stem"
    for stage_number, stage in enumerate(network.blocks):
        for number, block in enumerate(stage):
            name = f"blocks.{stage_number}.{number}"
            steps: list[Step | Residual] = [*_block(name, block)]
            if block.has_skip:
                steps.append(Residual(f"{name}.add", before))
            yield from steps
            before = steps[-1].name
    yield _step("conv_head", network.conv_head, network.bn2)


def _block(name: str, block: Any) -> Iterator[Step]:
    from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
    from torch import nn

    parts = {
        DepthwiseSeparableConv: (("conv_dw", "bn1"), ("conv_pw", "bn2")),
        InvertedResidual: (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
    }.get(type(block))
    if (
        parts is None
        or block.conv_s2d is not None
        or any(type(part) is not nn.Identity for part in (block.aa, block.se))
    ):
        raise _UnknownPart(name)
    for conv, bn in parts:
        yield _step(f"{name}.{conv}", getattr(block, conv), getattr(block, bn))


def _step(name: str, conv: Any, bn: Any) -> Step:
    from timm.layers import BatchNormAct2d, Conv2dSame
    from torch import nn

    same = type(conv) is Conv2dSame
    known = (
        type(conv) in (nn.Conv2d, Conv2dSame)
        and type(bn) is BatchNormAct2d
        and type(bn.act) in (nn.ReLU6, nn.Identity)
        and conv.bias is None
        and conv.groups in (1, conv.in_channels)
        and (conv.groups == 1 or conv.out_channels == conv.in_channels)
        and all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride))
        and set(conv.dilation) == {1}
        and (same or (not isinstance(conv.padding, str) and len(set(conv.padding)) == 1))
        and conv.padding_mode == "zeros"
    )
    if not known:
        raise _UnknownPart(name)
    return Step(name, conv, bn, type(bn.act) is nn.ReLU6, None if same else conv.padding[0])
