"""arm64 on this computer: a real arm64 Python and engine under qemu-user. Numerics are valid, times are not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.devices.local import Local
from benchmark.devices.python_side import PythonSide
from benchmark.devices.side import Message
from benchmark.devices.spec import DeviceRow, DeviceSpec, RemoteOptions
from distill.console import Failure, UsageFailure

if TYPE_CHECKING:
    from benchmark.devices.base import Device

__all__ = ["EMULATED_ARM64", "EmulatedSide", "arm64_python"]

NAME = "emulated-arm64"
PATTERN = f"{NAME}:FOLDER"
QEMU = ("qemu-aarch64-static", "qemu-aarch64")
PREPARE = "sh scripts/arm64-root.sh {root}"


class EmulatedSide(PythonSide):
    """The runner for boards under qemu."""

    def facts(self, described: Message) -> Message:
        # /proc/cpuinfo describes the processor that emulates.
        machine = super().facts(described)
        return machine | {
            "emulated": True,
            "cpu": f"arm64, emulated by qemu on {machine['cpu']}",
            "virtual": None,
            "governor": None,
            "max_mhz": None,
        }


def arm64_python(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the words that start the arm64 Python in a folder made by ``scripts/arm64-root.sh``, and its environment.

    Raises:
        Failure: there is no such Python, or no emulator.
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


def _open(name: str, options: RemoteOptions, delegate: str) -> Device:
    from benchmark.devices.remote import Remote

    _, _, text = name.partition(":")
    if not text:
        raise UsageFailure(f"--device {name}: no folder given", f"{PATTERN}, made by scripts/arm64-root.sh")
    try:
        command, environment = arm64_python(Path(text))
    except Failure as failure:
        raise Failure(f"--device {name}: {failure.what}", failure.cure) from None
    local = Local(command[:-1], environment, "the emulated arm64")
    # A fixed folder, so that an interrupted run is resumed.
    folder = options.remote_folder or str(Path.home() / ".cache" / "distill-bench-arm64")
    return Remote(NAME, EmulatedSide(local, command[-1], folder))


def _rows() -> list[DeviceRow]:
    what = "arm64 numerics, no latency; scripts/arm64-root.sh makes the folder"
    if any(shutil.which(name) for name in QEMU):
        return [DeviceRow(PATTERN, "name one", what)]
    return [DeviceRow(PATTERN, "no qemu here", f"{what} and installs qemu")]


EMULATED_ARM64 = DeviceSpec(PATTERN, _open, _rows, RemoteOptions)
