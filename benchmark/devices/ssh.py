"""Linux boards over ssh: the OpenSSH client with the user's own configuration, and the spec of ``ssh``."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from benchmark.devices.spec import DeviceRow, DeviceSpec, RemoteOptions, device_option
from benchmark.devices.transport import Finished, Lost, Transport
from distill.console import Failure, UsageFailure

if TYPE_CHECKING:
    from benchmark.devices.base import Device

__all__ = ["SSH", "Address", "Ssh", "SshOptions", "parse_address"]

PATTERN = "ssh://[user@]host[:port]"

BROKEN = 255  # exit status of ssh itself; that of a program is passed on
EXAMPLE = "for example ssh://pi@raspberrypi.local or ssh://board:2222"
KEEP_ALIVE = {"ServerAliveInterval": "5", "ServerAliveCountMax": "4"}  # a broken connection is noticed after 20 s

# Words in the client's error -> the cure.
CURES = (
    (
        "host key verification failed",
        "connect once by hand and check the fingerprint: ssh {where}; or give --ssh-known-hosts FILE",
    ),
    (
        "identification has changed",
        "the device was reinstalled or replaced: if you are sure, ssh-keygen -R {host}",
    ),
    ("permission denied", "set up login without a password: ssh-copy-id {where}, or give --ssh-identity FILE"),
    ("too many authentication failures", "give the key: --ssh-identity FILE"),
    ("could not resolve hostname", "check the name, or use the IP address"),
    ("connection refused", "check that sshd runs there, on this port"),
    ("timed out", "check that the device is on, and in this network"),
    ("no route to host", "check that the device is on, and in this network"),
    ("bad configuration", "fix the ssh configuration"),
    ("subsystem request failed", "install sftp-server on the device (Debian: openssh-sftp-server)"),
)


@dataclass(frozen=True)
class Address:
    """Where and how to connect; ``None``: as in ``~/.ssh/config``."""

    host: str
    user: str | None = None
    port: int | None = None
    identity: Path | None = None
    known_hosts: Path | None = None
    config: Path | None = None

    @property
    def where(self) -> str:
        return f"{self.user}@{self.host}" if self.user else self.host


def parse_address(text: str) -> tuple[str, str | None, int | None]:
    """Parse ``ssh://[user@]host[:port]`` into (host, user, port).

    Raises:
        UsageFailure: not of this form.
    """
    try:
        parts = urlsplit(text)
        host, user, port = parts.hostname, parts.username, parts.port
    except ValueError as error:
        raise UsageFailure(f"--device {text}: {error}", EXAMPLE) from None
    plain = parts.scheme == "ssh" and not (parts.path.strip("/") or parts.query or parts.fragment or parts.password)
    # ssh would take a host that begins with "-" for an option.
    named = all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:%-]*", word) for word in (host or "", user or "nobody"))
    if not (plain and named):
        raise UsageFailure(f"--device {text}: not ssh://[user@]host[:port]", EXAMPLE)
    assert host is not None
    return host, user, port


class Ssh(Transport):
    """One connection that all commands and copies share (ControlMaster).

    Raises:
        Failure: no ssh client, or no connection (with the cure).
    """

    def __init__(self, address: Address) -> None:
        self.where = address.where
        self._host = address.host
        for program in ("ssh", "sftp"):
            if shutil.which(program) is None:
                raise Failure(
                    f"--device ssh: no {program} on this computer", "install the OpenSSH client (openssh-client)"
                )
        for file in (address.identity, address.known_hosts, address.config):
            if file is not None and not file.is_file():
                raise Failure(f"{file}: no such file", "check the path")
        self._folder = Path(tempfile.mkdtemp(prefix="bench-"))  # short: the path of a socket has at most 104 bytes
        options = {"BatchMode": "yes", "ConnectTimeout": "15", "ControlPath": str(self._folder / "c"), **KEEP_ALIVE}
        if address.user:
            options["User"] = address.user
        if address.port:
            options["Port"] = str(address.port)
        if address.identity:
            options |= {"IdentityFile": str(address.identity), "IdentitiesOnly": "yes"}
        if address.known_hosts:
            options["UserKnownHostsFile"] = str(address.known_hosts)
        self._options = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        if address.config:
            self._options += ["-F", str(address.config)]
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        # The master outlives this call and keeps stderr open: to a file, since a pipe would never end.
        with tempfile.TemporaryFile() as stderr:
            command = [
                "ssh",
                *self._options,
                "-o",
                "ControlMaster=yes",
                "-o",
                "ControlPersist=yes",
                "-f",
                "-N",
                "--",
                self._host,
            ]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, check=False)
            if done.returncode != 0:
                raise self._failure(_text(stderr), "no connection")

    def run(
        self, arguments: Sequence[str], stdin: bytes = b"", on_line: Callable[[str], None] | None = None
    ) -> Finished:
        command = ["ssh", *self._options, "-o", "ControlMaster=no", "--", self._host, shlex.join(arguments)]
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as stderr:
            given.write(stdin)
            given.seek(0)
            process = subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, stderr=stderr)
            lines = []
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))
                    if on_line:
                        on_line(lines[-1])
                code = process.wait()
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
            if code == BROKEN:
                raise self._failure(_text(stderr), "the connection was lost")
            return Finished(code, "\n".join(lines), _text(stderr))

    def push(self, files: Mapping[str, Path]) -> None:
        self._sftp([f"put {_quote(str(here))} {_quote(there)}" for there, here in files.items()])

    def pull(self, files: Mapping[str, Path]) -> None:
        self._sftp([f"get {_quote(there)} {_quote(str(here))}" for there, here in files.items()])

    def _sftp(self, lines: Sequence[str]) -> None:
        if not lines:
            return
        command = ["sftp", "-q", *self._options, "-o", "ControlMaster=no", "-b", "-", "--", self._host]
        with tempfile.TemporaryFile() as stderr:
            done = subprocess.run(
                command, input="\n".join(lines).encode() + b"\n", stdout=subprocess.DEVNULL, stderr=stderr, check=False
            )
            if done.returncode == 0:
                return
            output = _text(stderr)
            if (
                done.returncode == BROKEN
                or "connection closed" in output.lower()
                or "lost connection" in output.lower()
            ):
                raise self._failure(output, "the connection was lost")
            raise Failure(
                f"{self.where}: a file could not be copied: {_last(output)}", "check the disk and the folder there"
            )

    def close(self) -> None:
        if (self._folder / "c").exists():
            subprocess.run(
                ["ssh", *self._options, "-O", "exit", "--", self._host],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        shutil.rmtree(self._folder, ignore_errors=True)

    def _failure(self, output: str, what: str) -> Failure:
        for words, cure in CURES:
            if words in output.lower():
                return Failure(f"{self.where}: {_last(output)}", cure.format(where=self.where, host=self._host))
        return Lost(f"{self.where}: {what}: {_last(output)}", "check cable and power, then run the same command again")


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _last(output: str) -> str:
    """Return the most informative line: the last one that does not just announce the end of the connection."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    informative = [line for line in lines if not line.lower().startswith(("connection closed", "connection to"))]
    return (informative or lines or ["no reason given"])[-1]


def _quote(path: str) -> str:
    """Quote a path for sftp's batch file and escape pattern characters."""
    return '"' + re.sub(r'([\\"*?\[\]])', r"\\\1", path) + '"'


class SshOptions(RemoteOptions):
    """Options of boards over ssh."""

    ssh_identity: Path | None = device_option(None, "Private key. Default: as ssh finds it.")
    ssh_known_hosts: Path | None = device_option(None, "File with the device's host key. Default: as ssh finds it.")
    ssh_config: Path | None = device_option(None, "ssh configuration (jump hosts etc.). Default: your own.")
    remote_python: str = device_option("python3", "Python on the device, with numpy and ai-edge-litert or onnxruntime.")


def _open(name: str, options: SshOptions, delegate: str) -> Device:
    from benchmark.devices.python_side import FOLDER, PythonSide
    from benchmark.devices.remote import Remote

    address = Address(*parse_address(name), options.ssh_identity, options.ssh_known_hosts, options.ssh_config)
    return Remote(name, PythonSide(Ssh(address), options.remote_python, options.remote_folder or FOLDER))


def _rows() -> list[DeviceRow]:
    return [DeviceRow(PATTERN, "name one", "a Linux board with Python 3.9, numpy and ai-edge-litert or onnxruntime")]


SSH = DeviceSpec(PATTERN, _open, _rows, SshOptions)
