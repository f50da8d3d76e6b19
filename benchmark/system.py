"""What the computer at hand is, as plain facts. Standard library only: this file is sent to remote devices as it is."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Optional

__all__ = ["RUN_PACKAGES", "machine_facts", "package_versions"]

RUN_PACKAGES = ("distill-to-phone", "ai-edge-litert", "onnxruntime", "numpy", "pillow")


def package_versions(names: tuple[str, ...] = RUN_PACKAGES) -> dict[str, str]:
    """Versions of those of ``names`` that are installed (read from metadata, nothing is imported)."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine_facts() -> dict[str, Any]:
    """CPU, memory, system and library versions: the fields of ``Machine`` but ``device``.

    What the system does not tell is ``None``.
    """
    facts = _cpuinfo()
    flags = facts.get("flags", "").split()
    board = _text("/proc/device-tree/model")  # "Raspberry Pi 4 Model B Rev 1.4": arm64 names no CPU model
    return {
        "cpu": facts.get("model name") or (board or "").strip("\0 ") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "virtual": ("hypervisor" in flags) if flags else None,
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "max_mhz": _megahertz(),
        "ram_bytes": _ram_bytes(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": package_versions(),
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    facts: dict[str, str] = {}
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            facts.setdefault(key.strip(), value.strip())
    return facts


def _text(path: str) -> Optional[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _megahertz() -> Optional[float]:
    kilohertz = _text("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    return int(kilohertz) / 1000 if kilohertz and kilohertz.isdigit() else None


def _ram_bytes() -> Optional[int]:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
