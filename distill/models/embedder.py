"""The embedding network: backbone, average pool, linear layer, L2 norm."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from distill.models.backbone import Backbone

__all__ = ["Embedder", "freeze_batch_norm"]


class Embedder(nn.Module):
    """Backbone, global average pool, linear layer with bias, L2 norm.

    Args:
        backbone: Computes the feature map.
        embedding_size: Output size D of the linear layer. 0 omits the layer; D is then the
            ``feature_size`` of the backbone.

    Attributes:
        backbone: As given.
        linear: ``nn.Linear(feature_size, D)`` or ``None``.
        embedding_size: D, never 0.
        frozen_batch_norm: Set by ``freeze_batch_norm``.
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
        """Pool a feature map [N, C, h, w] to the input of the linear layer, [N, C]."""
        return self.backbone.after_pool(features.mean(dim=(2, 3)))

    def project_map(self, features: Tensor) -> Tensor:
        """Pool and project a feature map [N, C, h, w] to rows [N, D], float32, not normalised."""
        pooled = self.pool_map(features)
        if self.linear is not None:
            pooled = self.linear(pooled)
        # Under autocast the rows may be bfloat16, whose 8 bits are too few for the norm and for distances.
        return pooled.float()

    def embed_map(self, features: Tensor) -> Tensor:
        """Apply the head alone: a feature map [N, C, h, w] to embeddings [N, D], float32, of unit length."""
        return F.normalize(self.project_map(features), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Embed scaled pixels [N, 3, H, W]: [N, D], float32, of unit length."""
        return self.embed_map(self.backbone(x))

    def forward_stages(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the embeddings [N, D] and the four stage maps of the backbone, from one pass."""
        maps = self.backbone.stages(x)
        return self.embed_map(maps[-1]), maps

    def train(self, mode: bool = True) -> Embedder:
        """Switch modes as usual, but keep frozen batch norm in evaluation mode."""
        super().train(mode)
        if mode and self.frozen_batch_norm:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def freeze_batch_norm(model: Embedder, frozen: bool = True) -> Embedder:
    """Use the running statistics during training too, without updating them.

    Small batches of few classes (32 = 4 x 8) give poor statistics, so a fine-tuned teacher usually
    keeps those of its pretraining. Scale and shift stay trainable. The setting survives ``model.train()``
    and ``copy.deepcopy``; ``frozen=False`` reverts it.

    Returns:
        ``model`` itself.
    """
    model.frozen_batch_norm = frozen
    return model.train(model.training)
