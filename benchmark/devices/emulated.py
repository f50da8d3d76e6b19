"""arm64 on this computer: a true arm64 Python and engine under qemu-user. Numerics count, times do not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from benchmark.devices.local import Local
from benchmark.devices.python_side import PythonSide
from benchmark.devices.remote import Remote
from benchmark.result import Machine
from distill.console import Failure, UsageFailure

__all__ = ["EmulatedArm64", "arm64_python"]

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

    def __init__(self, name: str, folder: Path) -> None:
        _, _, text = name.partition(":")
        if not text:
            raise UsageFailure(
                f"--device {name}: in which folder?", "emulated-arm64:FOLDER, made by scripts/arm64-root.sh"
            )
        try:
            command, environment = arm64_python(Path(text))
        except Failure as failure:
            raise Failure(f"--device {name}: {failure.what}", failure.cure) from None
        local = Local(command[:-1], environment, "the emulated arm64")
        super().__init__(name, PythonSide(local, command[-1], str(folder)))
        self.emulated = True

    def describe(self) -> Machine:
        # /proc/cpuinfo shows the processor that emulates.
        machine = super().describe()
        update = {
            "device": "emulated-arm64",
            "emulated": True,
            "cpu": f"arm64, emulated by qemu on {machine.cpu}",
            "virtual": None,
            "governor": None,
            "max_mhz": None,
        }
        return machine.model_copy(update=update)


def arm64_python(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The words that start the arm64 Python in a folder of ``scripts/arm64-root.sh``, and its environment.

    Raises:
        Failure: it is not there, or no emulator is.
    """
    root = folder.expanduser().resolve()
    python = root / "usr" / "bin" / "python3.11"
    if not python.is_file():
        raise Failure(f"no arm64 Python in {root}", PREPARE.format(root=folder))
    own = root / QEMU[0]
    found = [str(own)] if own.is_file() else [path for path in map(shutil.which, QEMU) if path]
    if not found:
        raise Failure(f"no {QEMU[0]} here", f"install qemu-user-static, or {PREPARE.format(root=folder)}")
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONHOME": str(root / "usr"),
        "PYTHONPATH": str(root / "site"),
    }
    return [found[0], "-L", str(root), str(python)], environment
