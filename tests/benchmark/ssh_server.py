"""A real sshd on loopback as an ordinary process, behind a connection that can be broken."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def why_not() -> str | None:
    """Return what is missing for a real sshd; ``None`` if nothing is."""
    for program in ("ssh", "sftp", "ssh-keygen"):
        if shutil.which(program) is None:
            return f"no {program} here: apt-get install openssh-client"
    if not os.access(SSHD, os.X_OK):
        return "no sshd here: apt-get install openssh-server"
    if os.getuid() == 0:
        try:  # sshd started by root needs this folder, which its service normally makes
            os.makedirs("/run/sshd", 0o755, exist_ok=True)
        except OSError as error:
            return f"sshd as root needs /run/sshd: {error}"
    return None


class Cable:
    """Forwards TCP from a free port to another one until the cable is pulled."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.sent = 0  # bytes from the client to the server
        self.cut_after: int | None = None
        self._sockets: list[socket.socket] = []
        self._up = True
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._up:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._to))
            self._sockets += [client, server]
            threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, count: bool) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
                if count:
                    self.sent += len(data)
                    if self.cut_after is not None and self.sent > self.cut_after:
                        self.pull()
        except OSError:
            pass
        finally:
            for end in (source, target):
                with_errors_ignored(end.close)

    def pull(self) -> None:
        """Break every connection, and refuse new ones until :meth:`plug`."""
        self._up, self.cut_after = False, None
        for end in self._sockets:
            with_errors_ignored(lambda end=end: end.shutdown(socket.SHUT_RDWR))
        self._sockets.clear()

    def pull_when(self, condition: Callable[[], bool]) -> None:
        """Pull the cable as soon as ``condition`` holds."""

        def watch() -> None:
            until = time.monotonic() + 60
            while time.monotonic() < until and not condition():
                time.sleep(0.005)
            self.pull()

        threading.Thread(target=watch, daemon=True).start()

    def plug(self) -> None:
        """Accept connections again."""
        self._up = True

    def close(self) -> None:
        self.pull()
        self._listener.close()


def with_errors_ignored(call: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):
        call()


class Sshd:
    """One server with its own host keys, user key and known_hosts file, all in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user = getpass.getuser()
        self.identity, self.stranger = self._key("user"), self._key("stranger")
        self.host_key = self._key("host")
        shutil.copy(folder / "user.pub", folder / "authorized")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (folder / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {self.host_key}\nPidFile none\n"
            f"AuthorizedKeysFile {folder / 'authorized'}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
        )
        self._log = open(folder / "log", "w")
        self._process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=self._log)
        self._wait(port)
        self.cable = Cable(port)
        key = (folder / "host.pub").read_text().split()[:2]
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.cable.port} {' '.join(key)}\n")
        self.config = folder / "ssh_config"
        self.config.write_text("")  # so that the user's own configuration does not matter

    def _key(self, name: str) -> Path:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)
        return self.folder / name

    def _wait(self, port: int) -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        self.close_process()
        pytest.skip(f"sshd does not start here: {(self.folder / 'log').read_text()[-300:]}")

    @property
    def url(self) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.cable.port}"

    def options(self) -> list[str]:
        """Return the options of distill-bench."""
        return [
            "--ssh-identity", str(self.identity), "--ssh-known-hosts", str(self.known_hosts),
            "--ssh-config", str(self.config),
        ]  # fmt: skip

    def close_process(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def close(self) -> None:
        self.cable.close()
        self.close_process()
