"""Backbones, the embedding network and checkpoints.

Import from the modules. ``distill.models.info`` and ``distill.models.registry`` do not import torch, the others do.
"""

from __future__ import annotations

__all__: list[str] = []
