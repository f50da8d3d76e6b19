"""Inference over many batches on a CPU: a batch a core, each on one thread.

The threads of one small convolution wait for each other longer than they compute, and stand in the
way of whatever decodes images meanwhile; threads that each take a whole batch do neither. The
numbers do not depend on how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

__all__ = ["map_batches"]

T = TypeVar("T")


def map_batches(embed: Callable[[T], np.ndarray], batches: Iterable[T], device: torch.device) -> np.ndarray:
    """``embed`` of every batch, concatenated in order.

    Args:
        embed: batch → array [B, …]; called from several threads on a CPU, from one on a GPU.
        batches: taken a few ahead at most, so that memory stays bounded.
    """
    cores = (os.cpu_count() or 1) if device.type == "cpu" else 1
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    parts: list[Future[np.ndarray]] = []
    try:
        with ThreadPoolExecutor(cores, thread_name_prefix="embed") as pool:
            for batch in batches:
                if len(parts) >= 2 * cores:
                    parts[-2 * cores].result()
                parts.append(pool.submit(embed, batch))
    finally:
        torch.set_num_threads(before)
    return np.concatenate([part.result() for part in parts])
