"""Gather the embeddings of all processes into one batch, with gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

__all__ = ["gather_rows"]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        # Every process computes the same joint loss, and DistributedDataParallel averages the parameter
        # gradients over processes. The sum here therefore gives the gradient of the joint batch.
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        start = dist.get_rank() * ctx.count
        return gradient[start : start + ctx.count]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Concatenate ``rows`` [B, …] of all processes in rank order: [P·B, …].

    Gradients flow back to each process's own rows. With one process, ``rows`` itself.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    return _GatherRows.apply(rows)
