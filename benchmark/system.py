"""Facts about this computer: processor, memory, heat. Standard library only: this file is sent to remote devices unchanged."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = [
    "RUN_PACKAGES",
    "cpu_set",
    "machine_facts",
    "memory_bytes",
    "package_versions",
    "pinned",
    "reset_peak_memory",
    "uptime",
    "vital_signs",
]

SYS = "/sys"
RUN_PACKAGES = ("distill-to-phone", "ai-edge-litert", "onnxruntime", "numpy", "pillow")


def package_versions(names: tuple[str, ...] = RUN_PACKAGES) -> dict[str, str]:
    """Return the versions of installed packages among ``names``, from metadata, without importing them."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine_facts() -> dict[str, Any]:
    """Return CPU, memory, system and library versions: the fields of ``Machine`` except ``device``.

    Values that the system does not report are ``None``.
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


def vital_signs() -> dict[str, Any]:
    """Return the present signs of throttling; empty or ``None`` where the system does not report them.

    ``governors``: those in use; ``mhz``: of each processor; ``celsius``: by thermal zone;
    ``throttled``: number of thermal throttling events since boot (x86).
    """
    cpus = sorted(Path(SYS, "devices/system/cpu").glob("cpu[0-9]*"))
    governors = {_text(f"{cpu}/cpufreq/scaling_governor") for cpu in cpus} - {None}
    mhz = [_number(f"{cpu}/cpufreq/scaling_cur_freq") for cpu in cpus]
    celsius = {}
    for zone in sorted(Path(SYS, "class/thermal").glob("thermal_zone*")):
        value = _number(f"{zone}/temp")
        if value is not None:
            celsius[f"{zone.name.replace('thermal_zone', '')} {_text(f'{zone}/type') or ''}".strip()] = value / 1000
    counts = [_number(f"{cpu}/thermal_throttle/core_throttle_count") for cpu in cpus]
    known = [count for count in counts if count is not None]
    return {
        "governors": sorted(governors),
        "mhz": [value / 1000 for value in mhz if value is not None],
        "celsius": celsius,
        "throttled": int(sum(known)) if known else None,
    }


def cpu_set(text: str) -> tuple[int, ...]:
    """Parse ``0,4-7`` into (0, 4, 5, 6, 7).

    Raises:
        ValueError: not of this form.
    """
    found = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if (
            not first.isdecimal()
            or (dash and not last.isdecimal())
            or (dash and int(last) < int(first))
            or len(part) > 9
        ):
            raise ValueError(f"{part.strip()!r} is neither a number nor a range such as 4-7")
        found |= set(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


@contextmanager
def pinned(cpus: tuple[int, ...]) -> Iterator[None]:
    """Restrict this thread, and threads that it starts, to these processors; empty: any.

    Raises:
        OSError: there are no such processors, or the system cannot pin threads.
    """
    if not cpus:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise OSError("this system cannot pin a process to processors")
    before = os.sched_getaffinity(0)
    if not set(cpus) <= before:
        raise OSError(f"processors {sorted(set(cpus) - before)} are not among those here, {sorted(before)}")
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def memory_bytes() -> tuple[int, int] | None:
    """Return (present, peak) resident memory of this process; ``None`` without /proc. See :func:`reset_peak_memory`."""
    found = {}
    for line in (_text("/proc/self/status") or "").splitlines():
        key, _, value = line.partition(":")
        if key in ("VmRSS", "VmHWM"):
            found[key] = int(value.split()[0]) * 1024
    return (found["VmRSS"], found["VmHWM"]) if len(found) == 2 else None


def reset_peak_memory() -> bool:
    """Reset the peak to the present memory; return whether the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def uptime() -> float:
    """Return the seconds since boot, on the clock that a shell reads.

    Raises:
        OSError: the system does not report it.
    """
    return float(Path("/proc/uptime").read_text().split()[0])


def _number(path: str) -> float | None:
    try:
        return float(_text(path) or "")
    except ValueError:
        return None


def _cpuinfo() -> dict[str, str]:
    """Return the first processor's entries in /proc/cpuinfo."""
    facts: dict[str, str] = {}
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            facts.setdefault(key.strip(), value.strip())
    return facts


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _megahertz() -> float | None:
    kilohertz = _text("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    return int(kilohertz) / 1000 if kilohertz and kilohertz.isdigit() else None


def _ram_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
