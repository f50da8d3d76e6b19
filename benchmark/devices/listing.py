"""Which devices there are now, and what the others need."""

from __future__ import annotations

import shutil

from benchmark.devices.host import Host
from distill.console import Failure

__all__ = ["list_devices"]


def list_devices() -> list[dict[str, str]]:
    """Rows of ``name`` (for ``--device``), ``status`` and ``what`` (what it is, or what makes it ready)."""
    machine = Host().describe()
    return [
        {"name": "host", "status": "ready", "what": f"{machine.cpu}, {machine.cores} cores, {machine.os}"},
        *_phones(),
        {
            "name": "ssh://[user@]host[:port]",
            "status": "name one",
            "what": "a Linux board with Python 3.9, numpy and ai-edge-litert or onnxruntime",
        },
        _emulated(),
    ]


def _phones() -> list[dict[str, str]]:
    from benchmark.devices.adb import INSTALL, attached

    if shutil.which("adb") is None:
        return [{"name": "adb[:serial]", "status": "no adb here", "what": f"a phone: {INSTALL}"}]
    try:
        found = attached()
    except Failure as failure:
        return [{"name": "adb[:serial]", "status": "adb fails", "what": str(failure)}]
    if not found:
        what = "plug a phone in, with USB debugging on; over Wi-Fi: adb connect HOST:PORT"
        return [{"name": "adb[:serial]", "status": "none attached", "what": what}]
    return [
        {
            "name": f"adb:{device.serial}",
            "status": "ready" if device.cure is None else device.state,
            "what": device.cure or (device.model or "").replace("_", " ") or "a phone",
        }
        for device in found
    ]


def _emulated() -> dict[str, str]:
    from benchmark.devices.emulated import QEMU

    qemu = any(shutil.which(name) for name in QEMU)
    return {
        "name": "emulated-arm64:FOLDER",
        "status": "name one" if qemu else "no qemu here",
        "what": "arm64 numerics, no latency; scripts/arm64-root.sh makes the folder"
        + ("" if qemu else " and brings qemu"),
    }
