"""Our folder and our runner on a device: send files, run jobs, fetch results, all verified by checksum."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmark.devices.side import Content, FarSide, Message, marked
from benchmark.devices.transport import Died, Lost, Undecodable
from distill.console import Failure
from distill.files import sha256_file

__all__ = ["Session", "sha256"]

MARGIN_BYTES = 16 * 2**20  # kept free on its disk


class Session:
    """The host's end of :mod:`benchmark.devices.runner` on one device.

    Attributes:
        results: SHA-256 of each result on the device, by key.
        machine: Fields of ``Machine``.
        identity: Identifies what computes there: program and versions of the engines.

    Raises:
        Failure: the device lacks something, see :meth:`FarSide.probe`.
    """

    def __init__(self, side: FarSide) -> None:
        self.side = side
        self.where = side.where
        self.folder = side.folder
        self.results: dict[str, str] = {}
        self._transport = side.transport
        self._present: set[str] = set()  # names in ``files`` there
        self._free_bytes = 0
        side.probe()
        self._settle()
        program = side.program()
        self.send(program)
        described = next((message for message in self._messages("describe") if "machine" in message), None)
        if described is None:
            raise Failure(f"{self.where}: our program there printed nothing", side.cure)
        self.machine: Message = side.facts(described)
        self.identity = [*program, self.machine["packages"]]

    def drop(self, names: Iterable[str]) -> None:
        """Delete files on the device."""
        names = list(names)
        self.side.drop(names)
        self._present -= set(names)

    def _settle(self) -> None:
        """Check what arrived."""
        found = self.side.settle()
        self._present, self.results = set(found.files), dict(found.results)
        self._free_bytes = found.free_bytes

    def send(self, contents: Mapping[str, Content]) -> None:
        """Send files, by their SHA-256, unless the device has them.

        Raises:
            Failure: they do not fit on its disk, or arrive damaged twice.
        """
        for _ in range(2):
            missing = {name: content for name, content in contents.items() if name not in self._present}
            if not missing:
                return
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                files = {}
                for name, content in missing.items():
                    path = content if isinstance(content, Path) else Path(folder, name)
                    if isinstance(content, bytes):
                        path.write_bytes(content)
                    files[f"{self.folder}/incoming/{name}"] = path
                needed = sum(path.stat().st_size for path in files.values())
                if needed > self._free_bytes - MARGIN_BYTES:
                    raise Failure(
                        f"{self.where}: {needed / 1e6:,.1f} MB to send, {self._free_bytes / 1e6:,.1f} MB free in {self.folder}",
                        "free some space there, or --remote-folder PATH on another disk",
                    )
                self._transport.push(files)
            self._settle()
        if any(name not in self._present for name in contents):
            raise Failure(f"{self.where}: files arrive damaged", "check the disk there and the network")

    def work(
        self,
        command: str,
        job: Message,
        contents: Mapping[str, Content],
        on_message: Callable[[Message], None],
        around: Callable[[Sequence[str]], Sequence[str]] = lambda words: words,
    ) -> list[Message]:
        """Run a job and return the runner's messages; send a file that turns out damaged again once.

        Args:
            on_message: Called with every message as it arrives.
            around: Wraps the command that starts the runner; what the wrapper prints counts as the runner's.
        """
        for _ in range(2):
            self.send(contents)
            try:
                messages = self._messages(command, job, on_message, around)
            except Lost as lost:
                raise Lost(
                    f"{lost.what}, while {self.where} was at work ({command})",
                    "check cable and power, then run the same command again: finished work is kept",
                ) from None
            damaged = {message["damaged"] for message in messages if "damaged" in message}
            if not damaged:
                return messages
            self._present -= damaged
        raise Failure(f"{self.where}: files keep getting damaged there", "check the disk there")

    def _messages(
        self,
        command: str,
        job: Message | None = None,
        on_message: Callable[[Message], None] = lambda message: None,
        around: Callable[[Sequence[str]], Sequence[str]] = lambda words: words,
    ) -> list[Message]:
        """Run one command and return the runner's messages.

        Raises:
            Failure: the runner reports an error.
            Died: it ended early.
            Undecodable: it cannot decode an image.
        """

        def listen(line: str) -> None:
            for message in marked([line]):
                if "result" in message:
                    self.results[message["result"]] = message["sha256"]
                on_message(message)

        cpus = (job or {}).get("plan", {}).get("cpus", ())
        done = self._transport.run(around(self.side.start(command, cpus)), json.dumps(job).encode(), listen)
        messages = marked(done.stdout.splitlines())
        problem = next((message for message in messages if "error" in message and "failed" not in message), None)
        if problem and "picture" in problem:
            raise Undecodable(f"{self.where}: {problem['error']}", problem["picture"], problem["of"])
        if problem:
            raise self.side.failure(problem["error"])
        if done.code != 0 and not any("damaged" in message for message in messages):
            output = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            ended = (
                f"was killed (status {done.code}): out of memory?"
                if done.code > 128
                else f"ended with status {done.code}: {output}"
            )
            raise Died(f"{self.where}: our program there {ended}", "run again; --variant NAME runs one variant alone")
        return messages

    def fetch(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Fetch results by key; fetch damaged ones again once."""
        found: dict[str, bytes] = {}
        for _ in range(2):
            missing = [key for key in dict.fromkeys(keys) if key not in found]
            if not missing:
                break
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                self._transport.pull({f"{self.folder}/results/{key}": Path(folder, key) for key in missing})
                for key in missing:
                    path = Path(folder, key)
                    if path.exists() and sha256_file(path) == self.results.get(key):
                        found[key] = path.read_bytes()
        if len(found) != len(set(keys)):
            raise Failure(f"{self.where}: results arrive damaged", "check the network, then run the same command again")
        return found


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as hex digits."""
    return hashlib.sha256(data).hexdigest()
