"""Versions of the software that made a checkpoint."""

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
    """Return the versions of Python and of the packages that results depend on, and the kind of machine."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
