"""The folder of a run: its configuration, its training state, and the checks before it is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from distill.console import Failure, UsageFailure
from distill.files import atomic_path, read_json, write_json
from distill.training.config import RunConfig

__all__ = ["RunFolder"]

# Options that do not change what a run computes: they may differ when it continues.
_FREE = {"cache_dir", "teacher_store_gb", "threads", "workers"}
# Values that older versions wrote for what is None today.
_FORMER_DEFAULTS = {"split": "half"}


class RunFolder:
    """The folder of one run.

    ``config.json`` is written at the start, ``state.pt`` after every epoch, ``model.safetensors`` and
    ``model.json`` at the end, when ``state.pt`` is removed.

    Args:
        path: the folder, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._config = path / "config.json"
        self._state = path / "state.pt"

    @property
    def finished(self) -> bool:
        """Whether the folder holds a checkpoint."""
        return (self.path / "model.json").exists()

    @property
    def begun(self) -> bool:
        """Whether the folder holds an unfinished run that can continue."""
        return self._config.exists() and self._state.exists()

    def check_free(self, overwrite: bool) -> None:
        """Refuse a folder in which no checkpoint may be written. Changes nothing.

        Raises:
            UsageFailure: the folder holds a finished run, or files that are not a run's.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageFailure(f"{self.path} is a file", "choose another --out")
        if not (self._config.exists() or self.finished):
            if self.path.exists() and any(self.path.iterdir()):
                raise UsageFailure(f"{self.path} is not empty and not a run", "choose another --out")
        elif self.finished and not overwrite:
            raise UsageFailure(f"{self.path} holds a finished run", "choose another --out, or --overwrite it")

    def check(self, config: RunConfig, overwrite: bool) -> None:
        """Refuse a folder in which a run of ``config`` must not write. Changes nothing.

        Raises:
            UsageFailure: the folder holds a finished run, an unfinished one with other options, or files
                that are not a run's.
        """
        self.check_free(overwrite)
        if overwrite or not self.begun:
            return
        wanted = config.model_dump(mode="json")
        # A run that began before an option existed used its default.
        saved = {name: field.default for name, field in type(config).model_fields.items()} | read_json(self._config)
        for name, value in _FORMER_DEFAULTS.items():
            saved[name], wanted[name] = saved[name] or value, wanted[name] or value
        changed = [name for name in wanted if name not in _FREE and saved[name] != wanted[name]]
        if changed:
            was = ", ".join(f"--{n.replace('_', '-')} was {saved[n]}, is {wanted[n]}" for n in changed)
            raise UsageFailure(
                f"{self.path} holds an unfinished run with other options: {was}",
                "use the same options to continue, another --out, or --overwrite",
            )

    def claim(self, config: RunConfig, overwrite: bool) -> None:
        """Start or continue: write ``config.json``, after deleting an old run if ``overwrite``."""
        if overwrite:
            shutil.rmtree(self.path, ignore_errors=True)
        write_json(self._config, config.model_dump(mode="json"))

    def save(self, state: dict[str, Any]) -> None:
        """Write the training state atomically.

        Raises:
            Failure: the state cannot be written (torch reports a full disk as a RuntimeError).
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
        """Return the state to continue from, or None at the start.

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
        """Delete the training state of a finished run."""
        self._state.unlink(missing_ok=True)
