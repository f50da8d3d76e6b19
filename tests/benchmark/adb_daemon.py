"""A phone's adb daemon on loopback, for the real adb client: connection, shell v2 and file sync of the adb protocol.

The protocol is documented in the Android sources (packages/modules/adb: protocol.txt, SERVICES.TXT, SYNC.TXT and
shell_protocol.h). The phone is a folder: ``/data/local/tmp`` of every path and command is ``ROOT/data/local/tmp``,
and programs in ``ROOT/system/bin`` come before this computer's. ``pull_cable`` drops every connection.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["AdbServer", "FakePhone", "why_not"]

VERSION, MAX_DATA = 0x01000000, 64 * 1024  # this version has checksums, the next one does not
CNXN, AUTH, OPEN, OKAY, CLSE, WRTE = (
    int.from_bytes(name, "little") for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)  # packets of the shell protocol
FILES = "/data/local/tmp"


def why_not() -> str | None:
    """Return what is missing here, and how to get it."""
    return None if shutil.which("adb") else "no adb here: apt-get install adb"


class Stream:
    """One service of one connection."""

    def __init__(self, connection: Connection, ours: int, theirs: int) -> None:
        self.connection, self.ours, self.theirs = connection, ours, theirs
        self.acknowledged = threading.Semaphore(0)
        self.arrived = threading.Condition()
        self.buffer, self.ended = bytearray(), False

    def feed(self, data: bytes | None) -> None:
        """Return data from the client; ``None`` at the end."""
        with self.arrived:
            self.buffer += data or b""
            self.ended = self.ended or data is None
            self.arrived.notify_all()
        if data is None:
            self.acknowledged.release()

    def read(self, count: int) -> bytes:
        """Return exactly this many bytes.

        Raises:
            EOFError: the client or the cable is gone.
        """
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.buffer) >= count or self.ended)
            if len(self.buffer) < count:
                raise EOFError
            data = bytes(self.buffer[:count])
            del self.buffer[:count]
            return data

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), MAX_DATA):
            self.connection.send(WRTE, self.ours, self.theirs, data[start : start + MAX_DATA])
            self.acknowledged.acquire()
            if self.ended:
                raise EOFError


class Connection:
    """One client, from CNXN until the cable is pulled."""

    def __init__(self, phone: FakePhone, peer: socket.socket) -> None:
        self.phone, self.peer = phone, peer
        self.streams: dict[int, Stream] = {}
        self.lock = threading.Lock()
        self.max_data = MAX_DATA

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = struct.pack("<6I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with self.lock, contextlib.suppress(OSError):
            self.peer.sendall(head + data)

    def serve(self) -> None:
        try:
            while True:
                command, first, second, length, checksum, magic = struct.unpack("<6I", self._exactly(24))
                data = self._exactly(length)
                assert magic == command ^ 0xFFFFFFFF
                # The first packet is sent before the version is negotiated.
                assert command == CNXN or checksum == sum(data) & 0xFFFFFFFF, "wrong checksum"
                self.phone.received += length
                self.phone.check_cable()
                self._take(command, first, second, data)
        except (EOFError, OSError):
            pass
        finally:
            for stream in list(self.streams.values()):
                stream.feed(None)
            self.peer.close()

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self.peer.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def _take(self, command: int, first: int, second: int, data: bytes) -> None:
        if command in (CNXN, AUTH) and not self.phone.authorized:
            self.send(AUTH, 1, 0, os.urandom(20))  # a token to sign; every signature and key is refused
        elif command == CNXN:
            banner = f"device::ro.product.name=fake;ro.product.model=Fake_Phone;ro.product.device=fake;features={self.phone.features}"
            self.send(CNXN, VERSION, MAX_DATA, banner.encode())
        elif command == OPEN:
            stream = Stream(self, len(self.streams) + 1, first)
            self.streams[stream.ours] = stream
            self.send(OKAY, stream.ours, stream.theirs)
            threading.Thread(target=self._serve, args=(stream, data.rstrip(b"\0").decode()), daemon=True).start()
        elif second in self.streams:
            stream = self.streams[second]
            if command == WRTE:
                stream.feed(data)
                self.send(OKAY, stream.ours, stream.theirs)
            elif command == OKAY:
                stream.acknowledged.release()
            elif command == CLSE:
                stream.feed(None)

    def _serve(self, stream: Stream, service: str) -> None:
        try:
            if service.startswith("shell,v2"):
                shell(self.phone, stream, service.partition(":")[2])
            elif service == "sync:":
                Sync(self.phone, stream).serve()
        except (EOFError, BrokenPipeError):
            pass
        finally:
            self.send(CLSE, stream.ours, stream.theirs)


def shell(phone: FakePhone, stream: Stream, command: str) -> None:
    """Shell protocol v2: packets of kind, length and data in both directions; the exit status comes last."""
    environment = {"PATH": f"{phone.root / 'system/bin'}:{os.environ['PATH']}", "HOME": "/", **phone.environment}
    process = subprocess.Popen(
        ["sh", "-c", phone.local(command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment, cwd=phone.root, start_new_session=True,
    )  # fmt: skip

    def feed() -> None:
        with contextlib.suppress(EOFError, BrokenPipeError):
            while True:
                kind, length = struct.unpack("<BI", stream.read(5))
                data = stream.read(length)
                if kind == CLOSE_STDIN:
                    break
                process.stdin.write(data)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        with stream.arrived:
            stream.arrived.wait_for(lambda: stream.ended)
        with contextlib.suppress(ProcessLookupError):  # the client is gone: like a terminal that hangs up
            os.killpg(process.pid, signal.SIGHUP)

    def tell(kind: int, pipe) -> None:
        with contextlib.suppress(EOFError):
            while data := os.read(pipe.fileno(), 32768):
                stream.write(struct.pack("<BI", kind, len(data)) + data)
        pipe.close()

    threading.Thread(target=feed, daemon=True).start()
    errors = threading.Thread(target=tell, args=(STDERR, process.stderr), daemon=True)
    errors.start()
    tell(STDOUT, process.stdout)
    errors.join()
    code = process.wait()
    stream.write(struct.pack("<BIB", EXIT, 1, code & 255))


class Sync:
    """File sync: STAT, STA2, LST2, SEND and RECV."""

    def __init__(self, phone: FakePhone, stream: Stream) -> None:
        self.phone, self.stream = phone, stream

    def serve(self) -> None:
        while True:
            name, length = struct.unpack("<4sI", self.stream.read(8))
            if name == b"QUIT":
                return
            argument = self.stream.read(length).decode()
            {b"STAT": self.stat, b"STA2": self.stat2, b"LST2": self.stat2, b"SEND": self.send, b"RECV": self.receive}[
                name
            ](name, argument)

    def stat(self, name: bytes, path: str) -> None:
        with contextlib.suppress(OSError):
            found = os.lstat(self.phone.local(path))
            self.stream.write(struct.pack("<4sIII", name, found.st_mode, found.st_size, int(found.st_mtime)))
            return
        self.stream.write(struct.pack("<4sIII", name, 0, 0, 0))

    def stat2(self, name: bytes, path: str) -> None:
        assert "stat_v2" in self.phone.features
        try:
            found = os.stat(self.phone.local(path))
        except OSError as error:
            self.stream.write(struct.pack("<4sI64x", name, error.errno))
            return
        times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
        self.stream.write(
            struct.pack(
                "<4sIQQIIIIQqqq",
                name,
                0,
                found.st_dev,
                found.st_ino,
                found.st_mode,
                found.st_nlink,
                0,
                0,
                found.st_size,
                *times,
            )
        )

    def send(self, _: bytes, argument: str) -> None:
        path, _, mode = argument.rpartition(",")
        error = None
        local = Path(self.phone.local(path))
        with open(local, "wb") as file:
            while True:
                kind, length = struct.unpack("<4sI", self.stream.read(8))
                if kind == b"DONE":
                    break
                data = self.stream.read(length)
                self.phone.stored += len(data)
                if self.phone.disk is not None and self.phone.stored > self.phone.disk:
                    error = "write failed: No space left on device"
                elif error is None:
                    file.write(data)
        if error is None:
            local.chmod(int(mode) & 0o777)
            self.stream.write(struct.pack("<4sI", b"OKAY", 0))
        else:
            local.unlink()
            self.stream.write(struct.pack("<4sI", b"FAIL", len(error)) + error.encode())

    def receive(self, _: bytes, path: str) -> None:
        try:
            data = Path(self.phone.local(path)).read_bytes()
        except OSError as error:
            text = f"open failed: {error.strerror}".encode()
            self.stream.write(struct.pack("<4sI", b"FAIL", len(text)) + text)
            return
        for start in range(0, len(data), MAX_DATA - 8):
            piece = data[start : start + MAX_DATA - 8]
            self.stream.write(struct.pack("<4sI", b"DATA", len(piece)) + piece)
        self.stream.write(struct.pack("<4sI", b"DONE", 0))


class FakePhone:
    """The daemon, listening on ``port``.

    Attributes:
        authorized: whether the computer's key is accepted.
        features: what the banner says of the protocol.
        disk: after so many bytes pushed the disk is full.
        received: bytes that came over the cable.
        cut_after: the cable is pulled after so many.
    """

    def __init__(self, root: Path, features: str = "shell_v2,cmd,stat_v2") -> None:
        self.root, self.features = root, features
        self.authorized = True
        self.environment: dict[str, str] = {}
        self.received = self.stored = 0
        self.disk: int | None = None
        self.cut_after: int | None = None
        self.plugged = True
        self._connections: list[Connection] = []
        (root / "system/bin").mkdir(parents=True)
        (root / FILES[1:]).mkdir(parents=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def local(self, text: str) -> str:
        """Translate a path or command of the phone to this computer."""
        return text.replace(FILES, f"{self.root}{FILES}")

    def program(self, name: str, script: str) -> None:
        """Install a program, a shell script, on the phone."""
        path = self.root / "system/bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                if not self.plugged:
                    peer.close()
                    continue
                self._connections.append(Connection(self, peer))
                threading.Thread(target=self._connections[-1].serve, daemon=True).start()

    def check_cable(self) -> None:
        if self.cut_after is not None and self.received > self.cut_after:
            self.pull_cable()
            raise EOFError

    def pull_cable(self) -> None:
        self.plugged, self.cut_after = False, None
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.peer.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def pull_cable_when(self, condition: Callable[[], bool]) -> None:
        """Pull the cable as soon as ``condition`` holds."""

        def watch() -> None:
            stop = threading.Event()
            while not condition() and not stop.wait(0.005):
                pass
            self.pull_cable()

        threading.Thread(target=watch, daemon=True).start()

    def close(self) -> None:
        self.pull_cable()
        self._listener.close()


class AdbServer:
    """The real adb server, with its own port, keys and files, so that no real phone is touched."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.environment = {
            "ANDROID_ADB_SERVER_PORT": str(port), "HOME": str(folder), "ANDROID_SDK_HOME": str(folder), "TMPDIR": str(folder),
            "ADB_LIBUSB": "0",
        }  # fmt: skip

    def adb(self, *arguments: str) -> str:
        done = subprocess.run(
            ["adb", *arguments], env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL, timeout=60,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    def connect(self, phone: FakePhone) -> str:
        """Plug the phone in (again)."""
        phone.plugged = True
        self.adb("disconnect", phone.serial)
        return self.adb("connect", phone.serial)

    def close(self) -> None:
        self.adb("kill-server")
