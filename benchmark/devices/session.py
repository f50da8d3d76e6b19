"""Our folder and our runner on a device: what lies there, what it is asked, all by checksum."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.devices.bootstrap import MARK
from benchmark.devices.parcel import BOOTSTRAP, ROOT, parcel
from benchmark.devices.transport import Lost, Transport
from distill.console import Failure, UsageFailure
from distill.files import sha256_file

__all__ = ["FOLDER", "VENV", "Content", "Message", "Session", "sha256"]

FOLDER = ".cache/distill-bench"  # in the user's home on the device
OLDEST_PYTHON = (3, 9)
MARGIN_BYTES = 16 * 2**20  # of its disk that stay free
VENV = "python3 -m venv bench && bench/bin/pip install {packages}, then --remote-python bench/bin/python"

Message = dict[str, Any]
Content = Path | bytes


class Session:
    """Our side of :mod:`benchmark.devices.runner` on one device.

    Args:
        python: the Python there; relative paths start at the user's home.
        folder: where our files go there.

    Attributes:
        results: SHA-256 of each result that lies there, by key.
        packages: which of numpy, ai_edge_litert, onnxruntime the Python there has.
        machine: the facts of :func:`benchmark.system.machine_facts`.
        code: SHA-256 of the runner.

    Raises:
        UsageFailure: a folder with characters that a shell or sftp would take apart.
        Failure: no such Python, too old, or without NumPy.
    """

    def __init__(self, transport: Transport, python: str, folder: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_./ -]+", folder) or folder.startswith("-"):
            raise UsageFailure(f"--remote-folder {folder}: letters, digits and . _ - / only", f"for example {FOLDER}")
        self.where = transport.where
        self.python = python.removeprefix("~/")
        self.folder = folder
        self.results: dict[str, str] = {}
        self._transport = transport
        self._bootstrap = (ROOT / BOOTSTRAP).read_bytes()
        self._present: set[str] = set()  # of ``files`` there
        self._free_bytes = 0
        self.packages = self._probe()
        self._settle()
        code = parcel()
        self.code = sha256(code)
        self.send({self.code: code})
        self.machine: Message = self._messages("describe")[-1]["machine"]

    def drop(self, names: Iterable[str]) -> None:
        """Delete files there."""
        names = list(names)
        self.ask("drop", *names)
        self._present -= set(names)

    def _probe(self) -> list[str]:
        found = self.ask("probe")
        version = tuple(found["python"])
        if version < OLDEST_PYTHON:
            raise Failure(
                f"{self.where}: {self.python} is Python {'.'.join(map(str, version))}",
                f"at least {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} is needed: --remote-python PATH",
            )
        if "numpy" not in found["packages"]:
            cure = VENV.format(packages="numpy ai-edge-litert onnxruntime")
            raise Failure(f"{self.where}: {found['executable']} has no numpy", f"there: {cure}")
        return found["packages"]

    def ask(self, command: str, *names: str) -> Message:
        """One command of :mod:`benchmark.devices.bootstrap`."""
        done = self._transport.run([self.python, "-", command, self.folder, *names], self._bootstrap)
        answers = _marked(done.stdout.splitlines())
        if not answers:
            if done.code == 127 or "not found" in done.stderr or "No such file" in done.stderr:
                raise Failure(f"{self.where}: no {self.python} there", "install it, or name another: --remote-python PATH")
            said = (done.stderr.strip().splitlines() or [f"exit status {done.code}"])[-1]
            raise Failure(f"{self.where}: {self.python}: {said}", "is it a Python 3? --remote-python PATH")
        if "error" in answers[-1]:
            raise self._refused(answers[-1]["error"])
        return answers[-1]

    def _settle(self) -> list[str]:
        """Check what arrived; the names of what was damaged on the way."""
        found = self.ask("settle")
        self._present, self.results = set(found["files"]), found["results"]
        self._free_bytes = found["free_bytes"]
        return found["damaged"]

    def send(self, contents: Mapping[str, Content]) -> None:
        """Bring files there, by their SHA-256, unless they are there.

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
        self, command: str, job: Message, contents: Mapping[str, Content], heard: Callable[[Message], None]
    ) -> list[Message]:
        """Run a job, and all that the runner said; a file that proves damaged there is sent again once."""
        for _ in range(2):
            self.send(contents)
            try:
                messages = self._messages(command, job, heard)
            except Lost as lost:
                raise Lost(
                    f"{lost.what}, while {self.where} was at work ({command})",
                    "check cable and power, then run the same command again: what is done there is not done again",
                ) from None
            damaged = {message["damaged"] for message in messages if "damaged" in message}
            if not damaged:
                return messages
            self._present -= damaged
        raise Failure(f"{self.where}: files are damaged there again and again", "check the disk there")

    def _messages(
        self, command: str, job: Message | None = None, heard: Callable[[Message], None] = lambda message: None
    ) -> list[Message]:
        """All that the runner said.

        Raises:
            Failure: it could not do its work, or ended in the middle.
        """
        def listen(line: str) -> None:
            for message in _marked([line]):
                if "result" in message:
                    self.results[message["result"]] = message["sha256"]
                heard(message)

        program = [self.python, f"{self.folder}/files/{self.code}", command, self.folder]
        done = self._transport.run(program, json.dumps(job).encode(), listen)
        messages = _marked(done.stdout.splitlines())
        refused = next((message["error"] for message in messages if "error" in message and "failed" not in message), None)
        if refused:
            raise self._refused(refused)
        if done.code != 0 and not any("damaged" in message for message in messages):
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            ended = f"was killed (status {done.code}): out of memory?" if done.code > 128 else f"ended with status {done.code}: {said}"
            raise Failure(f"{self.where}: our program there {ended}", "run again; --variant NAME tries one variant alone")
        return messages

    def fetch(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Results by key, checked; fetched again once where they arrive damaged."""
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

    def _refused(self, why: str) -> Failure:
        if "No space left" in why:
            return Failure(f"{self.where}: {why}", "free some space there, or --remote-folder PATH on another disk")
        if "another measurement" in why:
            return Failure(f"{self.where}: {why}", "wait for it, or end that process there")
        if why.startswith("processors"):
            return Failure(f"{self.where}: {why}", "name others: --cpus")
        return Failure(f"{self.where}: {why}", "see --remote-folder and --remote-python")


def sha256(data: bytes) -> str:
    """As hex digits."""
    return hashlib.sha256(data).hexdigest()


def _marked(lines: Iterable[str]) -> list[Message]:
    """Our own lines among whatever a login shell prints."""
    found = []
    for line in lines:
        _, mark, text = line.partition(MARK)
        if mark:
            try:
                found.append(json.loads(text))
            except ValueError:
                continue  # cut off in the middle: the end is missing, which is noticed elsewhere
    return found
