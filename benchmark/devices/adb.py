"""Phones over adb: the client of the Android platform tools, and the spec of ``adb``.

``ANDROID_ADB_SERVER_PORT`` and everything else that adb reads from its environment is respected.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from benchmark.devices.spec import DeviceRow, DeviceSpec, RemoteOptions, device_option
from benchmark.devices.transport import Finished, Lost, Transport
from distill.console import Failure, UsageFailure, suggest

if TYPE_CHECKING:
    from benchmark.devices.base import Device

__all__ = ["ADB", "Adb", "AdbOptions", "Attached", "attached", "choose"]

PATTERN = "adb[:serial]"

END = "@distill-bench-end "
INSTALL = "install Android's platform tools (Debian: apt-get install adb)"
AGAIN = "check cable and power, then run the same command again: finished work is kept"
AT_ONCE = 100  # files per command: Windows limits it to 32,767 characters

# A device's state in ``adb devices`` -> the cure.
CURES = {
    "unauthorized": "unlock the phone and allow USB debugging for this computer when it asks",
    "authorizing": "it is asking for permission now: try again in a moment",
    "connecting": "it is connecting: try again in a moment",
    "offline": "plug it in again, or: adb reconnect offline",
    "no permissions": "on Linux: apt-get install android-sdk-platform-tools-common, then plug it in again",
    "recovery": "start Android on it: adb reboot",
    "sideload": "start Android on it: adb reboot",
    "bootloader": "start Android on it: fastboot reboot",
}
GONE = (
    "not found",
    "device offline",
    "closed",
    "no devices",
    "connect failed",
    "connection reset",
    "protocol fault",
    "broken pipe",
    "eof",
)


@dataclass(frozen=True)
class Attached:
    """One line of ``adb devices -l``."""

    serial: str
    state: str  # "device": ready
    model: str | None = None

    @property
    def cure(self) -> str | None:
        """What makes it ready; ``None`` if it is."""
        return None if self.state == "device" else CURES.get(self.state, "see: adb devices -l")


def attached() -> list[Attached]:
    """Return the devices that adb sees; start its server if none runs.

    Raises:
        Failure: adb is not installed, or its server does not start.
    """
    done = _adb(["devices", "-l"])
    if done.code != 0:
        raise Failure(f"adb: {_last(done.stderr)}", "try: adb kill-server; adb devices")
    return _parse(done.stdout)


def _parse(text: str) -> list[Attached]:
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or line.startswith(("*", "List of devices")):
            continue  # "* daemon started successfully"
        state = "no permissions" if words[1:3] == ["no", "permissions"] else words[1]
        model = next((word[6:] for word in words[2:] if word.startswith("model:")), None)
        found.append(Attached(words[0], state, model))
    return found


def choose(name: str, devices: Sequence[Attached]) -> Attached:
    """Return the device that ``adb`` or ``adb:SERIAL`` refers to.

    Raises:
        UsageFailure: several devices, or none of this serial.
        Failure: no device, or it is not ready.
    """
    _, _, serial = name.partition(":")
    if serial:
        found = [device for device in devices if device.serial == serial]
        if not found:
            cure = (
                suggest(serial, [device.serial for device in devices])
                if devices
                else "plug it in, with USB debugging on"
            )
            if re.fullmatch(r"[^:]+:\d+", serial):
                cure = f"connect over Wi-Fi first: adb connect {serial}"
            raise UsageFailure(f"--device {name}: adb sees no such device", cure)
    else:
        ready = [device for device in devices if device.state == "device"]
        found = ready or list(devices)
        if not found:
            raise Failure(
                f"--device {name}: adb sees no device",
                "plug the phone in and switch on USB debugging (Settings, Developer options); over Wi-Fi: adb connect HOST:PORT",
            )
        if len(found) > 1:
            raise UsageFailure(
                f"--device {name}: {len(found)} devices", f"choose one: {', '.join(f'adb:{d.serial}' for d in found)}"
            )
    device = found[0]
    if device.cure:
        raise Failure(f"--device {name}: {device.serial} is {device.state}", device.cure)
    return device


class Adb(Transport):
    """The transport to one phone.

    Args:
        serial: Serial number as in ``adb devices``.

    Raises:
        Failure: the phone is gone, or its shell is too old.
    """

    def __init__(self, serial: str) -> None:
        self.where = serial
        self._serial = serial
        done = _adb(["-s", serial, "features"])
        if done.code != 0:
            raise self._lost("no connection", done.stderr)
        if "shell_v2" not in done.stdout.split():
            raise Failure(f"{serial}: its shell returns no exit status", "Android 7 or newer is needed")

    def run(
        self, arguments: Sequence[str], stdin: bytes = b"", on_line: Callable[[str], None] | None = None
    ) -> Finished:
        # Some versions of the client exit with 0 when the cable is pulled: the phone's shell reports the status.
        command = f"({shlex.join(arguments)}); code=$?; echo; echo {shlex.quote(END)}$code"
        lines: list[str] = []
        code: int | None = None

        def collect(line: str) -> None:
            nonlocal code
            if line.startswith(END):
                code = int(line[len(END) :])
                return
            lines.append(line)
            if on_line:
                on_line(line)

        done = _adb(["-s", self._serial, "shell", command], stdin, collect)
        if code is None:
            raise self._lost("the connection was lost", done.stderr)
        return Finished(code, "\n".join(lines), done.stderr)

    def push(self, files: Mapping[str, Path]) -> None:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            named: dict[str, list[str]] = {}  # adb sends several files at once only under their local names
            for number, (there, here) in enumerate(files.items()):
                path = PurePosixPath(there)
                link = Path(folder, str(number), path.name)
                link.parent.mkdir()
                link.symlink_to(here.resolve())
                named.setdefault(str(path.parent), []).append(str(link))
            for parent, paths in named.items():
                for start in range(0, len(paths), AT_ONCE):
                    self._copy(["push", *paths[start : start + AT_ONCE], f"{parent}/"])

    def pull(self, files: Mapping[str, Path]) -> None:
        named: dict[Path, list[str]] = {}
        for there, here in files.items():
            if PurePosixPath(there).name == here.name:
                named.setdefault(here.parent, []).append(there)
            else:
                self._copy(["pull", there, str(here)])
        for parent, paths in named.items():
            for start in range(0, len(paths), AT_ONCE):
                self._copy(["pull", *paths[start : start + AT_ONCE], str(parent)])

    def _copy(self, arguments: Sequence[str]) -> None:
        done = _adb(["-s", self._serial, *arguments])
        if done.code == 0:
            return
        output = f"{done.stdout}\n{done.stderr}"
        if any(words in output.lower() for words in GONE) or not self._ready():
            raise self._lost("the connection was lost", output)
        cure = "check the disk and the folder there"
        if "No space left" in output:
            cure = "free some space there"
        raise Failure(f"{self.where}: a file could not be copied: {_last(output)}", cure)

    def close(self) -> None:
        """Do nothing: the server belongs to the user."""

    def _ready(self) -> bool:
        return _adb(["-s", self._serial, "get-state"]).stdout.strip() == "device"

    def _lost(self, what: str, output: str) -> Failure:
        """Return the failure for a phone that no longer answers, or refuses to."""
        try:
            device = next((device for device in attached() if device.serial == self._serial), None)
        except Failure:
            device = None
        if device is not None and device.cure and device.state != "offline":
            return Failure(f"{self.where} is {device.state}", device.cure)
        return Lost(f"{self.where}: {what}: {_last(output)}", AGAIN)


def _adb(arguments: Sequence[str], stdin: bytes = b"", on_line: Callable[[str], None] | None = None) -> Finished:
    """Run the adb client.

    Raises:
        Failure: adb is not installed.
    """
    program = shutil.which("adb")
    if program is None:
        raise Failure("--device adb: no adb on this computer", INSTALL)
    # Files, not pipes: a server that the client starts may keep pipes open.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as stderr, tempfile.TemporaryFile() as stdout:
        given.write(stdin)
        given.seek(0)
        lines: list[str] = []
        if on_line is None:
            code = subprocess.run(
                [program, *arguments], stdin=given, stdout=stdout, stderr=stderr, check=False
            ).returncode
            lines = _text(stdout).splitlines()
        else:
            process = subprocess.Popen([program, *arguments], stdin=given, stdout=subprocess.PIPE, stderr=stderr)
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    on_line(line.decode("utf-8", "replace").rstrip("\r\n"))
                code = process.wait()
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        return Finished(code, "\n".join(lines), _text(stderr))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _last(output: str) -> str:
    """Return the most informative line: an error, or else the last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("*")]
    errors = [line for line in lines if "error" in line or "failed" in line]
    return re.sub(r"^(adb: )?error: ", "", (errors or lines)[-1]) if lines else "no reason given"


class AdbOptions(RemoteOptions):
    """Options of phones."""

    android_runner: Path | None = device_option(
        None, "Folder with runner.jar and jni/ABI/*.so for phones. Default: android_demo/build."
    )


def _open(name: str, options: AdbOptions, delegate: str) -> Device:
    from benchmark.devices.android_side import FOLDER, RUNNER, AndroidSide
    from benchmark.devices.remote import Remote

    folder = options.remote_folder or FOLDER
    if not folder.startswith("/"):
        raise UsageFailure(
            f"--remote-folder {folder}: a phone's shell has no home folder", f"an absolute path, for example {FOLDER}"
        )
    transport = Adb(choose(name, attached()).serial)
    side = AndroidSide(transport, folder, options.android_runner or RUNNER, gpu=delegate == "gpu")
    return Remote(f"adb:{transport.where}", side)


def _rows() -> list[DeviceRow]:
    if shutil.which("adb") is None:
        return [DeviceRow(PATTERN, "no adb here", f"a phone: {INSTALL}")]
    try:
        found = attached()
    except Failure as failure:
        return [DeviceRow(PATTERN, "adb fails", str(failure))]
    if not found:
        what = "plug a phone in, with USB debugging on; over Wi-Fi: adb connect HOST:PORT"
        return [DeviceRow(PATTERN, "none attached", what)]
    return [
        DeviceRow(
            f"adb:{device.serial}",
            "ready" if device.cure is None else device.state,
            device.cure or (device.model or "").replace("_", " ") or "a phone",
        )
        for device in found
    ]


ADB = DeviceSpec(PATTERN, _open, _rows, AdbOptions)
