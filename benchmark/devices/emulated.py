"""arm64 on this computer: a true arm64 Python and engine under qemu-user. Numerics count, times do not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.devices.base import Memory, Timing
from benchmark.devices.local import Local
from benchmark.devices.remote import Remote
from benchmark.result import LatencyRun, Machine
from benchmark.timing import Plan
from distill.console import Failure, UsageFailure
from export.bundle import Bundle

__all__ = ["EmulatedArm64"]

QEMU = ("qemu-aarch64-static", "qemu-aarch64")
PREPARE = "sh scripts/arm64-root.sh {root}"


class EmulatedArm64(Remote):
    """The runner for boards, run by an arm64 Python of a folder that ``scripts/arm64-root.sh`` made.

    Args:
        name: ``emulated-arm64:FOLDER``.
        folder: where the runner's files go.

    Raises:
        UsageFailure: no folder named.
        Failure: no arm64 Python in it, no emulator, or one that cannot run it.
    """

    emulated = True

    def __init__(self, name: str, folder: Path) -> None:
        _, _, text = name.partition(":")
        if not text:
            raise UsageFailure(f"--device {name}: in which folder?", "emulated-arm64:FOLDER, made by scripts/arm64-root.sh")
        root = Path(text).expanduser().resolve()
        python = root / "usr" / "bin" / "python3.11"
        if not python.is_file():
            raise Failure(f"--device {name}: no arm64 Python in {root}", PREPARE.format(root=text))
        own = root / QEMU[0]
        found = [str(own)] if own.is_file() else [path for path in map(shutil.which, QEMU) if path]
        if not found:
            raise Failure(f"--device {name}: no {QEMU[0]} here", f"install qemu-user-static, or {PREPARE.format(root=text)}")
        environment = {"PATH": os.environ.get("PATH", ""), "PYTHONHOME": str(root / "usr"), "PYTHONPATH": str(root / "site")}
        local = Local((found[0], "-L", str(root)), environment, "the emulated arm64")
        super().__init__(name, local, str(python), str(folder))

    def describe(self) -> Machine:
        # /proc/cpuinfo shows the processor that emulates.
        machine = super().describe()
        update = {
            "device": "emulated-arm64", "emulated": True, "cpu": f"arm64, emulated by qemu on {machine.cpu}",
            "virtual": None, "governor": None, "max_mhz": None,
        }
        return machine.model_copy(update=update)

    def measure_latency(
        self, bundle: Bundle, variants: Sequence[str], pixels: np.ndarray, plan: Plan
    ) -> tuple[dict[str, Timing], LatencyRun | None]:
        """Nothing: an emulator's time says nothing of a phone's."""
        return {name: Timing() for name in variants}, None

    def peak_memory(self, bundle: Bundle, variants: Sequence[str]) -> dict[str, Memory]:
        """Nothing: the emulator's own memory would be counted."""
        return {}
