"""Where the embedding layer starts.

Features after a ReLU are positive, so a random linear layer sends all images into one narrow cone:
embeddings start with cosines of 0.95 and more, where triplets and pairs have hardly a gradient, and
small networks stay there for epochs. Starting with centred, evenly scaled features removes the cone
(data-dependent initialisation: Krähenbühl, Doersch, Donahue, Darrell, ICLR 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.models.embedder import Embedder

__all__ = ["centre_head"]


@torch.no_grad()
def centre_head(model: Embedder, inputs: Tensor) -> None:
    """Set the linear layer so that embeddings of ``inputs`` have mean zero before the L2 norm.

    The weight's rows are orthogonal directions of the features, each feature divided by its
    standard deviation; the bias takes the mean away. Nothing happens without a linear layer.

    Args:
        model: batch norm works as in training here, and its running statistics are left as they are.
        inputs: scaled pixels [N, 3, H, W] of a few hundred training crops.
    """
    if model.linear is None:
        return
    was_training = model.training
    kept = {name: value.clone() for name, value in model.backbone.named_buffers()}
    model.train()
    features = model.backbone(inputs).float().mean(dim=(2, 3))
    model.train(was_training)
    for name, value in model.backbone.named_buffers():
        value.copy_(kept[name])
    mean, std = features.mean(0), features.std(0)
    # Features that hardly move say nothing yet: their scale must not be blown up.
    std = std.clamp_min(0.1 * float(std.mean()) + 1e-12)
    nn.init.orthogonal_(model.linear.weight)
    model.linear.weight.div_(std)
    model.linear.bias.copy_(-(model.linear.weight @ mean))
