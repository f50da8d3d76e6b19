"""A device behind a connection: send files, run our runner there, fetch results, all verified by checksum.

Files and results stay on the device, under content-based names, until a run succeeds. The same command
therefore resumes an interrupted run: nothing is sent twice, no batch is embedded twice.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.devices.base import Batch, Device, Embedded, Timing
from benchmark.devices.jobs import contents_of, energy_on, golden_for, job_for, memory_on, npy
from benchmark.devices.power import Energy
from benchmark.devices.session import Session, sha256
from benchmark.devices.side import Content, FarSide, Message
from benchmark.devices.transport import Died, Undecodable
from benchmark.devices.work import Memory, joined
from benchmark.result import LatencyRun, Machine
from benchmark.system import package_versions
from benchmark.timing import LatencySamples, Plan
from distill.console import Failure, note, progress, still_progress
from export.bundle import Bundle

__all__ = ["Remote"]

WINDOW_BYTES = 128 * 2**20  # most bytes of images on the device at one time


@dataclass(frozen=True)
class Sent:
    """One batch that was sent: its number of images, the number before it, and for encoded files the bytes of each."""

    images: int
    before: int
    sizes: list[int] | None = None


class Remote(Device):
    """A device behind a :class:`Transport`, driven through a :class:`FarSide`.

    Args:
        name: Name of the device in results.
        side: Its transport is closed by :meth:`close`, or here if this fails.

    Raises:
        Failure: the device lacks something, see :meth:`FarSide.probe`.
    """

    def __init__(self, name: str, side: FarSide) -> None:
        self.name = name
        self._side = side
        self._tried: dict[str, str | None] = {}  # SHA-256 of a variant -> why it fails with the delegate
        try:
            self._session = Session(side)
        except BaseException:
            side.transport.close()
            raise
        self.emulated = bool(self._session.machine.get("emulated"))

    # ---- the device interface

    def describe(self) -> Machine:
        packages = package_versions(("distill-to-phone",)) | self._session.machine["packages"]
        return Machine(device=self.name, **(self._session.machine | {"packages": packages}))

    def measure_latency(
        self, bundle: Bundle, variants: Sequence[str], pixels: np.ndarray, plan: Plan
    ) -> tuple[dict[str, Timing], LatencyRun | None]:
        """See :class:`Device`; an emulated device has no times, since they say nothing about a real one."""
        if self.emulated:
            return {name: Timing() for name in variants}, None
        able, errors = self._able(bundle, variants)
        timings = {name: Timing(error=error) for name, error in errors.items()}
        if not able:
            return timings, None
        data = npy(pixels)
        job = job_for(bundle, able, plan.threads, self.delegate) | {"pixels": sha256(data), "plan": asdict(plan)}
        job["key"] = f"latency-{sha256(json.dumps(job).encode())[:32]}.json"
        self._session.results.pop(job["key"], None)  # a latency is never reused from an earlier run
        contents = {**contents_of(bundle, able), job["pixels"]: data}
        before = self._side.vitals()
        with still_progress(f"latency on {self._session.where}") as show:
            self._session.work(
                "latency", job, contents, lambda message: show(message["share"]) if "share" in message else None
            )
        after = self._side.vitals()
        answer = json.loads(self._session.fetch([job["key"]])[job["key"]])
        conduct = answer["conduct"]
        if conduct and before and after:
            conduct |= {"vitals_before": before, "vitals_after": after}
        if conduct:
            conduct |= {"cpus": list(plan.cpus) or None, "rest_ms": plan.rest_ms}
        timings |= {name: _timing(found) for name, found in answer["timings"].items()}
        return timings, LatencyRun(**conduct) if conduct else None

    def embed(
        self, bundle: Bundle, variants: Sequence[str], batches: Iterable[Batch], threads: int
    ) -> dict[str, Embedded]:
        able, errors = self._able(bundle, variants)
        rows: dict[str, list[np.ndarray]] = {name: [] for name in able}
        self._times: list[np.ndarray] = []
        if able:
            golden, pixels = golden_for(bundle, able)
            job = job_for(bundle, able, threads, self.delegate) | golden
            job["preprocessing"] = bundle.manifest.preprocessing.model_dump(mode="json")
            self._embed(job, contents_of(bundle, able) | pixels, batches, rows, errors)
        self.image_ms = np.concatenate(self._times) if self._times and not self.emulated else None
        return {
            name: Embedded(error=errors.get(name, "no images"))
            if name in errors or not rows[name]
            else joined(rows[name])
            for name in variants
        }

    def _embed(
        self,
        job: Message,
        contents: Mapping[str, Content],
        batches: Iterable[Batch],
        rows: dict[str, list[np.ndarray]],
        errors: dict[str, str],
    ) -> None:
        with ExitStack() as stack:
            kept = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            window: dict[str, Sent] = {}  # by SHA-256 of the batch
            filled = before = 0
            for batch in batches:
                data, sent = self._packed(batch, before)
                before += sent.images
                if filled + len(data) > WINDOW_BYTES and window:
                    note(f"{self._session.where}: embedding {sum(sent.images for sent in window.values())} images")
                    self._window(job, contents, kept, window, rows, errors, lambda message: None)
                    window, filled = {}, 0
                name = sha256(data)
                while name in window:  # the same batch twice: duplicate images
                    # Bytes after an array are not read; nor are bytes after an encoded image.
                    data, name = data + b"\0", sha256(data + b"\0")
                    if sent.sizes:
                        sent = replace(sent, sizes=[*sent.sizes[:-1], sent.sizes[-1] + 1])
                (kept / name).write_bytes(data)
                window[name] = sent
                filled += len(data)
            if window:
                bar = stack.enter_context(progress(f"embedding on {self._session.where}", total=len(window)))
                self._window(
                    job, contents, kept, window, rows, errors, lambda message: bar.advance(message.get("step", 0))
                )

    def peak_memory(self, bundle: Bundle, variants: Sequence[str]) -> dict[str, Memory]:
        """See :class:`Device`; empty for an emulated device, since the emulator's own memory would be counted."""
        return {} if self.emulated else memory_on(self._session, bundle, self._able(bundle, variants)[0], self.delegate)

    def energy(self, bundle: Bundle, variants: Sequence[str], plan: Plan, seconds: float) -> dict[str, Energy]:
        if self.emulated:
            raise Failure(
                f"{self._session.where} is emulated: its energy would be this computer's",
                "measure on a real device",
            )
        return energy_on(self._session, bundle, self._able(bundle, variants)[0], plan, seconds, self.delegate)

    def close(self, done: bool) -> None:
        try:
            if done:
                self._side.clean()
        except Failure as failure:
            note(f"{self._session.where}: {self._session.folder} could not be emptied: {failure}")
        finally:
            self._side.transport.close()

    # ---- one window of batches

    def _window(
        self,
        job: Message,
        contents: Mapping[str, Content],
        kept: Path,
        window: Mapping[str, Sent],
        rows: dict[str, list[np.ndarray]],
        errors: dict[str, str],
        on_message: Callable[[Message], None],
    ) -> None:
        """Embed the batches of ``window`` and append to ``rows``, in order."""
        keys = {
            (name, pixels): f"{_key(variant, pixels, window[pixels], job, self._session.identity)}.npy"
            for name, variant in job["variants"].items()
            if name not in errors
            for pixels in window
        }
        times = {
            pixels: f"{_key({'times': 1}, pixels, sent, job, self._session.identity)}.npy"
            for pixels, sent in window.items()
            if sent.sizes
        }
        chunks: list[Message] = []
        for pixels, sent in window.items():
            missing = {
                name: key for (name, batch), key in keys.items() if batch == pixels and key not in self._session.results
            }
            if missing or times.get(pixels, "") not in {"", *self._session.results}:
                chunks.append(
                    {"pixels": pixels, "keys": missing}
                    | ({"sizes": sent.sizes, "times": times[pixels]} if sent.sizes else {})
                )
            else:
                on_message({"step": 1})
        if chunks:

            def listen(message: Message) -> None:
                if "failed" in message:
                    errors[message["failed"]] = message["error"]
                on_message(message)

            wanted: dict[str, Content] = {chunk["pixels"]: kept / chunk["pixels"] for chunk in chunks}
            try:
                self._session.work("embed", {**job, "chunks": chunks}, {**contents, **wanted}, listen)
            except Undecodable as bad:
                raise Undecodable(bad.what, window[str(bad.chunk)].before + bad.number) from None
            self._session.drop(wanted)
        found = self._session.fetch([*(key for (name, _), key in keys.items() if name not in errors), *times.values()])
        for (name, pixels), key in keys.items():
            if name in errors:
                continue
            rows[name].append(self._rows(found[key], name, window[pixels].images))
        self._times += [self._rows(found[key], "the decoder", window[pixels].images) for pixels, key in times.items()]
        for pixels in window:
            (kept / pixels).unlink()

    def _rows(self, data: bytes, name: str, images: int) -> np.ndarray:
        """Parse a result as float32 [images, D]."""
        batch = np.load(io.BytesIO(data), allow_pickle=False)
        if batch.dtype != np.float32 or batch.ndim != 2 or len(batch) != images:
            raise Failure(
                f"{self._session.where}: {name} gave {batch.dtype} {batch.shape} for {images} images",
                "report it with --debug",
            )
        return batch

    def _able(self, bundle: Bundle, variants: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Return the variants that may run there, and why the others cannot.

        Raises:
            Failure: the device has no engine for any of them.
        """
        self._side.require({bundle.variant(name).format for name in variants})
        refusals = {name: self._side.refusal(bundle.variant(name).format, self.delegate) for name in variants}
        if self._side.may_die(self.delegate):
            for name in variants:
                refusals[name] = refusals[name] or self._trial(bundle, name)
        return [name for name in variants if not refusals[name]], {name: why for name, why in refusals.items() if why}

    def _trial(self, bundle: Bundle, name: str) -> str | None:
        """Return why a variant fails with the delegate in a process of its own; ``None`` if it runs."""
        key = bundle.variant(name).sha256
        if key not in self._tried:
            note(f"{self._session.where}: trying {self.delegate} with {name}")
            try:
                job, contents = job_for(bundle, [name], 1, self.delegate), contents_of(bundle, [name])
                messages = self._session.work("memory", job, contents, lambda message: None)
                self._tried[key] = next((message["error"] for message in messages if "failed" in message), None)
            except Died as died:
                self._tried[key] = f"with {self.delegate}, {died.what.removeprefix(f'{self._session.where}: ')}"
        return self._tried[key]

    def _packed(self, batch: Batch, before: int) -> tuple[bytes, Sent]:
        """Pack a batch into the content of one file."""
        if isinstance(batch, np.ndarray):
            return npy(batch), Sent(len(batch), before)
        return b"".join(batch), Sent(len(batch), before, [len(file) for file in batch])


def _key(variant: Message, pixels: str, sent: Sent, job: Message, identity: list[Any]) -> str:
    """Name a result by everything that it depends on."""
    parts = [variant, pixels, job["threads"], identity]
    if sent.sizes:
        parts += [sent.sizes, job["preprocessing"]]
    return sha256(json.dumps(parts).encode())[:40]


def _timing(found: Message) -> Timing:
    samples = found.pop("samples")
    return Timing(samples=LatencySamples(**samples) if samples else None, **found)
