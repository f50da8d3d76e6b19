"""Describe a kind of device: its name for ``--device``, its options, how it is opened and how it is listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from distill.options import option

if TYPE_CHECKING:
    from benchmark.devices.base import Device

__all__ = [
    "DEFAULT_DELEGATE",
    "DELEGATES",
    "EXPERIMENTAL",
    "DeviceOptions",
    "DeviceRow",
    "DeviceSpec",
    "RemoteOptions",
    "device_option",
]

EXPERIMENTAL = "experimental, never run on a device"
# What can compute a TFLite model -> a note on it for ``--help``.
DELEGATES = {
    "xnnpack": "",
    "none": "the built-in kernels",
    "gpu": f"phones only; {EXPERIMENTAL}",
    "nnapi": f"phones only; {EXPERIMENTAL}",
}
DEFAULT_DELEGATE = "xnnpack"


def device_option(default: Any, help_text: str, panel: str = "Reaching the device") -> Any:
    """Return a field of :class:`DeviceOptions` that is also a flag of ``distill-bench``."""
    return option(default, help_text, panel)


class DeviceOptions(BaseModel):
    """Options of one kind of device. Each field is a flag: ``remote_folder`` is ``--remote-folder``.

    A field that several kinds of device have is one flag; inherit it from a common class.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class RemoteOptions(DeviceOptions):
    """Options of devices to which files are sent."""

    remote_folder: str | None = device_option(
        None,
        "Folder for our files on the device; emptied after a successful run. Default: .cache/distill-bench, "
        "on a phone /data/local/tmp/distill-bench.",
    )


@dataclass(frozen=True)
class DeviceRow:
    """One row of ``distill-bench devices``.

    Attributes:
        name: What ``--device`` takes.
        status: ``ready``, or a few words on what is missing.
        what: What the device is, or what makes it ready.
    """

    name: str
    status: str
    what: str


@dataclass(frozen=True)
class DeviceSpec:
    """A kind of device.

    Attributes:
        pattern: What ``--device`` takes, e.g. ``ssh://[user@]host[:port]``; starts with the name in the registry.
        open: Opens a device, given the text of ``--device``, an instance of ``options`` and the delegate. Raises
            ``UsageFailure`` for a malformed name, ``Failure`` for a device that cannot be reached or cannot measure.
        rows: Lists what is attached now, or one row that says what is missing.
        options: Options of this kind of device.
    """

    pattern: str
    open: Callable[[str, Any, str], Device]
    rows: Callable[[], list[DeviceRow]]
    options: type[DeviceOptions] = DeviceOptions
