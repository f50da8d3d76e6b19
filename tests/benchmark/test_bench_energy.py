"""Energy from a battery's own counter: read, refused, and measured on a fake battery."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import benchmark_fakes as fakes
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st

from benchmark.cli import app
from benchmark.devices import jobs, power
from benchmark.devices.power import Reading, Unmeasurable, dumpsys_script, energy, sysfs_script
from benchmark.devices.side import marked
from distill.console import run_app

linux = pytest.mark.skipif(not Path("/proc/uptime").exists(), reason="needs /proc/uptime, which Linux has")


def readings(watts: float, count: int = 61, begin: float = 0.0, **fields) -> list[Reading]:
    """Return two readings per second."""
    return [
        Reading(begin + n / 2, "Discharging", **({"amperes": watts / 4, "volts": 4.0} | fields)) for n in range(count)
    ]


def test_millijoules_by_current_and_voltage():
    found = energy(readings(0.5, 21) + readings(2.5, 60, 10.5), 10.5, 10.5, 40.0, 1000)
    assert found.method == "current" and found.watts == pytest.approx(2.5) and found.idle_watts == pytest.approx(0.5)
    assert found.mj_per_inference == pytest.approx(2.5 * 29.5 / 1000 * 1e3)
    assert found.net_mj_per_inference == pytest.approx(2.0 * 29.5 / 1000 * 1e3) and found.readings == 60


@pytest.mark.parametrize("busy", [1.0, 1.5, 4.0])
def test_starting_the_program_is_not_idle(busy):
    """0.5 W for 6 s of rest, ``busy`` while the model is opened, then 2.5 W for 1 ms each: 2.0 mJ above idle."""
    told = readings(0.5, 12) + readings(busy, 8, 6.0) + readings(2.5, 61, 10.0)
    found = energy(told, 6.0, 10.0, 40.0, 30_000)
    assert found.idle_watts == pytest.approx(0.5)
    assert found.mj_per_inference == pytest.approx(2.5) and found.net_mj_per_inference == pytest.approx(2.0)


def test_power_comes_first_and_is_weighted_by_time():
    told = [
        Reading(at, "Discharging", 9.0, 4.0, watts)
        for at, watts in ((0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0), (9, 3.0), (10, 3.0))
    ]
    found = energy(told, 0, 0, 10, 10)
    assert (
        found.method == "power"
        and found.watts == pytest.approx((3 * 1 + 6 * 2 + 1 * 3) / 10)
        and found.idle_watts is None
    )


def test_a_counter_of_charge():
    told = [Reading(float(n), "Discharging", volts=3.6, charge=3.0 - n * 0.0002) for n in range(40)]  # 0.72 A
    found = energy(told, 10, 10, 40, 500)
    assert found.method == "charge" and found.watts == pytest.approx(0.72 * 3.6)
    coarse = [Reading(float(n), "Discharging", volts=3.6, charge=3.0 - n // 10 * 0.002) for n in range(40)]
    with pytest.raises(Unmeasurable, match="too coarse: increase --energy-seconds"):
        energy(coarse, 10, 10, 40, 500)


@pytest.mark.parametrize(("told", "why"), [
    ([], "no battery"),
    ([*readings(1.0, 20), Reading(10, "Charging", 1.0, 4.0)], "status 'Charging'"),
    ([Reading(0, "Full", 1.0, 4.0)], "unplug it"),
    ([Reading(0, "Discharging", volts=4.0)], "neither current nor charge"),
    (readings(0.002), "does not use the units of Linux"),  # milliamperes where Linux has microamperes
    (readings(1.0, 3), "too few"),
])  # fmt: skip
def test_what_is_refused(told, why):
    with pytest.raises(Unmeasurable, match=why):
        energy(told, 0, 0, 30, 100)


@given(
    st.lists(
        st.one_of(
            st.fixed_dictionaries({"power": st.one_of(st.text(max_size=4), st.lists(st.text(max_size=9), max_size=8))}),
            st.fixed_dictionaries({"dumpsys": st.lists(st.one_of(st.text(max_size=30), st.integers()), max_size=3)}),
        ),
        max_size=5,
    )
)
def test_any_message_is_parsed_or_skipped(messages):
    power.read(messages)


def tick(environment: dict[str, str] | None = None, shell: str = "sh") -> list[Reading]:
    script = sysfs_script() if environment is None else f"{sysfs_script()}\n{dumpsys_script()}"
    script = script.replace("sleep 4", "sleep 0")
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, env=environment, check=False)
    return power.read(marked(done.stdout.splitlines()))


@linux
def test_the_shell_finds_the_battery_of_the_device(tmp_path, monkeypatch):
    monkeypatch.setattr(power, "SUPPLIES", str(tmp_path))
    assert tick() == []
    for name, content in {
        "AC": {"type": "Mains", "status": "Discharging"},
        "a-mouse": {"type": "Battery", "scope": "Device", "status": "Discharging"},
        "battery": {
            "type": "Battery",
            "status": "Not charging",
            "current_now": "-350000",
            "voltage_now": "4012000",
            "charge_counter": "2900000",
        },
    }.items():
        (tmp_path / name).mkdir()
        for file, text in content.items():
            (tmp_path / name / file).write_text(f"{text}\n")
    (found,) = tick()
    assert (found.status, found.amperes, found.volts, found.watts, found.charge) == (
        "Not charging",
        0.35,
        4.012,
        None,
        2.9,
    ) and found.at > 0
    for shell in ("mksh", "busybox"):  # mksh is the shell of Android
        if shutil.which(shell):
            assert tick(shell=shell)[0].amperes == 0.35


@linux
def test_android_s_service_where_the_files_are_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr(power, "SUPPLIES", str(tmp_path / "none"))
    program = tmp_path / "dumpsys"

    def phone(plugged: str, status: int) -> Reading:
        text = (
            f"Current Battery Service state:\n  USB powered: {plugged}\n  Max charging current: 0\n  Charge counter: 3123000\n"
            f'  status: {status}\n  voltage: 4190\n  technology: Li-"ion"'
        )
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        program.chmod(0o755)
        (found,) = tick({"PATH": f"{tmp_path}:/usr/bin:/bin"})
        return found

    found = phone("false", 3)
    assert (found.status, found.volts, found.charge, found.amperes) == ("Discharging", 4.19, 3.123, None)
    assert phone("true", 3).status == "Charging" and phone("false", 5).status == "Full"


@pytest.fixture
def bundle_dir(tmp_path, photos):
    return fakes.make_bundle(
        tmp_path / "bundle",
        f"folder:{photos}",
        ("tflite-float32",),
        models={"tflite": tiny_models.tflite_model(fakes.SIDE)},
    )


@linux
@pytest.mark.slow
def test_in_one_command(bundle_dir, tmp_path, monkeypatch, capsys):
    """A battery that always gives 0.5 A, from its files to the report."""
    supplies = tmp_path / "supplies"
    monkeypatch.setattr(power, "SUPPLIES", str(supplies))
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 4.0)
    arguments = [str(bundle_dir), "--part", "all", "--seconds", "0", "--no-memory", "--energy", "--energy-seconds", "5"]
    assert run_app(app, arguments) == 0
    assert "energy was not measured: this computer: no battery found" in " ".join(capsys.readouterr().out.split())
    (supplies / "BAT0").mkdir(parents=True)
    for file, text in {
        "type": "Battery",
        "status": "Discharging",
        "current_now": "500000",
        "voltage_now": "4000000",
    }.items():
        (supplies / "BAT0" / file).write_text(f"{text}\n")
    out, page = tmp_path / "r.json", tmp_path / "r.html"
    assert run_app(app, [*arguments, "--json-out", str(out), "--html", str(page)]) == 0
    (variant,) = json.loads(out.read_text())["variants"]
    use = variant["energy"]
    assert (
        use["method"] == "current"
        and use["watts"] == pytest.approx(2.0)
        and use["net_mj_per_inference"] == pytest.approx(0, abs=1e-9)
    )
    assert use["mj_per_inference"] == pytest.approx(2000 * use["seconds"] / use["inferences"]) and use["readings"] >= 5
    assert 4.9 < use["seconds"] < 60 and use["inferences"] > 100
    assert "energy of tflite-float32" in capsys.readouterr().out and "mJ per inference" in page.read_text()
    assert sys.platform == "linux" and not list(tmp_path.glob("**/.power"))
