"""Where the embedding layer starts.

Features after a ReLU are positive, so a random linear layer sends all images into one narrow cone:
embeddings start with cosines of 0.95 and more, where triplets and pairs have hardly a gradient, and
small networks stay there for epochs. Starting with centred, evenly scaled features removes the cone
(data-dependent initialisation: Krähenbühl, Doersch, Donahue, Darrell, ICLR 2016). Where pretrained
features meet a teacher of the same dimension, the layer starts as the best linear map to its embeddings
instead, which saves the epochs that would find that map by gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.models.embedder import Embedder

__all__ = ["centre_head", "fit_head", "head_features"]

_RIDGE = 0.1  # times the mean variance of a feature


@torch.no_grad()
def head_features(model: Embedder, inputs: Tensor) -> Tensor:
    """What the embedding layer will see in training: pooled features float32 [N, F].

    Args:
        model: batch norm works as in training here, and its running statistics are left as they are.
        inputs: scaled pixels [N, 3, H, W] of training crops.
    """
    was_training = model.training
    kept = {name: value.clone() for name, value in model.backbone.named_buffers()}
    model.train()
    features = model.pool_map(model.backbone(inputs)).float()
    model.train(was_training)
    for name, value in model.backbone.named_buffers():
        value.copy_(kept[name])
    return features


@torch.no_grad()
def centre_head(model: Embedder, features: Tensor) -> None:
    """Set the linear layer so that embeddings of ``features`` have mean zero before the L2 norm.

    The weight's rows are orthogonal directions of the features, each feature divided by its
    standard deviation; the bias takes the mean away. Nothing happens without a linear layer.

    Args:
        features: [N, F] of a few hundred training crops.
    """
    if model.linear is None:
        return
    mean, std = features.mean(0), features.std(0)
    # Features that hardly move say nothing yet: their scale must not be blown up.
    std = std.clamp_min(0.1 * float(std.mean()) + 1e-12)
    nn.init.orthogonal_(model.linear.weight)
    model.linear.weight.div_(std)
    model.linear.bias.copy_(-(model.linear.weight @ mean))


@torch.no_grad()
def fit_head(model: Embedder, features: Tensor, targets: Tensor) -> None:
    """Set the linear layer to the ridge regression from ``features`` to the teacher's embeddings.

    The result is scaled so that outputs have the length that :func:`centre_head` gives them, which the
    L2 norm takes away again: steps of the optimiser mean the same for either start.

    Args:
        features: [N, F] of training crops; N may be less than F.
        targets: unit rows [N, D] of the same crops, D the model's embedding size.
    """
    assert model.linear is not None and targets.shape[1] == model.embedding_size
    x, y = features.double(), targets.double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x
    penalty = _RIDGE * gram.diagonal().mean() + 1e-12
    weight = torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=gram.dtype, device=gram.device), x.T @ y)
    outputs = x @ weight + y_mean
    scale = targets.shape[1] ** 0.5 / outputs.norm(dim=1).mean().clamp_min(1e-12)
    model.linear.weight.copy_(scale * weight.T)
    model.linear.bias.copy_(scale * (y_mean - x_mean @ weight))
