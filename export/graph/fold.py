"""Fold a PyTorch embedder into plain constants: each batch norm is merged into the convolution before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distill.console import Failure
from distill.models.steps import Residual, Step
from export.graph.folded import Add, Convolution, FoldedGraph, L2Norm, Layer, Linear, MeanPool
from export.graph.walk import walk

if TYPE_CHECKING:
    from distill.models.embedder import Embedder

__all__ = ["FOLDED", "can_fold", "fold"]

FOLDED = "mobilenet_v1_*, timm:mobilenetv2_* and timm's *efficientnet_lite*"


def can_fold(model: Embedder) -> bool:
    """Return whether ``fold`` supports this backbone: one of ``FOLDED``, or one with ``steps()``."""
    return walk(model.backbone) is not None


def fold(model: Embedder, side: int) -> FoldedGraph:
    """Fold each batch norm into the convolution before it.

    With ``s = gamma / sqrt(variance + epsilon)``: ``kernel * s`` and ``beta - mean * s``
    (Jacob et al., arXiv 1712.05877, equation 14), in float64, rounded to float32 once.

    Args:
        model: an ``Embedder`` in evaluation mode.
        side: input size, pixels.

    Raises:
        Failure: the backbone cannot be folded, or a weight is not finite.
    """
    steps = walk(model.backbone)
    if steps is None:
        raise Failure(
            f"{model.backbone.arch}: cannot be folded, only {FOLDED} can",
            "choose targets and options for other networks, or distil one of these, e.g. mobilenet_v1_025",
        )
    layers: list[Layer] = [_layer(step) for step in steps]
    layers.append(MeanPool("pool"))
    if model.linear is not None:
        weight = np.ascontiguousarray(_numpy(model.linear.weight).T)
        layers.append(Linear("projection", weight.astype(np.float32), _numpy(model.linear.bias).astype(np.float32)))
    layers.append(L2Norm("l2"))
    for layer in layers:
        for values in (getattr(layer, "kernel", None), getattr(layer, "weight", None), getattr(layer, "bias", None)):
            if values is not None and not np.isfinite(values).all():
                raise Failure(f"{layer.name}: weights that are not finite after folding", "train the student again")
    return FoldedGraph(side=side, layers=tuple(layers))


def _layer(step: Step | Residual) -> Convolution | Add:
    if isinstance(step, Residual):
        return Add(step.name, step.other)
    norm: Any = step.bn
    scale = _numpy(norm.weight) / np.sqrt(_numpy(norm.running_var) + norm.eps)
    kernel = _numpy(step.conv.weight) * scale[:, None, None, None]  # [out, in / groups, h, w]
    bias = _numpy(norm.bias) - _numpy(norm.running_mean) * scale
    depthwise = step.conv.groups > 1
    order = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
    return Convolution(
        name=step.name,
        kernel=np.ascontiguousarray(kernel.transpose(order)).astype(np.float32),
        bias=bias.astype(np.float32),
        stride=step.conv.stride[0],
        relu6=step.relu6,
        depthwise=depthwise,
        padding=step.padding,
    )


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
