"""Optimiser and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from distill.training.config import RunConfig

__all__ = ["lr_factor", "make_optimizer"]


def make_optimizer(
    model: nn.Module, head: nn.Module | None, extra: Iterable[dict[str, Any]], config: RunConfig
) -> torch.optim.Optimizer:
    """Build the optimiser of ``model``; biases and batch norm are not decayed.

    Args:
        head: the embedding layer, whose learning rate is multiplied by ``config.head_lr``.
        extra: parameter groups of the losses (adaptors, proxies), with their own ``lr``.
    """
    head_parameters = {id(p) for p in head.parameters()} if head is not None else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in head_parameters, parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    parameter_groups = [
        {
            "params": parameters,
            "lr": config.lr * (config.head_lr if in_head else 1.0),
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (in_head, decayed), parameters in groups.items()
    ] + [{"weight_decay": 0.0, **group} for group in extra]
    if config.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(parameter_groups, lr=config.lr, momentum=0.9, fused=True)
    else:
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(parameter_groups, lr=config.lr, fused=True)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    return optimizer


def lr_factor(step: int, steps: int, schedule: str, warmup: float) -> float:
    """Return the factor on the peak learning rate at ``step`` of ``steps``: linear warm-up, then cosine or constant."""
    rise = warmup * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    if schedule == "constant":
        return 1.0
    done = (step - rise) / max(1.0, steps - rise)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
