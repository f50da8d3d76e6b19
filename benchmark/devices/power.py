"""What a battery gives away, read by the device's own shell while our program runs there.

Nothing travels meanwhile: a radio would be measured with the model. The readings are kept in a file and printed when the
program has ended. They are of the whole device, screen and radios included.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.devices.bootstrap import MARK

__all__ = ["Energy", "Reading", "Unmeasurable", "check", "energy", "read", "tick", "watched"]

SUPPLIES = "/sys/class/power_supply"
PERIOD = 0.5  # seconds from one reading to the next
SETTLE_SECONDS = 1.0  # at the beginning of the idle stretch: the shell has just been started
PLAUSIBLE = 0.01, 150.0  # watts; beyond, the unit is not the one that Linux prescribes
STEPS = 5  # of a charge counter, at least: fewer are too coarse

# As linux/Documentation/ABI/testing/sysfs-class-power has it: microamperes, microvolts, microwatts, microampere-hours.
FIELDS = ("status", "current_now", "voltage_now", "power_now", "charge_counter", "charge_now")
TICK = """told=
for b in {supplies}/*; do
  kind= scope= {empty}
  read -r kind < "$b/type"; read -r scope < "$b/scope"
  [ "$kind" = Battery ] && [ "$scope" != Device ] || continue
  {reads}
  [ -n "$status" ] || continue
  read -r up rest < /proc/uptime
  echo '{mark}{{"power": ["'"$up"'", {values}]}}'
  told=1; break
done"""
# Where the shell may not read the files: Android's own service, which is slow to ask.
DUMPSYS = """
[ -n "$told" ] || {{
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
    """There is nothing to measure with, or what there is would not tell the truth."""


@dataclass(frozen=True)
class Reading:
    """One look at the battery; ``None``: not told.

    Attributes:
        at: seconds since the device was switched on.
        status: Discharging, Charging, Full, Not charging, Unknown.
        charge: left in it, ampere-hours.
    """

    at: float
    status: str
    amperes: float | None = None  # without a sign, which makers set as they like
    volts: float | None = None
    watts: float | None = None
    charge: float | None = None


@dataclass(frozen=True)
class Energy:
    """What a model takes.

    Attributes:
        method: ``power``, ``current``, ``charge``: which counter told.
        watts: mean of the whole device while it ran.
        idle_watts: mean before; ``None``: the counter is too coarse for so short a time.
        mj_per_inference: of the whole device, millijoules.
        net_mj_per_inference: what of it comes on top of idling.
        readings: how many there were while it ran.
    """

    method: str
    seconds: float
    inferences: int
    watts: float
    idle_watts: float | None
    mj_per_inference: float
    net_mj_per_inference: float | None
    readings: int


def tick(android: bool) -> str:
    """Shell that prints one reading, a marked line."""
    text = TICK.format(
        supplies=SUPPLIES, mark=MARK, empty=" ".join(f"{name}=" for name in FIELDS),
        reads="; ".join(f'read -r {name} < "$b/{name}"' for name in FIELDS),
        values=", ".join(f"\"'\"${name}\"'\"" for name in FIELDS),
    )  # fmt: skip
    return text + (DUMPSYS.format(mark=MARK) if android else "")


def watched(words: Sequence[str], folder: str, idle: float, seconds: float, android: bool) -> list[str]:
    """The words that run ``words`` with readings before, during and printed after.

    Args:
        folder: where the readings are kept meanwhile.
        idle: seconds before ``words`` start.
        seconds: that they take at most; the readings end then, whatever becomes of the connection.
    """
    script = AROUND.format(
        count=int((idle + seconds) / PERIOD) + 1,
        tick=tick(android),
        period=PERIOD,
        file=shlex.quote(f"{folder}/.power"),
        idle=idle,
        words=shlex.join(words),
    )
    return ["sh", "-c", script]


def read(messages: Iterable[dict[str, Any]]) -> list[Reading]:
    """The readings among what a device said; what cannot be read is left out."""
    found = []
    for message in messages:
        told = message.get("power") or message.get("dumpsys")
        if (
            isinstance(told, list)
            and told
            and all(isinstance(word, str) for word in told)
            and _number(told[0]) is not None
        ):
            reading = _sysfs(told) if "power" in message and len(told) == 1 + len(FIELDS) else _dumpsys(told)
            found += [reading] if reading else []
    return found


def _sysfs(told: list[str]) -> Reading:
    at, status, current, voltage, power, counter, charge = told
    micro = [None if value is None else abs(value) / 1e6 for value in map(_number, (current, voltage, power))]
    left = _number(counter) or _number(charge)
    return Reading(float(at), status, *micro, None if left is None else left / 1e6)


def _dumpsys(told: list[str]) -> Reading | None:
    if len(told) != 2:
        return None
    lines = dict(re.findall(r"([A-Za-z][A-Za-z ]*): ([^;]*)", told[1]))
    # android.os.BatteryManager
    status = {"2": "Charging", "3": "Discharging", "4": "Not charging", "5": "Full"}.get(
        lines.get("status", "").strip(), "Unknown"
    )
    if any(lines.get(f"{source} powered", "").strip() == "true" for source in ("AC", "USB", "Wireless", "Dock")):
        status = "Charging"
    volts, charge = _number(lines.get("voltage", "")), _number(lines.get("Charge counter", ""))
    return Reading(
        float(told[0]),
        status,
        volts=None if volts is None else volts / 1e3,
        charge=None if charge is None else charge / 1e6,
    )


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d{1,18}(\.\d{1,9})?", text.strip()) else None


def check(readings: Sequence[Reading]) -> None:
    """See that there is a battery, that it alone feeds the device, and that it counts.

    Raises:
        Unmeasurable: why not.
    """
    if not readings:
        raise Unmeasurable("no battery tells of itself: the device is fed by a supply, or hides it")
    odd = next((reading.status for reading in readings if reading.status != "Discharging"), None)
    if odd:
        raise Unmeasurable(
            f"the battery is not what feeds the device (status {odd!r}): unplug it; a phone is reached over Wi-Fi then"
        )
    if not any(
        reading.watts or (reading.amperes and reading.volts) or (reading.charge and reading.volts)
        for reading in readings
    ):
        raise Unmeasurable("the battery counts neither current nor charge")


def energy(readings: Sequence[Reading], begun: float, ended: float, inferences: int) -> Energy:
    """Energy of a run.

    Args:
        readings: before and during, in order.
        begun, ended: of the run, on the clock of the readings.

    Raises:
        Unmeasurable: see :func:`check`; or too few readings, or a counter too coarse or in another unit.
    """
    check(readings)
    running = [reading for reading in readings if begun <= reading.at <= ended]
    start = readings[0].at + SETTLE_SECONDS
    idle = [reading for reading in readings if start <= reading.at < begun]
    found = _mean(running)
    if found is None or inferences < 1:
        raise Unmeasurable(
            f"{len(running)} readings in {ended - begun:.0f} s, too few or too coarse: give it more --energy-seconds"
        )
    method, watts = found
    before = _mean(idle)
    idle_watts = before[1] if before and before[0] == method else None
    if not PLAUSIBLE[0] <= watts <= PLAUSIBLE[1]:
        raise Unmeasurable(
            f"{watts:.3g} W by its {method} is no device's power: it does not count in the units of Linux"
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
    """Which counter, and watts."""
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
    volts = float(np.mean([reading.volts for reading in counted]))
    assert counted[0].charge is not None and counted[-1].charge is not None
    return "charge", (counted[0].charge - counted[-1].charge) * volts / hours
