"""A device behind a cable: files go there, our runner runs there, results come back, all by checksum.

What was sent and what was computed stays on the device, under names made of what it is, until a run
ended well. A run that broke off is therefore taken up by giving the same command again: nothing that
arrived is sent twice, no batch is embedded twice.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmark.devices.base import Device, Embedded, Timing
from benchmark.devices.jobs import contents_of, job_for, memory_on, npy
from benchmark.devices.session import FOLDER, VENV, Content, Message, Session, sha256
from benchmark.devices.transport import Transport
from benchmark.devices.work import Memory, joined
from benchmark.latency import still_bar
from benchmark.result import LatencyRun, Machine
from benchmark.system import package_versions
from benchmark.timing import Plan, Samples
from distill.console import Failure, note, progress
from export.bundle import Bundle

__all__ = ["Remote"]

WINDOW_BYTES = 128 * 2**20  # of pixels that lie on the device at one time
MODULES = {"tflite": ("ai_edge_litert", "ai-edge-litert"), "onnx": ("onnxruntime", "onnxruntime")}


class Remote(Device):
    """A device that a :class:`Transport` reaches and that has Python, NumPy and an engine.

    Args:
        name: as the user named it.
        python: the Python there; relative paths start at the user's home.
        folder: where our files go there.

    Raises:
        UsageFailure: a folder with characters that a shell or sftp would take apart.
        Failure: no such Python, too old, or without NumPy.
    """

    def __init__(self, name: str, transport: Transport, python: str = "python3", folder: str = FOLDER) -> None:
        self.name = name
        self._transport = transport
        try:
            self._session = Session(transport, python, folder)
        except BaseException:
            transport.close()
            raise

    # ---- the device interface

    def describe(self) -> Machine:
        packages = package_versions(("distill-to-phone",)) | self._session.machine["packages"]
        return Machine(device=self.name, **(self._session.machine | {"packages": packages}))

    def measure_latency(
        self, bundle: Bundle, variants: Sequence[str], pixels: np.ndarray, plan: Plan
    ) -> tuple[dict[str, Timing], LatencyRun | None]:
        job = self._job(bundle, variants, plan.threads)
        data = npy(pixels)
        job |= {"pixels": sha256(data), "plan": asdict(plan)}
        job["key"] = f"latency-{sha256(json.dumps(job).encode())[:32]}.json"
        self._session.results.pop(job["key"], None)  # a latency is never taken from an earlier run
        contents = {**contents_of(bundle, variants), job["pixels"]: data}
        with still_bar(f"latency on {self._session.where}") as show:
            self._session.work("latency", job, contents, lambda message: show(message["share"]) if "share" in message else None)
        answer = json.loads(self._session.fetch([job["key"]])[job["key"]])
        conduct = answer["conduct"]
        return {name: _timing(found) for name, found in answer["timings"].items()}, (
            LatencyRun(**conduct) if conduct else None
        )

    def embed(
        self, bundle: Bundle, variants: Sequence[str], batches: Iterable[np.ndarray], threads: int
    ) -> dict[str, Embedded]:
        job = self._job(bundle, variants, threads)
        contents = contents_of(bundle, variants)
        rows: dict[str, list[np.ndarray]] = {name: [] for name in variants}
        errors: dict[str, str] = {}
        with ExitStack() as stack:
            kept = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            window: dict[str, int] = {}  # SHA-256 of a batch -> its images
            filled = 0
            for pixels in batches:
                data = npy(pixels)
                if filled + len(data) > WINDOW_BYTES and window:
                    note(f"{self._session.where}: embedding {sum(window.values())} images")
                    self._window(job, contents, kept, window, rows, errors, lambda message: None)
                    window, filled = {}, 0
                name = sha256(data)
                while name in window:  # the very same batch twice: images in duplicate
                    data, name = data + b"\0", sha256(data + b"\0")
                (kept / name).write_bytes(data)
                window[name] = len(pixels)
                filled += len(data)
            if window:
                bar = stack.enter_context(progress(f"embedding on {self._session.where}", total=len(window)))
                self._window(
                    job, contents, kept, window, rows, errors, lambda message: bar.advance(message.get("step", 0))
                )
        return {
            name: Embedded(error=errors.get(name, "no images")) if name in errors or not rows[name] else joined(rows[name])
            for name in variants
        }

    def peak_memory(self, bundle: Bundle, variants: Sequence[str]) -> dict[str, Memory]:
        return memory_on(self._session, bundle, variants)

    def close(self, done: bool) -> None:
        try:
            if done:
                self._session.ask("clean")
        except Failure as failure:
            note(f"{self._session.where}: {self._session.folder} could not be cleared there: {failure}")
        finally:
            self._transport.close()

    # ---- one window of batches

    def _window(
        self, job: Message, contents: Mapping[str, Content], kept: Path, window: Mapping[str, int],
        rows: dict[str, list[np.ndarray]], errors: dict[str, str], heard: Callable[[Message], None],
    ) -> None:
        """Embed the batches of ``window`` and add to ``rows``, in their order."""
        keys = {
            (name, pixels): f"{sha256(json.dumps([variant, pixels, job['threads'], self._session.code, self._session.machine['packages']]).encode())[:40]}.npy"
            for name, variant in job["variants"].items() if name not in errors for pixels in window
        }
        chunks = []
        for pixels in window:
            missing = {name: key for (name, batch), key in keys.items() if batch == pixels and key not in self._session.results}
            if missing:
                chunks.append({"pixels": pixels, "keys": missing})
            else:
                heard({"step": 1})
        if chunks:
            def listen(message: Message) -> None:
                if "failed" in message:
                    errors[message["failed"]] = message["error"]
                heard(message)

            wanted = {chunk["pixels"]: kept / chunk["pixels"] for chunk in chunks}
            self._session.work("embed", {**job, "chunks": chunks}, {**contents, **wanted}, listen)
            self._session.drop(wanted)
        found = self._session.fetch([key for (name, _), key in keys.items() if name not in errors])
        for (name, pixels), key in keys.items():
            if name in errors:
                continue
            batch = np.load(io.BytesIO(found[key]), allow_pickle=False)
            if batch.dtype != np.float32 or batch.ndim != 2 or len(batch) != window[pixels]:
                raise Failure(
                    f"{self._session.where}: {name} gave {batch.dtype} {batch.shape} for {window[pixels]} images",
                    "report it with --debug",
                )
            rows[name].append(batch)
        for pixels in window:
            (kept / pixels).unlink()

    # ---- jobs

    def _job(self, bundle: Bundle, variants: Sequence[str], threads: int) -> Message:
        """What all jobs share.

        Raises:
            Failure: the device has the engine of none of the variants.
        """
        formats = {bundle.variant(name).format for name in variants}
        wanted = {MODULES[name] for name in formats if name in MODULES}
        if wanted and not any(module in self._session.packages for module, _ in wanted):
            packages = " ".join(sorted(package for _, package in wanted))
            raise Failure(
                f"{self._session.where}: {self._session.python} has no {packages}",
                f"there: {VENV.format(packages=f'numpy {packages}')}",
            )
        return job_for(bundle, variants, threads)


def _timing(found: Message) -> Timing:
    samples = found.pop("samples")
    return Timing(samples=Samples(**samples) if samples else None, **found)
