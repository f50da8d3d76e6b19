"""Run by test_processes.py under ``torchrun``: the loss and gradients of one step."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from distill.training.config import StudentConfig, make_config
from distill.training.loop import _Loop
from distill.training.setup import prepare
from distill.training.state import RunFolder


def main(out: Path, teacher: str, method: str) -> None:
    config = make_config(
        StudentConfig,
        dict(
            data="glyphs:classes=16,faces=6,size=32",
            batch_size=16,
            images_per_class=4,
            embedding_size=16,
            precision="float32",
            threads=1,
            batch_norm="frozen",
            method=method,
            teacher=teacher,
            epochs=1,
            cache_dir=out.parent / "cache",
        ),
    )
    run = RunFolder(out.parent / "run")
    loop = _Loop(config, prepare(config, run.path), run)
    type(loop.sampler).__len__ = lambda self: 1

    class Bar:
        def advance(self, steps: int = 1) -> None: ...
        def status(self, text: str) -> None: ...

    row = loop._epoch(0, Bar())
    if loop.setup.accelerator.is_main_process:
        gradients = {name: p.grad for name, p in loop.model.named_parameters()}
        gradients |= {"loss." + name: p.grad for name, p in loop.losses.named_parameters()}
        torch.save(
            {"loss": row["loss"], "gradients": gradients, "processes": loop.setup.accelerator.num_processes}, out
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
