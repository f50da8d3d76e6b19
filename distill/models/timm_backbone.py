"""Any network of the timm library as a backbone."""

from __future__ import annotations

import math

import timm
from torch import Tensor, nn

from distill.console import Failure, UsageFailure, suggest
from distill.models.backbone import Backbone

__all__ = ["TimmBackbone"]

STRIDES = (4, 8, 16, 32)


class TimmBackbone(Backbone):
    """A timm network up to its last feature map (``forward_features``), without its classifier.

    Maps are [N, C, h, w] whatever the network's own layout; of a transformer the patch tokens are
    taken, class and register tokens dropped.

    Args:
        name: timm's name, e.g. ``resnet50`` or ``tf_efficientnet_lite2.in1k``.
        pretrained: fetch timm's ImageNet weights.
        arch: name to carry.

    Raises:
        UsageFailure: unknown name, or a network that does not give its intermediate maps.
        Failure: the weights cannot be fetched.
    """

    def __init__(self, name: str, pretrained: bool = False, arch: str = "") -> None:
        super().__init__()
        self.arch = arch or f"timm:{name}"
        self.timm_name = name
        plain = name.split(".")[0]
        if not timm.is_model(plain):
            raise UsageFailure(f"unknown timm network '{name}'", _nearest(plain))
        self.net = _create(name, pretrained, self.arch)
        if not hasattr(self.net, "forward_intermediates") or not hasattr(self.net, "feature_info"):
            raise UsageFailure(f"timm network '{name}' does not give its intermediate maps", "choose another --arch")
        self.feature_size = self.net.num_features
        self._stages = _stage_indices(list(self.net.feature_info), self.arch)
        info = [self.net.feature_info[i] for i in self._stages]
        self.stage_channels = (*(entry["num_chs"] for entry in info[:-1]), self.feature_size)
        self.stage_strides = tuple(entry["reduction"] for entry in info)
        config = self.net.pretrained_cfg
        self.mean = tuple(round(255.0 * value, 6) for value in config["mean"])
        self.std = tuple(round(255.0 * value, 6) for value in config["std"])
        if config.get("fixed_input_size"):
            self.fixed_input_size = config["input_size"][-1]

    def forward(self, x: Tensor) -> Tensor:
        return self._as_map(self.net.forward_features(x))

    def stages(self, x: Tensor) -> list[Tensor]:
        last, maps = self.net.forward_intermediates(x, indices=self._stages[:-1], output_fmt="NCHW")
        return [*maps, self._as_map(last)]

    def _as_map(self, features: Tensor) -> Tensor:
        if features.ndim == 4:
            last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
            return features.permute(0, 3, 1, 2) if last else features
        tokens = features[:, getattr(self.net, "num_prefix_tokens", 0) :]
        side = math.isqrt(tokens.shape[1])
        return tokens.transpose(1, 2).unflatten(2, (side, side))


def _create(name: str, pretrained: bool, arch: str) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, global_pool="")
    except Exception as error:  # the hub's clients raise many unrelated types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if pretrained:
            raise Failure(
                f"{arch}: its ImageNet weights could not be fetched: {reason}",
                "connect to the network, or get the file elsewhere and give --weights FILE",
            ) from error
        raise UsageFailure(f"{arch}: timm cannot build it: {reason}", "choose another --arch") from error


def _stage_indices(info: list[dict], arch: str) -> list[int]:
    """Per stride 4, 8, 16, 32 the last map; without such a pyramid four maps at equal depths."""
    by_stride = {entry["reduction"]: index for index, entry in enumerate(info)}
    if all(stride in by_stride for stride in STRIDES):
        return [by_stride[stride] for stride in STRIDES]
    if len(info) < len(STRIDES):
        raise UsageFailure(f"{arch}: gives only {len(info)} intermediate maps", "choose another --arch")
    return [len(info) * quarter // len(STRIDES) - 1 for quarter in range(1, len(STRIDES) + 1)]


def _nearest(name: str) -> str:
    known = timm.list_models()
    cure = suggest(name, known)
    return cure if len(cure) < 100 else "see timm.list_models()"
