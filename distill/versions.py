"""Versions of what made a checkpoint."""

from __future__ import annotations

import platform
from importlib import metadata

__all__ = ["versions"]

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "pytorch-metric-learning",
    "accelerate",
    "numpy",
    "pillow",
    "distill-to-phone",
)


def versions() -> dict[str, str]:
    """Python, the kind of machine, and the packages that numbers depend on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
