"""Networks: backbones, the embedding head, checkpoints.

Nothing is imported eagerly: ``distill.models.info`` is free of torch, the rest is torch code.
"""

from __future__ import annotations

__all__: list[str] = []
