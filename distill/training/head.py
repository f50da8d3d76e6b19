"""Initialisation of the embedding layer from data.

Features after a ReLU are positive, so a random linear layer maps all images into one narrow cone. Embeddings then
start with cosines of 0.95 and more, where triplets and pairs have hardly any gradient, and small networks stay there
for epochs. Centring and scaling the features removes the cone (data-dependent initialisation: Krähenbühl, Doersch,
Donahue, Darrell, ICLR 2016). A pretrained student of the teacher's dimension instead starts with the best linear map
to the teacher's embeddings, which saves the epochs of finding that map by gradient descent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.models.embedder import Embedder

__all__ = ["centre_head", "fit_head", "head_features"]

_RIDGE = 0.1  # times the mean variance of a feature


@torch.no_grad()
def head_features(model: Embedder, inputs: Tensor) -> Tensor:
    """Return the pooled features that the embedding layer sees in training: float32 [N, F].

    Args:
        model: batch norm works as in training; its running statistics are left unchanged.
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
    """Initialise the linear layer so that embeddings of ``features`` have mean zero before the L2 norm.

    The rows of the weight are orthogonal directions of the features, each feature divided by its standard
    deviation; the bias subtracts the mean. Does nothing without a linear layer.

    Args:
        features: [N, F] of a few hundred training crops.
    """
    if model.linear is None:
        return
    mean, std = features.mean(0), features.std(0)
    # Features that hardly vary carry no information yet: do not amplify them.
    std = std.clamp_min(0.1 * float(std.mean()) + 1e-12)
    nn.init.orthogonal_(model.linear.weight)
    model.linear.weight.div_(std)
    model.linear.bias.copy_(-(model.linear.weight @ mean))


@torch.no_grad()
def fit_head(model: Embedder, features: Tensor, targets: Tensor) -> None:
    """Initialise the linear layer with the ridge regression from ``features`` to the teacher's embeddings.

    Outputs are scaled to the length that :func:`centre_head` gives them, so that optimiser steps have the same
    effect after either initialisation. The L2 norm removes the scale.

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
