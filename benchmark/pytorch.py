"""PyTorch checkpoints as the measure of the variants. torch is imported only when one is opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distill.console import Failure, UsageFailure

__all__ = ["TorchModel", "parse_reference"]


def parse_reference(text: str) -> tuple[str, Path]:
    """``NAME=DIR`` or ``DIR`` (named after the folder) as (name, folder).

    Raises:
        UsageFailure: an empty name or folder.
    """
    name, equals, folder = text.partition("=")
    if not equals:
        name, folder = Path(text).resolve().name, text
    if not name.strip() or not folder.strip():
        raise UsageFailure(f"--reference {text}: neither DIR nor NAME=DIR", "for example --reference teacher=runs/teacher")
    return name.strip(), Path(folder)


class TorchModel:
    """A checkpoint: embeds pixels batch by batch, and can be timed like a variant.

    Raises:
        Failure: torch is not installed, or the checkpoint cannot be loaded.
    """

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
        self._rows: list[np.ndarray] = []
        self._input = None

    def tensor(self, pixels: np.ndarray):
        """uint8 [N, H, W, 3] as the network's input, float32 [N, 3, H, W]."""
        scaled = self.preprocessing.scale(pixels)
        return self._torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """float32 [N, D], unit rows."""
        with self._torch.inference_mode():
            return self._model(self.tensor(pixels)).float().numpy()

    def add(self, pixels: np.ndarray) -> None:
        """Embed one more batch and keep the rows."""
        self._rows.append(self.embed(pixels))

    def embeddings(self) -> np.ndarray:
        """All rows added so far, float32 [N, D].

        Raises:
            Failure: NaN or infinity among them.
        """
        rows = np.concatenate(self._rows)
        if not np.isfinite(rows).all():
            raise Failure(f"{self.directory}: embeddings hold NaN or infinity", "train the checkpoint again")
        return rows

    def prepare(self, pixels: np.ndarray) -> None:
        self._input = self.tensor(pixels)

    def invoke(self) -> None:
        with self._torch.inference_mode():
            self._model(self._input)

    def set_threads(self, threads: int) -> None:
        """CPU threads that torch may use (a setting of the whole process)."""
        self._torch.set_num_threads(threads)
