"""Facts that phones report, parsed without trusting them."""

from __future__ import annotations

import android_fakes
from hypothesis import given
from hypothesis import strategies as st

from benchmark.devices.adb import Attached, _parse
from benchmark.devices.android import parse_facts, parse_vitals
from benchmark.result import Machine, Vitals

# As printed by adb 29 and 34.
LISTING = """* daemon not running; starting now at tcp:5037
* daemon started successfully
List of devices attached
1A2B3C4D5E             device usb:1-1 product:oriole model:Pixel_6 device:oriole transport_id:1
0123456789             no permissions (user in plugdev group; are your udev rules wrong?); see [http://developer.android.com/tools/device.html] usb:1-2
192.168.0.7:5555       offline transport_id:3
emulator-5554          unauthorized transport_id:4

"""


def test_a_listing():
    found = _parse(LISTING)
    assert found[0] == Attached("1A2B3C4D5E", "device", "Pixel_6") and found[0].cure is None
    assert [device.state for device in found] == ["device", "no permissions", "offline", "unauthorized"]
    assert "apt-get install android-sdk-platform-tools-common" in found[1].cure and "reconnect" in found[2].cure
    assert "adb devices" in Attached("x", "something new").cure


def test_facts_of_a_phone_with_big_and_little_cores():
    text = (
        "@@properties\n"
        + "\n".join(f"[{name}]: [{value}]" for name, value in android_fakes.PROPERTIES.items() if "qemu" not in name)
        + "\n[line.breaks]: [one\ntwo]\n@@max_khz\n1803000\n1803000\n2253000\n2802000\n@@cores\n0-3\n"
        + "@@memory\nMemTotal:        7672400 kB\nMemFree: 1 kB\n@@battery\n"
        + android_fakes.BATTERY
        + "\n@@governors\nsched_pixel\nsched_pixel\n@@khz\n300000\n@@thermal\n"
        + android_fakes.THERMAL
    )
    facts = parse_facts(text)
    machine = Machine(device="adb:x", **facts)
    assert (machine.cores, machine.max_mhz, machine.governor) == (4, 2802.0, "sched_pixel") and not machine.emulated
    assert machine.ram_bytes == 7672400 * 1024 and machine.phone.max_mhz == [1803.0, 1803.0, 2253.0, 2802.0]
    assert machine.phone.model == "Google Pixel 6" and machine.phone.soc == "Google GS101" and machine.phone.plugged_in


def test_a_phone_that_reports_nothing():
    machine = Machine(device="adb:x", **parse_facts(""))
    assert machine.cores == 1 and machine.phone.abi is None and machine.phone.plugged_in is None


HEADS = ["@@properties", "@@battery", "@@cores", "@@max_khz", "@@memory", "@@thermal", "@@khz", "@@governors", ""]
LINES = st.one_of(
    st.sampled_from(HEADS),
    st.text(max_size=60),
    st.builds("[{}]: [{}]".format, st.sampled_from(list(android_fakes.PROPERTIES)), st.text(max_size=12)),
    st.builds(
        "Temperature{{mValue={}, mType=3, mName={}, mStatus=0}}".format, st.text(max_size=8), st.text(max_size=8)
    ),
)


@given(st.lists(LINES, max_size=40))
def test_any_answer_is_parsed_or_skipped(lines):
    text = "\n".join(lines)
    Machine(device="adb:x", **parse_facts(text))
    Vitals(**parse_vitals(text))
