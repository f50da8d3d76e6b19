"""This computer as a device: the transport to a child process, and the spec of ``host``."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.devices.spec import DeviceOptions, DeviceRow, DeviceSpec
from benchmark.devices.transport import Finished, Transport
from benchmark.system import machine_facts
from distill.console import UsageFailure

if TYPE_CHECKING:
    from benchmark.devices.base import Device

__all__ = ["HOST", "Local"]


class Local(Transport):
    """Runs programs on this computer and copies files within it; paths are used unchanged.

    Args:
        before: Words put before every command, such as an emulator and its options.
        environment: Environment of the programs; ``None`` inherits ours.
        where: Name of this place in messages.
    """

    def __init__(
        self, before: Sequence[str] = (), environment: Mapping[str, str] | None = None, where: str = "this computer"
    ) -> None:
        self.where = where
        self._before = list(before)
        self._environment = None if environment is None else dict(environment)

    def run(
        self, arguments: Sequence[str], stdin: bytes = b"", on_line: Callable[[str], None] | None = None
    ) -> Finished:
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as stderr:
            given.write(stdin)
            given.seek(0)
            command = [*self._before, *arguments]
            with subprocess.Popen(
                command, stdin=given, stdout=subprocess.PIPE, stderr=stderr, env=self._environment
            ) as process:
                assert process.stdout is not None
                lines = []
                for line in process.stdout:
                    lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))
                    if on_line:
                        on_line(lines[-1])
                code = process.wait()
            stderr.seek(0)
            # Like a shell: death by signal n is status 128 + n.
            return Finished(
                code if code >= 0 else 128 - code, "\n".join(lines), stderr.read().decode("utf-8", "replace")
            )

    def push(self, files: Mapping[str, Path]) -> None:
        for there, here in files.items():
            shutil.copyfile(here, there)

    def pull(self, files: Mapping[str, Path]) -> None:
        for there, here in files.items():
            shutil.copyfile(there, here)

    def close(self) -> None:
        pass


def _open(name: str, options: DeviceOptions, delegate: str) -> Device:
    from benchmark.devices.host import Host

    if name != "host":
        raise UsageFailure(f"--device {name}: no such device", "did you mean 'host'?")
    return Host()


def _rows() -> list[DeviceRow]:
    facts = machine_facts()
    return [DeviceRow("host", "ready", f"{facts['cpu']}, {facts['cores']} cores, {facts['os']}")]


HOST = DeviceSpec("host", _open, _rows)
