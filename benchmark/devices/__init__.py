"""Devices that run bundles: this computer, phones, boards. Importing this package imports no engine and no NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, create_model

from benchmark.devices.spec import DEFAULT_DELEGATE, DELEGATES, DeviceOptions, DeviceRow, DeviceSpec
from distill.console import Failure, UsageFailure, suggest
from distill.registry import Registry

if TYPE_CHECKING:
    from benchmark.devices.base import Device

__all__ = ["DEVICES", "all_device_options", "list_devices", "open_device"]

# Name (the part of ``--device`` before the first colon) -> the spec beside the device's code.
DEVICES: Registry[DeviceSpec] = Registry(
    "device",
    DeviceSpec,
    {
        "host": "benchmark.devices.local:HOST",
        "adb": "benchmark.devices.adb:ADB",
        "ssh": "benchmark.devices.ssh:SSH",
        "emulated-arm64": "benchmark.devices.emulated:EMULATED_ARM64",
    },
    group="distill_to_phone.devices",
)


def open_device(name: str = "host", delegate: str = DEFAULT_DELEGATE, **options: Any) -> Device:
    """Open a device.

    Args:
        name: ``host``, ``adb[:serial]``, ``ssh://[user@]host[:port]``, ``emulated-arm64:FOLDER``, or the name of a
            device that another package adds.
        delegate: What computes TFLite variants, one of ``DELEGATES``.
        options: Options of the device, named as its flags: ``remote_folder`` for ``--remote-folder``. Options of
            other kinds of device are ignored.

    Raises:
        UsageFailure: unknown device, delegate or option, or a value that the option does not take.
        Failure: the device cannot be reached, or lacks what is needed to measure.
    """
    kind = name.split(":", 1)[0]
    if kind not in DEVICES:
        raise UsageFailure(f"--device {name}: no such device", suggest(kind, DEVICES.names()))
    if delegate not in DELEGATES:
        raise UsageFailure(f"--delegate {delegate}: no such delegate", suggest(delegate, DELEGATES))
    spec = DEVICES[kind]
    device = spec.open(name, _options(spec, options), delegate)
    device.delegate = delegate
    return device


def list_devices() -> list[DeviceRow]:
    """List the devices that are available now, and what the others need."""
    found: list[DeviceRow] = []
    for name in DEVICES.names():
        try:
            found += DEVICES[name].rows()
        except Failure as failure:
            found.append(DeviceRow(name, "broken", str(failure)))
    return found


def all_device_options() -> type[DeviceOptions]:
    """Build one model with the options of all devices; the flags of ``distill-bench`` are made from it.

    A device that cannot be imported has no flags; :func:`list_devices` and :func:`open_device` report it.
    """
    fields: dict[str, Any] = {}
    for name in DEVICES.names():
        try:
            spec = DEVICES[name]
        except Failure:
            continue
        for option, field in spec.options.model_fields.items():
            fields.setdefault(option, (field.annotation, field))
    return create_model("AllDeviceOptions", __base__=DeviceOptions, **fields)


def _options(spec: DeviceSpec, given: dict[str, Any]) -> DeviceOptions:
    known = {*all_device_options().model_fields, *spec.options.model_fields}
    for name in given:
        if name not in known:
            raise UsageFailure(f"no device has an option '{name}'", suggest(name, known))
    try:
        return spec.options(**{name: value for name, value in given.items() if name in spec.options.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        raise UsageFailure(f"{flag} {first['input']}: {first['msg']}", f"see --help for {flag}") from None
