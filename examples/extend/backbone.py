"""A backbone of your own: five strided convolutions with batch norm and ReLU6, 98,000 weights.

Save it in a package of yours and register it as ``my_package.nano:NANO`` (see CONTRIBUTING.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from distill.models.backbone import Backbone
from distill.models.registry import BackboneSpec
from distill.models.steps import Residual, Step

CHANNELS = (8, 16, 32, 64, 128)  # at strides 2, 4, 8, 16 and 32


class NanoNet(Backbone):
    """Scaled pixels [N, 3, H, W] to a map [N, 128, H/32, W/32]."""

    def __init__(self, arch: str) -> None:
        super().__init__()
        self.arch = arch
        self.mean = self.std = (128.0, 128.0, 128.0)  # int8 input is then exactly pixel - 128
        self.feature_size = CHANNELS[-1]
        self.stage_channels = (16, 32, 64, 128)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            for before, after in zip((3, *CHANNELS[:-1]), CHANNELS, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)[-1]

    def stages(self, x: Tensor) -> list[Tensor]:
        maps = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = nn.functional.relu6(norm(conv(x)))
            maps.append(x)
        return maps[1:]

    def steps(self) -> list[Step | Residual]:
        """Optional: with it, ``distill-export`` folds the network and offers every quantization scheme."""
        pairs = cast(Iterable[tuple[nn.Conv2d, nn.BatchNorm2d]], zip(self.convs, self.norms, strict=True))
        return [
            Step(f"conv{number}", conv, norm, relu6=True, padding=1)
            for number, (conv, norm) in enumerate(pairs, start=1)
        ]


NANO = BackboneSpec(build=NanoNet)
