"""Run inference over many batches on a CPU: one batch per core, each on one thread.

Threads that share a small convolution wait for each other longer than they compute, and they compete with the
threads that decode images. Threads that each take a whole batch do neither. Results do not depend on the number
of threads.
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
    """Apply ``embed`` to every batch and concatenate the results in order.

    Args:
        embed: Maps a batch to an array [B, …]; called from several threads on a CPU, from one on a GPU.
        batches: Read a few ahead at most, so that memory stays bounded.
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
