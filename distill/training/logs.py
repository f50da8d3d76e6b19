"""The log of a run: ``log.csv``, one row per epoch, and TensorBoard events."""

from __future__ import annotations

import csv
import sys
import types
from pathlib import Path

from distill.files import atomic_path

__all__ = ["RunLog"]


class RunLog:
    """Writer of a run's log.

    Args:
        folder: folder of the run.
        start_epoch: epochs already done; rows of later epochs, which run again, are dropped.
    """

    def __init__(self, folder: Path, start_epoch: int) -> None:
        # TensorBoard imports TensorFlow if it is installed (seconds, 500 MB). The presence of this module
        # is its switch to a small built-in replacement.
        sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("tensorboard.compat.notf"))
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / "log.csv"
        self._rows: list[dict[str, str | float]] = []
        if self._path.exists():
            with self._path.open(newline="") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= start_epoch]
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=start_epoch + 1)

    def write(self, row: dict[str, float]) -> None:
        """Add one epoch; ``row["epoch"]`` counts from 1."""
        self._rows.append(dict(row))
        names = list(dict.fromkeys(name for one in self._rows for name in one))
        with atomic_path(self._path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self._rows)
        for name, value in row.items():
            if name != "epoch":
                self._events.add_scalar(name, value, int(row["epoch"]))
        self._events.flush()

    def close(self) -> None:
        """Close the TensorBoard file."""
        self._events.close()
