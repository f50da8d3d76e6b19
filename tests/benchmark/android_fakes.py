"""What a fake phone needs besides adb: properties, dumpsys, and an app_process that runs another runner."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from adb_daemon import FakePhone

from benchmark.devices.parcel import parcel

__all__ = ["board_runner", "install", "make_runner"]

PROPERTIES = {
    "ro.product.manufacturer": "Google", "ro.product.model": "Pixel 6", "ro.product.cpu.abi": "arm64-v8a",
    "ro.soc.manufacturer": "Google", "ro.soc.model": "GS101", "ro.build.version.sdk": "34", "ro.build.version.release": "14",
    "ro.build.fingerprint": "google/oriole/oriole:14/AP1A.240505.004/11583682:user/release-keys", "ro.boot.qemu": "1",
}  # fmt: skip
# As printed by Android 14.
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  status: 2
  health: 2
  present: true
  level: 84
  scale: 100
  voltage: 4190
  temperature: 287
  technology: Li-ion"""
THERMAL = """IsStatusOverride: false
ThermalEventListeners:
	callbacks: 2
	killed: false
Thermal Status: 0
Cached temperatures:
	Temperature{mValue=55.1, mType=0, mName=BIG, mStatus=0}
HAL Ready: true
HAL connection:
	ThermalHAL 2.0 connected: yes
Current temperatures from HAL:
	Temperature{mValue=41.0, mType=0, mName=BIG, mStatus=0}
	Temperature{mValue=30.125, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
	Temperature{mValue=-273.15, mType=9, mName=TPU, mStatus=0}
Current cooling devices from HAL:
	CoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}"""


def make_runner(folder: Path, abis: Sequence[str] = ("arm64-v8a",)) -> Path:
    """Make files in place of ``android_demo/build``; they are never run, see :func:`install`."""
    (folder / "jni").mkdir(parents=True)
    (folder / "runner.jar").write_bytes(b"dex" * 1000)
    for abi in abis:
        (folder / "jni" / abi).mkdir()
        (folder / "jni" / abi / "libtensorflowlite_jni.so").write_bytes(abi.encode() * 500)
        (folder / "jni" / abi / "libtensorflowlite_gpu_jni.so").write_bytes(abi.encode() * 300)
    return folder


def board_runner(phone: FakePhone, python: Sequence[str]) -> list[str]:
    """Return the words that start the runner for boards on the phone."""
    code = phone.root / "runner.zip"
    code.write_bytes(parcel())
    return [*python, str(code)]


def install(
    phone: FakePhone, runner: Sequence[str], environment: dict[str, str] | None = None, **properties: str
) -> None:
    """Make the phone answer like a real one, and run another runner of the same protocol in place of ours.

    Args:
        runner: Words that start it.
        environment: Its environment, without PATH.
        properties: Properties of ``getprop``, with ``_`` for ``.``.
    """
    found = PROPERTIES | {name.replace("_", "."): value for name, value in properties.items()}
    phone.program(
        "getprop", "cat <<'END'\n" + "\n".join(f"[{name}]: [{value}]" for name, value in found.items()) + "\nEND"
    )
    phone.program(
        "dumpsys",
        f"case $1 in battery) cat <<'END'\n{BATTERY}\nEND\n;; thermalservice) cat <<'END'\n{THERMAL}\nEND\n;; esac",
    )
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items())
    phone.program(
        "app_process",
        f"""
# app_process [options of the virtual machine] / CLASS COMMAND FOLDER
[ -r "$CLASSPATH" ] && [ -r "${{1#-Djava.library.path=}}/libtensorflowlite_jni.so" ] || exit 71
[ "$2 $3" = "/ org.distilltophone.runner.Main" ] || exit 72
exec env -i PATH="$PATH" {given} {shlex.join(runner)} "$4" "$5"
""",
    )
