"""Run PyTorch checkpoints as references for the variants. torch is imported only when one is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from distill.console import Failure, UsageFailure
from distill.models.info import read_info, verify_weights

__all__ = ["PYTORCH", "TorchModel", "checked_checkpoints", "parse_reference"]

PYTORCH = "PyTorch"  # name of the checkpoint that the bundle was made from

PIECE = 16  # images per task: enough to keep a core busy, few enough for 16 cores at 224 pixels
AHEAD = 3  # queued tasks per core


def parse_reference(text: str) -> tuple[str, Path]:
    """Parse ``NAME=DIR`` or ``DIR`` (named after the folder) into (name, folder).

    Raises:
        UsageFailure: an empty name or folder.
    """
    name, equals, folder = text.partition("=")
    if not equals:
        name, folder = Path(text).resolve().name, text
    if not name.strip() or not folder.strip():
        raise UsageFailure(
            f"--reference {text}: neither DIR nor NAME=DIR", "for example --reference teacher=runs/teacher"
        )
    return name.strip(), Path(folder)


def checked_checkpoints(checkpoint: Path | None, references: Sequence[str]) -> list[tuple[str, Path]]:
    """Return the names and folders of ``--checkpoint``, called ``PYTORCH``, and of each ``--reference``, without torch.

    Raises:
        UsageFailure: two have the same name.
        Failure: one of them is no whole checkpoint.
    """
    found = [(PYTORCH, checkpoint)] if checkpoint else []
    for text in references:
        name, folder = parse_reference(text)
        if name in [other for other, _ in found]:
            raise UsageFailure(
                f"--reference {text}: the name {name!r} is used twice", "use NAME=DIR to tell them apart"
            )
        found.append((name, folder))
    for _, folder in found:  # now, and not after minutes of latency
        TorchModel.check(folder)
    return found


class TorchModel:
    """A checkpoint that embeds pixels batch by batch, and can be timed like a variant.

    Raises:
        Failure: torch is not installed, or the checkpoint cannot be loaded.
    """

    @staticmethod
    def check(directory: Path) -> None:
        """Check, without torch, that a folder holds a complete checkpoint.

        Raises:
            Failure: it is no checkpoint, is damaged, or has other weights than it describes.
        """
        verify_weights(directory, read_info(directory))

    def __init__(self, name: str, directory: Path) -> None:
        try:
            import torch
        except ImportError:
            raise Failure(
                f"{directory}: measuring a checkpoint needs torch", "pip install 'distill-to-phone[train]'"
            ) from None
        from distill.models.checkpoint import load_checkpoint

        self._torch = torch
        self.name = name
        self.directory = directory
        self._model, self.info = load_checkpoint(directory)
        self.preprocessing = self.info.preprocessing
        self.parameters = sum(parameter.numel() for parameter in self._model.parameters())
        # One thread per piece and a pool over pieces: torch's own threads spin while they wait for each
        # other at every layer, which makes two of them slower than one on a busy machine.
        torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="pytorch")
        self._pieces: list[Future[np.ndarray]] = []
        self._input: Any = None

    def tensor(self, pixels: np.ndarray) -> Any:
        """Convert uint8 [N, H, W, 3] into the network's input, float32 [N, 3, H, W]."""
        scaled = self.preprocessing.scale(pixels)
        return self._torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Embed pixels: float32 [N, D], unit rows."""
        with self._torch.inference_mode():
            return self._model(self.tensor(pixels)).float().numpy()

    def add(self, pixels: np.ndarray) -> None:
        """Embed one more batch in the background and keep the rows."""
        for start in range(0, len(pixels), PIECE):
            waiting = len(self._pieces) - AHEAD * (os.cpu_count() or 1)
            if waiting >= 0:
                self._pieces[waiting].result()  # bounds the memory, and raises errors early
            self._pieces.append(self._pool.submit(self.embed, pixels[start : start + PIECE]))

    def embeddings(self) -> np.ndarray:
        """Return all rows added so far, float32 [N, D].

        Raises:
            Failure: a row holds NaN or infinity.
        """
        with self._pool:
            rows = np.concatenate([piece.result() for piece in self._pieces])
        if not np.isfinite(rows).all():
            raise Failure(f"{self.directory}: embeddings hold NaN or infinity", "train the checkpoint again")
        return rows

    def prepare(self, pixels: np.ndarray) -> None:
        self._input = self.tensor(pixels)

    def invoke(self) -> None:
        with self._torch.inference_mode():
            self._model(self._input)

    def set_threads(self, threads: int) -> None:
        """Set the number of CPU threads of torch (for the whole process)."""
        self._torch.set_num_threads(threads)
