"""Which networks compute in bfloat16 under ``--precision``."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["in_bfloat16", "native_bfloat16"]


def native_bfloat16() -> bool:
    """Whether bfloat16 is faster than float32 here: on GPUs with bfloat16, and on CPUs with AMX.

    On a CPU with AVX512-BF16 alone a step of ResNet-50 takes 1.1 to 1.25 times as long as in float32, with AMX half as long.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)  # a T4, say, emulates it, slowly
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def in_bfloat16(model: nn.Module, precision: str, device: torch.device) -> bool:
    """Whether ``model`` runs in bfloat16 under ``--precision``.

    ``auto`` depends on the processor, and so does the result of a run; ``float32`` and ``bfloat16`` do not. ``auto`` keeps
    networks with depthwise convolutions in float32 on a CPU: they are bound by memory and by the casts, and slower in
    bfloat16 (``scripts/benchmarks/train_throughput.py``).
    """
    if precision != "auto":
        return precision == "bfloat16"
    depthwise = any(isinstance(m, nn.Conv2d) and 1 < m.groups == m.in_channels for m in model.modules())
    return native_bfloat16() and not (device.type == "cpu" and depthwise)
