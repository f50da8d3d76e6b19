"""A way to this very computer, for what wants a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmark.devices.transport import Finished, Transport

__all__ = ["Local"]


class Local(Transport):
    """Runs programs and copies files here; paths are taken as they are.

    Args:
        before: words put before every command, such as an emulator and its options.
        environment: of the programs; ``None``: ours.
        where: for messages.
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
            # As a shell counts: death by signal n is 128 + n.
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
