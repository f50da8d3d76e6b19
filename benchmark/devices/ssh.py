"""The way to a Linux board: the OpenSSH client, as the user has it configured."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from benchmark.devices.transport import Finished, Lost, Transport
from distill.console import Failure, UsageFailure

__all__ = ["Address", "Ssh", "parse_address"]

BROKEN = 255  # ssh's own exit status; a program's is passed on
EXAMPLE = "for example ssh://pi@raspberrypi.local or ssh://board:2222"
KEEP_ALIVE = {"ServerAliveInterval": "5", "ServerAliveCountMax": "4"}  # a pulled cable is noticed after 20 s

# What the client says -> what can be done about it.
CURES = (
    (
        "host key verification failed",
        "connect once by hand and compare the fingerprint: ssh {where}; or give --ssh-known-hosts FILE",
    ),
    (
        "identification has changed",
        "the device was reinstalled, or it is another one: ssh-keygen -R {host} if you are sure",
    ),
    ("permission denied", "it must let you in without a password: ssh-copy-id {where}, or give --ssh-identity FILE"),
    ("too many authentication failures", "name the key: --ssh-identity FILE"),
    ("could not resolve hostname", "check the name, or use the address of the device"),
    ("connection refused", "is sshd running there, on this port?"),
    ("timed out", "is the device on, and in this network?"),
    ("no route to host", "is the device on, and in this network?"),
    ("bad configuration", "repair the ssh configuration"),
    ("subsystem request failed", "install sftp-server on the device (Debian: openssh-sftp-server)"),
)


@dataclass(frozen=True)
class Address:
    """Where and how to connect; ``None``: what ``~/.ssh/config`` says."""

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
    """``ssh://[user@]host[:port]`` as (host, user, port).

    Raises:
        UsageFailure: not of this form.
    """
    try:
        parts = urlsplit(text)
        host, user, port = parts.hostname, parts.username, parts.port
    except ValueError as error:
        raise UsageFailure(f"--device {text}: {error}", EXAMPLE) from None
    plain = parts.scheme == "ssh" and not (parts.path.strip("/") or parts.query or parts.fragment or parts.password)
    # A host that begins with "-" would be an option to ssh.
    named = all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:%-]*", word) for word in (host or "", user or "nobody"))
    if not (plain and named):
        raise UsageFailure(f"--device {text}: not ssh://[user@]host[:port]", EXAMPLE)
    assert host is not None
    return host, user, port


class Ssh(Transport):
    """One connection, shared by all that goes through it (ControlMaster).

    Raises:
        Failure: no client, or no connection (with the cure).
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
        self._folder = Path(tempfile.mkdtemp(prefix="bench-"))  # short: a socket's path has 104 bytes at most
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
        # The master outlives this call and keeps its stderr open: a file, for a pipe would never end.
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
            said = _text(stderr)
            if done.returncode == BROKEN or "connection closed" in said.lower() or "lost connection" in said.lower():
                raise self._failure(said, "the connection was lost")
            raise Failure(
                f"{self.where}: a file could not be copied: {_last(said)}", "check the disk and the folder there"
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

    def _failure(self, said: str, what: str) -> Failure:
        for words, cure in CURES:
            if words in said.lower():
                return Failure(f"{self.where}: {_last(said)}", cure.format(where=self.where, host=self._host))
        return Lost(f"{self.where}: {what}: {_last(said)}", "check cable and power, then run the same command again")


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _last(said: str) -> str:
    """The line that says most: the last one that is not a mere goodbye."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if not line.lower().startswith(("connection closed", "connection to"))]
    return (telling or lines or ["no reason given"])[-1]


def _quote(path: str) -> str:
    """For sftp's batch file: quotes, and no pattern characters."""
    return '"' + re.sub(r'([\\"*?\[\]])', r"\\\1", path) + '"'
