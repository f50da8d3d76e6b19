"""Where a bundle is measured: devices behind one small interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark.devices.base import DEFAULT_DELEGATE, DELEGATES, Batch, Device, Embedded, Memory, Timing
from benchmark.devices.host import Host
from distill.console import UsageFailure, suggest

__all__ = ["DELEGATES", "DEVICES", "Batch", "Device", "DeviceOptions", "Embedded", "Memory", "Timing", "open_device"]


@dataclass(frozen=True)
class DeviceOptions:
    """How to reach a device; ``None``: as the user's own ssh configuration says."""

    ssh_identity: Path | None = None
    ssh_known_hosts: Path | None = None
    ssh_config: Path | None = None
    remote_python: str = "python3"
    remote_folder: str | None = None
    android_runner: Path | None = None
    delegate: str = DEFAULT_DELEGATE


def _host(name: str, options: DeviceOptions) -> Device:
    if name != "host":
        raise UsageFailure(f"--device {name}: no such device", "did you mean 'host'?")
    return Host()


def _ssh(name: str, options: DeviceOptions) -> Device:
    from benchmark.devices.python_side import FOLDER, PythonSide
    from benchmark.devices.remote import Remote
    from benchmark.devices.ssh import Address, Ssh, parse_address

    address = Address(*parse_address(name), options.ssh_identity, options.ssh_known_hosts, options.ssh_config)
    return Remote(name, PythonSide(Ssh(address), options.remote_python, options.remote_folder or FOLDER))


def _emulated_arm64(name: str, options: DeviceOptions) -> Device:
    from benchmark.devices.emulated import EmulatedArm64

    # Always the same, so that a run that was interrupted is taken up.
    folder = Path(options.remote_folder or Path.home() / ".cache" / "distill-bench-arm64")
    return EmulatedArm64(name, folder)


def _adb(name: str, options: DeviceOptions) -> Device:
    from benchmark.devices.adb import Adb, attached, choose
    from benchmark.devices.android_side import FOLDER, RUNNER, AndroidSide
    from benchmark.devices.remote import Remote

    folder = options.remote_folder or FOLDER
    if not folder.startswith("/"):
        raise UsageFailure(
            f"--remote-folder {folder}: a phone's shell has no home folder", f"an absolute path, for example {FOLDER}"
        )
    transport = Adb(choose(name, attached()).serial)
    return Remote(
        f"adb:{transport.where}",
        AndroidSide(transport, folder, options.android_runner or RUNNER, options.delegate == "gpu"),
    )


# By the word before the first colon.
DEVICES: dict[str, Callable[[str, DeviceOptions], Device]] = {
    "host": _host,
    "adb": _adb,
    "ssh": _ssh,
    "emulated-arm64": _emulated_arm64,
}


def open_device(name: str, options: DeviceOptions | None = None) -> Device:
    """The device of that name: ``host``, ``adb[:serial]``, ``ssh://[user@]host[:port]``, ``emulated-arm64:FOLDER``.

    Raises:
        UsageFailure: unknown.
        Failure: it cannot be reached, or lacks what is needed to measure.
    """
    kind = name.split(":", 1)[0]
    opener = DEVICES.get(kind)
    if opener is None:
        raise UsageFailure(f"--device {name}: no such device", suggest(name, DEVICES))
    options = options or DeviceOptions()
    if options.delegate not in DELEGATES:
        raise UsageFailure(f"--delegate {options.delegate}: not known", suggest(options.delegate, DELEGATES))
    device = opener(name, options)
    device.delegate = options.delegate
    return device
