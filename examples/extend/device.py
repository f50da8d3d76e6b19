"""A device: this computer limited to one core, as a rough stand-in for a small board.

Every program of the benchmark runs in a child process that is pinned to that core. Install it as a package with this
in its ``pyproject.toml``::

    [project.entry-points."distill_to_phone.devices"]
    one-core = "one_core:ONE_CORE"

and measure::

    distill-bench BUNDLE --device one-core --pin-core 1
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.devices.local import Local
from benchmark.devices.python_side import PythonSide
from benchmark.devices.spec import DeviceOptions, DeviceRow, DeviceSpec, device_option
from distill.console import UsageFailure

if TYPE_CHECKING:
    from benchmark.devices.base import Device

__all__ = ["ONE_CORE"]

# Pins itself, then becomes the program.
LAUNCHER = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"


class OneCoreOptions(DeviceOptions):
    """Options of the limited computer."""

    pin_core: int = device_option(0, "Core that the one-core device uses.", panel="One core")


def open_one_core(name: str, options: OneCoreOptions, delegate: str) -> Device:
    """Open the device; every program that it runs goes through ``LAUNCHER``."""
    from benchmark.devices.remote import Remote  # imports NumPy, which --help does without

    cores = sorted(os.sched_getaffinity(0))
    if options.pin_core not in cores:
        raise UsageFailure(f"--pin-core {options.pin_core}: no such core", f"choose one of {cores}")
    transport = Local([sys.executable, "-c", LAUNCHER, str(options.pin_core)], where="one core")
    folder = Path.home() / ".cache" / "distill-bench-one-core"
    return Remote("one-core", PythonSide(transport, sys.executable, str(folder)))


def rows() -> list[DeviceRow]:
    """List the device."""
    if not hasattr(os, "sched_setaffinity"):
        return [DeviceRow("one-core", "not on this system", "pinning needs Linux")]
    return [DeviceRow("one-core", "ready", f"this computer, limited to one of {len(os.sched_getaffinity(0))} cores")]


ONE_CORE = DeviceSpec("one-core", open_one_core, rows, OneCoreOptions)
