"""Networks of the timm library as backbones."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import timm
from timm.layers.classifier import NormMlpClassifierHead
from torch import Tensor, nn

from distill.console import Failure, UsageFailure, suggest
from distill.console.errors import first_line
from distill.models.backbone import Backbone
from distill.models.foreign_weights import adopt
from distill.models.registry import BackboneSpec
from distill.models.weights_file import load_matching, read_matching, weights_record

__all__ = ["TimmBackbone", "timm_spec"]

STRIDES = (4, 8, 16, 32)


class TimmBackbone(Backbone):
    """A timm network up to its last feature map (``forward_features``), without its classifier.

    Maps are [N, C, h, w] for every layout of the network. For a transformer they hold the patch tokens;
    class and register tokens are dropped.

    Args:
        name: Name in timm, e.g. ``resnet50`` or ``tf_efficientnet_lite2.in1k``.
        pretrained: Download timm's ImageNet weights.
        arch: Name of the backbone. Default: ``timm:`` and ``name``.

    Raises:
        UsageFailure: unknown name, or a network that does not expose intermediate maps.
        Failure: the weights cannot be downloaded.
    """

    net: Any  # a timm network, whose attributes have no declared types

    def __init__(self, name: str, pretrained: bool = False, arch: str = "") -> None:
        super().__init__()
        self.arch = arch or f"timm:{name}"
        self.timm_name = name
        plain = name.split(".")[0]
        if not timm.is_model(plain):
            raise UsageFailure(f"unknown timm network '{name}'", _nearest(plain))
        self.net = _create(name, pretrained, self.arch)
        if not hasattr(self.net, "forward_intermediates") or not hasattr(self.net, "feature_info"):
            raise UsageFailure(f"timm network '{name}' does not expose intermediate maps", "choose another --arch")
        self.feature_size = self.net.num_features
        self._stages = _stage_indices(list(self.net.feature_info), self.arch)
        a, b, c, d = (self.net.feature_info[i] for i in self._stages)
        self.stage_channels = (a["num_chs"], b["num_chs"], c["num_chs"], self.feature_size)
        self.stage_strides = (a["reduction"], b["reduction"], c["reduction"], d["reduction"])
        config = self.net.pretrained_cfg
        self.mean, self.std = _pixel_units(config["mean"]), _pixel_units(config["std"])
        self.head_norm = isinstance(getattr(self.net, "head", None), NormMlpClassifierHead)
        if config.get("fixed_input_size"):
            self.fixed_input_size = config["input_size"][-1]

    def forward(self, x: Tensor) -> Tensor:
        return self._as_map(self.net.forward_features(x))

    def stages(self, x: Tensor) -> list[Tensor]:
        last, maps = self.net.forward_intermediates(x, indices=self._stages[:-1], output_fmt="NCHW")
        return [*maps, self._as_map(last)]

    def after_pool(self, pooled: Tensor) -> Tensor:
        return self.net.head.norm(pooled[:, :, None, None])[:, :, 0, 0] if self.head_norm else pooled

    def load_weights(self, path: Path) -> None:
        """Load weights under timm's names, or under those of another package that ``foreign_weights`` supports.

        Weights of another package bring their own ``mean`` and ``std``.
        """
        state, foreign = adopt(read_matching(path, self.net), self.timm_name, self.net.state_dict(), str(path))
        load_matching(self.net, state, str(path))
        if foreign is None:
            self.weights = weights_record(path)
        else:
            self.mean, self.std = foreign.mean, foreign.std
            self.weights = weights_record(path, foreign.name)

    def _as_map(self, features: Tensor) -> Tensor:
        if features.ndim == 4:
            last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
            return features.permute(0, 3, 1, 2) if last else features
        tokens = features[:, getattr(self.net, "num_prefix_tokens", 0) :]
        side = math.isqrt(tokens.shape[1])
        return tokens.transpose(1, 2).unflatten(2, (side, side))


def timm_spec(name: str) -> BackboneSpec:
    """Return the spec of any timm network, e.g. ``resnet50`` or ``tf_efficientnet_lite2.in1k``."""
    return BackboneSpec(partial(_build, name, False), partial(_build, name, True))


def _build(name: str, pretrained: bool, arch: str) -> TimmBackbone:
    return TimmBackbone(name, pretrained=pretrained, arch=arch)


RESNET18 = timm_spec("resnet18")
RESNET34 = timm_spec("resnet34")
RESNET50 = timm_spec("resnet50")
RESNET101 = timm_spec("resnet101")


def _create(name: str, pretrained: bool, arch: str) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, global_pool="")
    except Exception as error:  # the hub's clients raise many unrelated types
        reason = first_line(error)
        if pretrained:
            raise Failure(
                f"{arch}: its ImageNet weights could not be fetched: {reason}",
                "connect to the network, or get the file elsewhere and give --weights FILE",
            ) from error
        raise UsageFailure(f"{arch}: timm cannot build it: {reason}", "choose another --arch") from error


def _pixel_units(values: tuple[float, float, float]) -> tuple[float, float, float]:
    """Convert timm's 0..1 units to 0..255."""
    red, green, blue = (round(255.0 * value, 6) for value in values)
    return red, green, blue


def _stage_indices(info: list[dict[str, Any]], arch: str) -> list[int]:
    """Return the last map of strides 4, 8, 16 and 32; without such a pyramid, four maps at equal depths."""
    by_stride = {entry["reduction"]: index for index, entry in enumerate(info)}
    if all(stride in by_stride for stride in STRIDES):
        return [by_stride[stride] for stride in STRIDES]
    if len(info) < len(STRIDES):
        raise UsageFailure(f"{arch}: has only {len(info)} intermediate maps", "choose another --arch")
    return [len(info) * quarter // len(STRIDES) - 1 for quarter in range(1, len(STRIDES) + 1)]


def _nearest(name: str) -> str:
    known = timm.list_models()
    cure = suggest(name, known)
    return cure if len(cure) < 100 else "see timm.list_models()"
