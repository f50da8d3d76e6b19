"""An embedder without its L2 norm, for converters that would turn the norm into many operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from distill.models.embedder import Embedder

__all__ = ["without_norm"]


def without_norm(model: Embedder) -> torch.nn.Module:
    """Return a module from ``[N, 3, H, W]`` to ``[N, D]``, rows not normalized; it shares the weights of ``model``."""
    import torch

    class Raw(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.linear = model.backbone, model.linear

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            pooled = self.backbone.after_pool(self.backbone(image).mean(dim=(2, 3)))
            return pooled if self.linear is None else self.linear(pooled)

    return Raw().eval()
