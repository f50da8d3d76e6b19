"""A run on disk: its configuration, where it stands, and the right to go on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from distill.console import Failure, UsageFailure
from distill.files import atomic_path, read_json, write_json
from distill.training.config import RunConfig

__all__ = ["RunFolder"]

# Where a run keeps things and how many threads it uses do not change what it computes.
_FREE = {"cache_dir", "teacher_store_gb", "threads", "workers"}


class RunFolder:
    """The folder of one run.

    ``config.json`` is written at the start, ``state.pt`` after every epoch (and removed at the
    end), ``model.safetensors`` and ``model.json`` at the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._config = path / "config.json"
        self._state = path / "state.pt"

    @property
    def finished(self) -> bool:
        return (self.path / "model.json").exists()

    @property
    def begun(self) -> bool:
        """Whether it holds a run that can go on."""
        return self._config.exists() and self._state.exists()

    def check_free(self, overwrite: bool) -> None:
        """Refuse a folder that no new checkpoint may take; nothing is changed yet.

        Raises:
            UsageFailure: it holds a finished run, or files that are not a run's.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageFailure(f"{self.path} is a file", "choose another --out")
        if not (self._config.exists() or self.finished):
            if self.path.exists() and any(self.path.iterdir()):
                raise UsageFailure(f"{self.path} is not empty and not a run", "choose another --out")
        elif self.finished and not overwrite:
            raise UsageFailure(f"{self.path} holds a finished run", "choose another --out, or --overwrite it")

    def check(self, config: RunConfig, overwrite: bool) -> None:
        """Refuse a folder that ``config`` must not write to; nothing is changed yet.

        Raises:
            UsageFailure: it holds a finished run, another run's start, or files that are not a run's.
        """
        self.check_free(overwrite)
        if overwrite or not self.begun:
            return
        wanted = config.model_dump(mode="json")
        # A run that began before an option existed had its default.
        saved = type(config)().model_dump(mode="json") | read_json(self._config)
        changed = [name for name in wanted if name not in _FREE and saved[name] != wanted[name]]
        if changed:
            was = ", ".join(f"--{n.replace('_', '-')} was {saved[n]}, is {wanted[n]}" for n in changed)
            raise UsageFailure(
                f"{self.path} holds an unfinished run with other options: {was}",
                "use the same options to go on, another --out, or --overwrite",
            )

    def claim(self, config: RunConfig, overwrite: bool) -> None:
        """Begin or go on: drop an old run if asked to, and write ``config.json``."""
        if overwrite:
            shutil.rmtree(self.path, ignore_errors=True)
        write_json(self._config, config.model_dump(mode="json"))

    def save(self, state: dict[str, Any]) -> None:
        """Write the training state, whole or not at all.

        Raises:
            Failure: it cannot be written (torch reports a full disk as a RuntimeError).
        """
        try:
            with atomic_path(self._state) as temporary:
                torch.save(state, temporary)
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise Failure(
                f"{self._state}: cannot be written: {reason}", "free some space and run the same command again"
            ) from None

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state to go on from, or None at the start.

        Raises:
            Failure: the state is damaged.
        """
        if not self._state.exists():
            return None
        try:
            return torch.load(self._state, map_location=device, weights_only=True)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Failure(f"{self._state}: damaged training state: {reason}", "start again with --overwrite") from None

    def finish(self) -> None:
        """Forget the training state: the run is done."""
        self._state.unlink(missing_ok=True)
