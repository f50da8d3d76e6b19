"""The table of backbones, and how one is built by name. Importing this module does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distill.console import UsageFailure, suggest
from distill.registry import Registry

if TYPE_CHECKING:
    from distill.models.backbone import Backbone

__all__ = ["BACKBONES", "BackboneSpec", "arch_help", "build_backbone"]

IMAGENET = "imagenet"
TIMM = "timm:"


@dataclass(frozen=True)
class BackboneSpec:
    """How one backbone is built.

    Attributes:
        build: Called with the name of the backbone (its ``arch``); returns the network with random weights.
        build_pretrained: The same with ImageNet weights, downloaded if need be; None if none are published.
    """

    build: Callable[[str], Backbone]
    build_pretrained: Callable[[str], Backbone] | None = None


BACKBONES: Registry[BackboneSpec] = Registry(
    "backbone",
    BackboneSpec,
    {
        "mobilenet_v1_025": "distill.models.mobilenet_v1:MOBILENET_V1_025",
        "mobilenet_v1_025_patch": "distill.models.mobilenet_v1:MOBILENET_V1_025_PATCH",
        "mobilenet_v1_050": "distill.models.mobilenet_v1:MOBILENET_V1_050",
        "mobilenet_v1_075": "distill.models.mobilenet_v1:MOBILENET_V1_075",
        "mobilenet_v1_100": "distill.models.mobilenet_v1:MOBILENET_V1_100",
        "resnet18": "distill.models.timm_backbone:RESNET18",
        "resnet34": "distill.models.timm_backbone:RESNET34",
        "resnet50": "distill.models.timm_backbone:RESNET50",
        "resnet101": "distill.models.timm_backbone:RESNET101",
    },
    group="distill_to_phone.backbones",
)


def arch_help() -> str:
    """The values of ``--arch``, for help texts."""
    return f"{', '.join(BACKBONES.names())} or timm:NAME."


def build_backbone(arch: str, weights: str | Path | None = None) -> Backbone:
    """Build a backbone.

    Args:
        arch: A name in ``BACKBONES``, or ``timm:NAME`` for any network of the timm library.
        weights: ``None`` (random), ``"imagenet"`` (downloaded), or a file: .safetensors, .pth or .pt, and whatever
            else the backbone's ``load_weights`` reads. Names and shapes have to fit; the classifier is ignored.

    Returns:
        The backbone in training mode. ``backbone.weights`` records where the weights come from; ``mean`` and ``std``
        are those of the weights.

    Raises:
        UsageFailure: unknown name, unknown kind of file, or no published ImageNet weights.
        Failure: weights that are missing, damaged, of another network, or cannot be downloaded.
    """
    spec = _spec(arch)
    if str(weights) == IMAGENET:
        if spec.build_pretrained is None:
            raise UsageFailure(f"{arch}: has no ImageNet weights", "give --weights FILE, or leave it out")
        backbone = spec.build_pretrained(arch)
        backbone.weights.setdefault("source", IMAGENET)
        return backbone
    backbone = spec.build(arch)
    if weights is not None:
        backbone.load_weights(Path(weights))
    return backbone


def _spec(arch: str) -> BackboneSpec:
    if arch in BACKBONES:
        return BACKBONES[arch]
    if arch.startswith(TIMM) and len(arch) > len(TIMM):
        from distill.models.timm_backbone import timm_spec

        return timm_spec(arch.removeprefix(TIMM))
    raise UsageFailure(f"unknown backbone '{arch}'", suggest(arch, [*BACKBONES.names(), "timm:NAME"]))
