"""Measure energy with the battery's own counters, which the device's shell reads while our program runs.

Nothing is sent meanwhile, since the radio would be measured too: the readings go to a file and are printed after the
program has ended. They cover the whole device, screen and radios included. Experimental: no real battery has been
read yet.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.devices.bootstrap import MARK

__all__ = [
    "Energy",
    "Reading",
    "Unmeasurable",
    "check",
    "dumpsys_script",
    "energy",
    "read",
    "sysfs_script",
    "watched",
]

SUPPLIES = "/sys/class/power_supply"
PERIOD = 0.5  # seconds from one reading to the next
SETTLE_SECONDS = 1.0  # ignored at the start of the idle phase: the shell has just been started
MARGIN_SECONDS = 0.1  # ignored at its end: the first reading may be taken a little after the phase has begun
PLAUSIBLE = 0.01, 150.0  # watts; outside, the counter does not use the units of Linux
STEPS = 5  # fewest readings of a counter, or steps of a charge counter

# Units of Linux (Documentation/ABI/testing/sysfs-class-power): microamperes, microvolts, microwatts, microampere-hours.
FIELDS = ("status", "current_now", "voltage_now", "power_now", "charge_counter", "charge_now")
SYSFS = """found=
for b in {supplies}/*; do
  kind= scope= {empty}
  read -r kind < "$b/type"; read -r scope < "$b/scope"
  [ "$kind" = Battery ] && [ "$scope" != Device ] || continue
  {reads}
  [ -n "$status" ] || continue
  read -r up rest < /proc/uptime
  echo '{mark}{{"power": ["'"$up"'", {values}]}}'
  found=1; break
done"""
# Where the shell may not read these files: Android's battery service, which answers slowly.
DUMPSYS = """[ -n "$found" ] || {{
  read -r up rest < /proc/uptime
  echo '{mark}{{"dumpsys": ["'"$up"'", "'"$(dumpsys battery | tr '\\n"' ';_')"'"]}}'
  sleep 4
}}"""
AROUND = """({{ n={count}; while [ $n -gt 0 ]; do
{tick}
n=$((n-1)); sleep {period}; done; }} > {file}) 2> /dev/null < /dev/null & watch=$!
sleep {idle}
{words}; code=$?
kill $watch 2> /dev/null
cat {file}; rm -f {file}
exit $code"""


class Unmeasurable(ValueError):
    """There is no usable battery counter, or its figures would be wrong."""


@dataclass(frozen=True)
class Reading:
    """One reading of the battery; ``None``: not reported.

    Attributes:
        at: Seconds since boot.
        status: Discharging, Charging, Full, Not charging, Unknown.
        charge: Remaining charge, ampere-hours.
    """

    at: float
    status: str
    amperes: float | None = None  # absolute value: vendors disagree on the sign
    volts: float | None = None
    watts: float | None = None
    charge: float | None = None


@dataclass(frozen=True)
class Energy:
    """Energy of a model.

    Attributes:
        method: Counter used: ``power``, ``current`` or ``charge``.
        watts: Mean power of the whole device during the run.
        idle_watts: Mean power of the idle phase; ``None``: the counter is too coarse for so short a time.
        mj_per_inference: Energy of the whole device, millijoules.
        net_mj_per_inference: The part of it above idle.
        readings: Number of readings during the run.
    """

    method: str
    seconds: float
    inferences: int
    watts: float
    idle_watts: float | None
    mj_per_inference: float
    net_mj_per_inference: float | None
    readings: int


def sysfs_script() -> str:
    """Return a shell script that prints one reading from ``/sys`` as a marked line, and sets ``found`` if there is one."""
    return SYSFS.format(
        supplies=SUPPLIES, mark=MARK, empty=" ".join(f"{name}=" for name in FIELDS),
        reads="; ".join(f'read -r {name} < "$b/{name}"' for name in FIELDS),
        values=", ".join(f"\"'\"${name}\"'\"" for name in FIELDS),
    )  # fmt: skip


def dumpsys_script() -> str:
    """Return the part that follows :func:`sysfs_script` on Android: ask the battery service unless ``found`` is set."""
    return DUMPSYS.format(mark=MARK)


def watched(words: Sequence[str], folder: str, idle: float, seconds: float, script: str) -> list[str]:
    """Return a command that runs ``words``, reads the battery before and meanwhile, and prints the readings after.

    Args:
        folder: Folder on the device where the readings are kept meanwhile.
        idle: Seconds before ``words`` start.
        seconds: Longest time that ``words`` may take; the readings end then even if the connection is lost.
        script: Shell script that prints one reading, see :meth:`FarSide.battery_script`.
    """
    around = AROUND.format(
        count=int((idle + seconds) / PERIOD) + 1,
        tick=script,
        period=PERIOD,
        file=shlex.quote(f"{folder}/.power"),
        idle=idle,
        words=shlex.join(words),
    )
    return ["sh", "-c", around]


def read(messages: Iterable[dict[str, Any]]) -> list[Reading]:
    """Parse the readings among a device's messages; skip malformed ones."""
    found = []
    for message in messages:
        fields = message.get("power") or message.get("dumpsys")
        if (
            isinstance(fields, list)
            and fields
            and all(isinstance(word, str) for word in fields)
            and _number(fields[0]) is not None
        ):
            reading = _sysfs(fields) if "power" in message and len(fields) == 1 + len(FIELDS) else _dumpsys(fields)
            found += [reading] if reading else []
    return found


def _sysfs(fields: list[str]) -> Reading:
    at, status, current, voltage, power, counter, charge = fields
    amperes, volts, watts = (
        None if value is None else abs(value) / 1e6 for value in map(_number, (current, voltage, power))
    )
    left = _number(counter) or _number(charge)
    return Reading(float(at), status, amperes, volts, watts, None if left is None else left / 1e6)


def _dumpsys(fields: list[str]) -> Reading | None:
    if len(fields) != 2:
        return None
    lines = dict(re.findall(r"([A-Za-z][A-Za-z ]*): ([^;]*)", fields[1]))
    # android.os.BatteryManager
    status = {"2": "Charging", "3": "Discharging", "4": "Not charging", "5": "Full"}.get(
        lines.get("status", "").strip(), "Unknown"
    )
    if any(lines.get(f"{source} powered", "").strip() == "true" for source in ("AC", "USB", "Wireless", "Dock")):
        status = "Charging"
    volts, charge = _number(lines.get("voltage", "")), _number(lines.get("Charge counter", ""))
    return Reading(
        float(fields[0]),
        status,
        volts=None if volts is None else volts / 1e3,
        charge=None if charge is None else charge / 1e6,
    )


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d{1,18}(\.\d{1,9})?", text.strip()) else None


def check(readings: Sequence[Reading]) -> None:
    """Check that there is a battery with a counter, and that it alone powers the device.

    Raises:
        Unmeasurable: there is none, it has no counter, or it is being charged.
    """
    if not readings:
        raise Unmeasurable("no battery found: the device runs on mains power, or hides its battery")
    odd = next((reading.status for reading in readings if reading.status != "Discharging"), None)
    if odd:
        raise Unmeasurable(
            f"the device is not running on its battery (status {odd!r}): unplug it, and reach a phone over Wi-Fi"
        )
    if not any(
        reading.watts or (reading.amperes and reading.volts) or (reading.charge and reading.volts)
        for reading in readings
    ):
        raise Unmeasurable("the battery reports neither current nor charge")


def energy(readings: Sequence[Reading], idle: float, begun: float, ended: float, inferences: int) -> Energy:
    """Compute the energy of a run.

    Readings between the idle phase and the run are left out: the device is starting the program, opening the model and
    warming up.

    Args:
        readings: Readings before and during the run, in order; the first is taken as the idle phase begins.
        idle: Length of the idle phase, seconds.
        begun, ended: Start and end of the run, on the clock of the readings.

    Raises:
        Unmeasurable: see :func:`check`; or there are too few readings, or the counter is too coarse or in another unit.
    """
    check(readings)
    running = [reading for reading in readings if begun <= reading.at <= ended]
    start, end = readings[0].at + SETTLE_SECONDS, min(readings[0].at + idle - MARGIN_SECONDS, begun)
    resting = [reading for reading in readings if start <= reading.at < end]
    found = _mean(running)
    if found is None or inferences < 1:
        raise Unmeasurable(
            f"{len(running)} readings in {ended - begun:.0f} s, too few or too coarse: increase --energy-seconds"
        )
    method, watts = found
    before = _mean(resting)
    idle_watts = before[1] if before and before[0] == method else None
    if not PLAUSIBLE[0] <= watts <= PLAUSIBLE[1]:
        raise Unmeasurable(
            f"{watts:.3g} W by its {method} counter is implausible: the counter does not use the units of Linux"
        )
    seconds = ended - begun
    each = 1e3 * seconds / inferences
    return Energy(
        method,
        round(seconds, 3),
        inferences,
        watts,
        idle_watts,
        watts * each,
        None if idle_watts is None else (watts - idle_watts) * each,
        len(running),
    )


def _mean(readings: Sequence[Reading]) -> tuple[str, float] | None:
    """Return the counter used and the mean power in watts."""
    for method, values in (
        ("power", [reading.watts for reading in readings]),
        ("current", [r.amperes * r.volts if r.amperes is not None and r.volts is not None else None for r in readings]),
    ):
        known = [value for value in values if value is not None]
        if len(known) == len(readings) >= STEPS and any(known):
            at, level = np.array([reading.at for reading in readings]), np.array(known)
            joules = float(((level[1:] + level[:-1]) / 2 * np.diff(at)).sum())
            return method, joules / (at[-1] - at[0]) if at[-1] > at[0] else float(level.mean())
    counted = [reading for reading in readings if reading.charge is not None and reading.volts is not None]
    if len({reading.charge for reading in counted}) <= STEPS:
        return None
    hours = (counted[-1].at - counted[0].at) / 3600
    volts = float(np.mean([reading.volts for reading in counted if reading.volts is not None]))
    first, last = counted[0].charge, counted[-1].charge
    assert first is not None and last is not None
    return "charge", (first - last) * volts / hours
