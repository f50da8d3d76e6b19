"""Facts about a phone: the scripts that ask ``adb shell`` for them, and parsers for the answers."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["FACTS", "VITALS", "parse_facts", "parse_vitals", "sections"]

MARK = "@@"
# A section is empty where the system lacks or forbids it.
VITALS = (
    f"echo {MARK}governors; cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; "
    f"echo {MARK}khz; cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq; "
    f"echo {MARK}thermal; dumpsys thermalservice"
)
FACTS = (
    f"echo {MARK}properties; getprop; "
    f"echo {MARK}max_khz; cat /sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq; "
    f"echo {MARK}cores; cat /sys/devices/system/cpu/present; "
    f"echo {MARK}memory; cat /proc/meminfo; "
    f"echo {MARK}battery; dumpsys battery; {VITALS}"
)


def sections(text: str) -> dict[str, list[str]]:
    """Split the answer to :data:`FACTS` or :data:`VITALS` by section."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(MARK):
            lines = found.setdefault(line[len(MARK) :].strip(), [])
        else:
            lines.append(line)
    return found


def parse_facts(text: str) -> dict[str, Any]:
    """Parse the fields of ``Machine``, including ``phone``; unknown values are ``None``."""
    parts = sections(text)
    properties = dict(re.findall(r"^\[([^\]]+)\]: \[(.*)\]$", "\n".join(parts.get("properties", [])), re.MULTILINE))
    get = lambda *names: next((properties[name] for name in names if properties.get(name)), None)  # noqa: E731
    battery = dict(re.findall(r"^\s*([^:]+): (.*)$", "\n".join(parts.get("battery", [])), re.MULTILINE))
    vitals = parse_vitals(text)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", "\n".join(parts.get("memory", [])), re.MULTILINE)
    # "SM8550" since Android 12, "qcom kalama" and the like before.
    soc = " ".join(filter(None, (get("ro.soc.manufacturer"), get("ro.soc.model")))) or get(
        "ro.board.platform", "ro.hardware"
    )
    model = " ".join(dict.fromkeys(filter(None, (get("ro.product.manufacturer"), get("ro.product.model")))))
    max_mhz = _megahertz(parts.get("max_khz", []))
    tenths = _whole(battery.get("temperature"))
    plugged = [battery[name] == "true" for name in ("AC powered", "USB powered", "Wireless powered") if name in battery]
    phone = {
        "model": model or None,
        "soc": soc,
        "abi": get("ro.product.cpu.abi"),
        "sdk": _whole(get("ro.build.version.sdk")),
        "fingerprint": get("ro.build.fingerprint"),
        "battery_percent": _whole(battery.get("level")),
        "battery_celsius": None if tenths is None else tenths / 10,
        "plugged_in": any(plugged) if plugged else None,
        "max_mhz": max_mhz,
    }
    return {
        "cpu": soc or "unknown",
        "cores": _count(parts.get("cores", [])) or len(max_mhz) or 1,
        "virtual": None,
        "governor": ", ".join(vitals["governors"]) or None,
        "max_mhz": max(max_mhz, default=None),
        "ram_bytes": int(memory[1]) * 1024 if memory else None,
        "os": f"Android {get('ro.build.version.release') or 'of unknown version'}",
        "python": None,
        "packages": {},
        # Android's emulator, and Google's virtual phones.
        "emulated": get("ro.boot.qemu", "ro.kernel.qemu") == "1"
        or get("ro.hardware") in ("ranchu", "goldfish", "cutf_cvm"),
        "phone": phone,
    }


def parse_vitals(text: str) -> dict[str, Any]:
    """Parse the fields of ``Vitals``."""
    parts = sections(text)
    thermal = "\n".join(parts.get("thermal", []))
    status = re.search(r"^\s*Thermal Status: (\d+)", thermal, re.MULTILINE)
    # "Cached temperatures" may be old; the present ones follow them.
    present = thermal.partition("Current temperatures from HAL:")[2].partition("Current cooling devices")[0] or thermal
    celsius = {
        name: float(value)
        for value, name in re.findall(r"Temperature\{mValue=(-?[\d.]+), mType=-?\d+, mName=([^,}]+)", present)
        if -50 < float(value) < 200  # -273 and similar: no sensor
    }
    return {
        "governors": sorted({line.strip() for line in parts.get("governors", []) if line.strip()}),
        "mhz": _megahertz(parts.get("khz", [])),
        "celsius": celsius,
        "throttled": None,
        "thermal_status": int(status[1]) if status else None,
    }


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,9}", text.strip()) else None


def _megahertz(lines: list[str]) -> list[float]:
    return [value / 1000 for value in map(_whole, lines) if value is not None]


def _count(lines: list[str]) -> int | None:
    """Count the processors in a list such as ``0-7``."""
    from benchmark.system import cpu_set

    try:
        return len(cpu_set(lines[0].strip())) if lines else None
    except ValueError:
        return None
