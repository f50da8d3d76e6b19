"""From a backbone to an embedding: average pool, linear layer, L2 norm."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from distill.models.backbone import Backbone

__all__ = ["Embedder", "freeze_batch_norm"]


class Embedder(nn.Module):
    """Backbone, global average pool, linear layer with bias, rows of unit length.

    Args:
        backbone: what makes the feature map.
        embedding_size: D of the linear layer; 0 leaves the layer out, D is then the backbone's
            ``feature_size``.

    Attributes:
        backbone: as given.
        linear: ``nn.Linear(feature_size, D)`` or ``None``.
        embedding_size: D, never 0.
        frozen_batch_norm: set by ``freeze_batch_norm``.
    """

    def __init__(self, backbone: Backbone, embedding_size: int) -> None:
        super().__init__()
        if embedding_size < 0:
            raise ValueError(f"embedding_size must be 0 or more, not {embedding_size}")
        self.backbone = backbone
        self.linear = nn.Linear(backbone.feature_size, embedding_size) if embedding_size else None
        self.embedding_size = embedding_size or backbone.feature_size
        self.frozen_batch_norm = False

    def pool_map(self, features: Tensor) -> Tensor:
        """A feature map [N, C, h, w] to what the embedding layer sees, [N, C]."""
        return features.mean(dim=(2, 3))

    def project_map(self, features: Tensor) -> Tensor:
        """A feature map [N, C, h, w] to rows [N, D], float32, before the norm."""
        pooled = self.pool_map(features)
        if self.linear is not None:
            pooled = self.linear(pooled)
        # Under autocast the rows may be bfloat16: 8 bits are too few for the norm and for distances.
        return pooled.float()

    def embed_map(self, features: Tensor) -> Tensor:
        """The head alone: a feature map [N, C, h, w] to unit rows [N, D], float32."""
        return F.normalize(self.project_map(features), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Scaled pixels [N, 3, H, W] to embeddings [N, D], float32, each of length 1."""
        return self.embed_map(self.backbone(x))

    def forward_stages(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The embeddings [N, D] and the backbone's four stage maps, from one pass."""
        maps = self.backbone.stages(x)
        return self.embed_map(maps[-1]), maps

    def train(self, mode: bool = True) -> Embedder:
        """As usual, but frozen batch norm stays in evaluation mode."""
        super().train(mode)
        if mode and self.frozen_batch_norm:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def freeze_batch_norm(model: Embedder, frozen: bool = True) -> Embedder:
    """Use the running statistics in training too, and leave them as they are.

    Small batches of few classes (32 = 4 x 8) give poor statistics, so a fine-tuned teacher usually
    keeps those of its pretraining. Scale and shift stay trainable. It outlives ``model.train()``
    and ``copy.deepcopy``; ``frozen=False`` undoes it.

    Returns:
        ``model`` itself.
    """
    model.frozen_batch_norm = frozen
    return model.train(model.training)
