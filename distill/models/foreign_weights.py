"""Rename weights of other packages to timm's names and take over their input scaling.

The networks are identical layer by layer; only the names differ. Both packages list the blocks in
network order, so block k of one is block k of the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from distill.console import Failure

__all__ = ["LAYOUTS", "ForeignLayout", "adopt"]

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclass(frozen=True)
class ForeignLayout:
    """The names that one package gives its weights.

    Attributes:
        name: For messages and the record of origin.
        mark: A key that only this layout has.
        targets: Names of the timm networks that these weights fit.
        example: An ``--arch`` for these weights, for messages.
        rename: Maps (keys, names of timm's blocks in order) to a table from old to new keys, without the classifier.
        mean, std: Scaling that these weights were trained with, 0..255 units.
    """

    name: str
    mark: str
    targets: re.Pattern[str]
    example: str
    rename: Callable[[Iterable[str], list[str]], dict[str, str]]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def adopt(
    state: Mapping[str, Tensor], timm_name: str, wanted: Iterable[str], where: str
) -> tuple[dict[str, Tensor], ForeignLayout | None]:
    """Rename ``state`` to timm's names.

    Args:
        state: Names to tensors.
        timm_name: Network to be filled, without ``timm:``.
        wanted: Names in that network, in its order.
        where: File name for the message.

    Returns:
        The renamed tensors and the layout they had; ``state`` and ``None`` if no layout is recognised.

    Raises:
        Failure: weights of a known layout, but of another network.
    """
    wanted = list(wanted)
    layout = next((it for it in LAYOUTS if it.mark in state and it.mark not in wanted), None)
    if layout is None:
        return dict(state), None
    if not layout.targets.match(timm_name):
        raise Failure(f"{where}: weights of {layout.name}, not of {timm_name}", f"use --arch {layout.example}")
    blocks = list(dict.fromkeys(m[0] for key in wanted if (m := re.match(r"blocks\.\d+\.\d+\b", key))))
    names = layout.rename(state, blocks)
    return {names[key]: value for key, value in state.items() if key in names}, layout


def _rename_by_rules(
    keys: Iterable[str],
    block: re.Pattern[str],
    inside: Callable[[int, str, set[str]], str | None],
    outside: dict[str, str],
    blocks: list[str],
) -> dict[str, str]:
    keys = list(keys)
    parts: dict[int, set[str]] = {}
    for key in keys:
        if match := block.match(key):
            parts.setdefault(int(match[1]), set()).add(match[2].rsplit(".", 1)[0])
    order = {number: position for position, number in enumerate(sorted(parts))}
    names = {}
    for key in keys:
        layer, _, variable = key.rpartition(".")
        match = block.match(key)
        if match:
            number = int(match[1])
            new = inside(number, match[2].rsplit(".", 1)[0], parts[number])
            # A surplus block keeps its name, and is therefore reported as unknown.
            known = order[number] < len(blocks) and new is not None
            names[key] = f"{blocks[order[number]]}.{new}.{variable}" if known else key
        elif layer in outside:
            names[key] = f"{outside[layer]}.{variable}"
        elif layer.split(".")[0] not in ("_fc", "classifier"):
            names[key] = key
    return names


def _efficientnet(keys: Iterable[str], blocks: list[str]) -> dict[str, str]:
    """lukemelas' EfficientNet-PyTorch without squeeze-and-excitation (the lite family)."""
    expanded = {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
        "_project_conv": "conv_pwl", "_bn2": "bn3",
    }  # fmt: skip
    plain = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}

    def inside(_: int, part: str, parts: set[str]) -> str | None:
        return (expanded if "_expand_conv" in parts else plain).get(part)

    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    return _rename_by_rules(keys, re.compile(r"_blocks\.(\d+)\.(.+)$"), inside, outside, blocks)


def _mobilenet_v2(keys: Iterable[str], blocks: list[str]) -> dict[str, str]:
    """torchvision.models.mobilenet_v2: features.0 stem, 1..17 blocks, 18 head."""
    expanded = {
        "conv.0.0": "conv_pw", "conv.0.1": "bn1", "conv.1.0": "conv_dw", "conv.1.1": "bn2",
        "conv.2": "conv_pwl", "conv.3": "bn3",
    }  # fmt: skip
    plain = {"conv.0.0": "conv_dw", "conv.0.1": "bn1", "conv.1": "conv_pw", "conv.2": "bn2"}

    def inside(_: int, part: str, parts: set[str]) -> str | None:
        return (expanded if "conv.3" in parts else plain).get(part)

    outside = {"features.0.0": "conv_stem", "features.0.1": "bn1", "features.18.0": "conv_head", "features.18.1": "bn2"}
    return _rename_by_rules(keys, re.compile(r"features\.(\d+)\.(conv\..+)$"), inside, outside, blocks)


LAYOUTS = (
    ForeignLayout(
        name="EfficientNet-lite (lukemelas' names)",
        mark="_conv_stem.weight",
        targets=re.compile(r"(tf_)?efficientnet_lite[0-4]\b"),
        example="timm:tf_efficientnet_lite0 (to 4)",
        rename=_efficientnet,
        # TensorFlow's lite networks use (x - 127) / 128; timm's configuration says 127.5.
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
    ),
    ForeignLayout(
        name="torchvision mobilenet_v2",
        mark="features.1.conv.0.0.weight",
        targets=re.compile(r"mobilenetv2_100\b"),
        example="timm:mobilenetv2_100",
        rename=_mobilenet_v2,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    ),
)
