"""Where a bundle is measured: devices behind one small interface."""

from __future__ import annotations

from collections.abc import Callable

from benchmark.devices.base import Device, Embedded, Timing
from benchmark.devices.host import Host
from distill.console import UsageFailure, suggest

__all__ = ["DEVICES", "PLANNED", "Device", "Embedded", "Timing", "open_device"]

DEVICES: dict[str, Callable[[], Device]] = {"host": Host}

# Named here so that asking for one gets an honest answer instead of "unknown".
PLANNED = {
    "adb": "a phone on a cable or Wi-Fi",
    "ssh": "a Linux board",
    "emulated-arm64": "arm64 numerics under qemu",
}


def open_device(name: str) -> Device:
    """The device of that name: ``host``, later ``adb[:serial]``, ``ssh://user@host``, ``emulated-arm64``.

    Raises:
        UsageFailure: unknown, or known but not built yet.
    """
    kind = name.split(":", 1)[0]
    if kind in PLANNED:
        raise UsageFailure(
            f"--device {name}: not built yet in this version ({PLANNED[kind]})", "use --device host"
        )
    opener = DEVICES.get(name)
    if opener is None:
        raise UsageFailure(f"--device {name}: no such device", suggest(name, DEVICES))
    return opener()
