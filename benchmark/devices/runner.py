"""The program on a remote device: reads a job (JSON on stdin), writes results (files, announced on stdout).

    python3 CODE.zip describe|latency|embed|memory|sustain FOLDER

Standard library, NumPy and the engines only; sent with the files that it imports
(:data:`benchmark.devices.parcel.SOURCES`). Files are named by their SHA-256, which is checked on
reading. Every line printed is MARK and JSON: ``result`` announces a finished file with its
SHA-256, ``share`` and ``step`` report progress, ``failed`` names a variant that cannot run,
``damaged`` a file to be sent again, ``error`` why the job failed, with ``picture`` and ``of``
for an image of a chunk that cannot be decoded.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import numpy as np

from benchmark.devices.bootstrap import MARK
from benchmark.devices.work import Embedders, Openers, checking_inputs, measure_memory, reason, time_variants
from benchmark.system import machine_facts, pinned, uptime
from benchmark.timing import Plan
from export.bundle.engines.open import load_engine, open_engine

__all__ = ["main"]

WARM_UP = 10  # inferences
LOCK_SECONDS = 40.0  # how long an interrupted run's process may take to notice that nobody listens


class Damaged(Exception):
    """A file whose content does not match its name."""


def report(**message: Any) -> None:
    """Print one message for the host."""
    print(MARK + json.dumps(message), flush=True)


class ChunkError(Exception):
    """An image of a chunk that cannot be decoded here; ``number`` is its index in the chunk."""

    def __init__(self, why: str, number: int, chunk: str) -> None:
        super().__init__(why)
        self.number, self.chunk = number, chunk


class Store:
    """The folder on the device: ``files`` by SHA-256, ``results`` by key."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def content(self, name: str) -> bytes:
        """Return the content of a file that was sent.

        Raises:
            Damaged: it is missing or changed; it is deleted, so that it is sent again.
        """
        path = self.folder / "files" / name
        data = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(data).hexdigest() != name:
            if path.exists():
                path.unlink()
            raise Damaged(name)
        return data

    def array(self, name: str) -> np.ndarray:
        return np.load(io.BytesIO(self.content(name)), allow_pickle=False)

    def save(self, key: str, data: bytes) -> None:
        """Write a result atomically and announce it."""
        path = self.folder / "results" / key
        temporary = path.with_name(f".{key}.{os.getpid()}")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        finally:
            if temporary.exists():
                temporary.unlink()
        report(result=key, sha256=hashlib.sha256(data).hexdigest())


def openers(store: Store, job: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Return a function that opens each variant of the job; check all files first."""
    found: dict[str, Callable[[], Any]] = {}
    for name, variant in job["variants"].items():
        store.content(variant["model"])
        table = store.array(variant["table"])
        path = store.folder / "files" / variant["model"]
        input_spec, output_spec = SimpleNamespace(**variant["input"]), SimpleNamespace(**variant["output"])
        delegate = variant.get("delegate", "xnnpack")
        found[name] = partial(
            open_engine, path, variant["format"], input_spec, output_spec, table, job["threads"], delegate
        )
    return found


def latency(store: Store, job: dict[str, Any]) -> None:
    """Time all variants in turns; write the samples as one JSON file."""
    pixels = store.array(job["pixels"])
    plan = Plan(**{**job["plan"], "cpus": tuple(job["plan"]["cpus"])})
    reported = time.monotonic()

    def show(share: float) -> None:
        nonlocal reported
        if time.monotonic() - reported > 1:  # rarely: interrupts of the network card disturb the timing
            report(share=round(share, 4))
            reported = time.monotonic()

    timings, conduct = time_variants(openers(store, job), pixels, plan, show)
    answer = {
        "timings": {name: asdict(timing) for name, timing in timings.items()},
        "conduct": asdict(conduct) if conduct else None,
    }
    store.save(job["key"], json.dumps(answer).encode())


def embed(store: Store, job: dict[str, Any]) -> None:
    """Embed every chunk with each variant that it lists; each result is one file."""
    opening: Openers = openers(store, job)
    if "golden" in job:
        opening = checking_inputs(opening, store.array(job["golden"]["pixels"]), job["golden"]["input_sha256"])
    embedders = Embedders(opening)
    for name, error in embedders.errors.items():
        report(failed=name, error=error)
    for chunk in job["chunks"]:
        known = set(embedders.errors)
        pixels, times = pixels_of(store, job, chunk)
        if times is not None:
            store.save(chunk["times"], npy(times))
        for name, rows in embedders.embed(pixels, chunk["keys"]).items():
            store.save(chunk["keys"][name], npy(rows))
        for name in set(embedders.errors) - known:
            report(failed=name, error=embedders.errors[name])
        report(step=1)


def npy(array: np.ndarray) -> bytes:
    """Return an array as the content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def pixels_of(store: Store, job: dict[str, Any], chunk: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a chunk's pixels; if files were sent, decode them and return the times too, see :func:`unpack`.

    Raises:
        OSError: files cannot be decoded here at all.
        ChunkError: one image cannot be decoded.
    """
    if "sizes" not in chunk:
        return store.array(chunk["pixels"]), None
    data = store.content(chunk["pixels"])
    try:
        from benchmark.devices.images import BadImage, unpack
    except ImportError as error:
        raise OSError(f"files cannot be decoded there: {error}") from None
    try:
        return unpack(data, chunk["sizes"], job["preprocessing"])
    except BadImage as error:
        raise ChunkError(str(error), error.number, chunk["pixels"]) from None
    except ValueError as error:
        raise OSError(str(error)) from None


def memory(store: Store, job: dict[str, Any]) -> None:
    """Measure the memory of the job's one variant; this process has run nothing else."""
    ((name, opener),) = openers(store, job).items()
    try:
        found = measure_memory(opener, lambda: load_engine(job["variants"][name]["format"]))
    except Exception as error:  # a variant that fails is a result
        report(failed=name, error=reason(error))
        return
    report(memory=asdict(found) if found else None)


def sustain(store: Store, job: dict[str, Any]) -> None:
    """Run the job's one variant continuously for ``seconds``; report the number of runs, start and end."""
    ((name, opener),) = openers(store, job).items()
    try:
        with pinned(tuple(job["plan"]["cpus"])):
            runner = opener()
            runner.prepare(np.zeros((1, *runner.input_spec.hwc), np.uint8))
            for _ in range(WARM_UP):
                runner.invoke()
            ran, begun, until = 0, uptime(), time.monotonic() + job["seconds"]
            while time.monotonic() < until:
                runner.invoke()
                ran += 1
            report(ran=ran, begun=begun, ended=uptime())
    except Exception as error:  # a variant that fails is a result
        report(failed=name, error=reason(error))


def locked(folder: Path) -> Any:
    """Lock the folder as long as the returned file is open: two runs at once would disturb each other.

    Raises:
        OSError: another process holds the lock.
    """
    import fcntl

    file = open(folder / "lock", "a+")  # noqa: SIM115 (held until the process ends)
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                file.seek(0)
                raise OSError(f"another measurement is running there (process {file.read().strip()})") from None
            time.sleep(0.5)
            continue
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        return file


def main(arguments: list[str]) -> int:
    """Run one command."""
    command, store = arguments[0], Store(arguments[1])
    try:
        if command == "describe":
            report(machine=machine_facts())
            return 0
        held = locked(store.folder)
        job = json.load(sys.stdin)
        {"latency": latency, "embed": embed, "memory": memory, "sustain": sustain}[command](store, job)
        held.close()
    except Damaged as error:
        report(damaged=str(error))
        return 1
    except ChunkError as error:
        report(error=str(error), picture=error.number, of=error.chunk)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        report(error=f"{where}{error.strerror or error}")
        return 1
    return 0
