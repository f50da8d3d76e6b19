"""Run bundles in this process."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np

from benchmark.devices.base import Batch, Device, Embedded, Memory, Timing
from benchmark.devices.jobs import energy_on, golden_hashes, memory_on
from benchmark.devices.local import Local
from benchmark.devices.power import Energy
from benchmark.devices.python_side import PythonSide
from benchmark.devices.session import Session
from benchmark.devices.transport import Undecodable
from benchmark.devices.work import Embedders, Openers, checking_inputs, joined, time_variants
from benchmark.result import LatencyRun, Machine
from benchmark.system import machine_facts
from benchmark.timing import Plan
from distill.console import Failure, still_progress
from export.bundle import Bundle, open_variant

__all__ = ["Host", "describe_host"]


def describe_host() -> Machine:
    """Return CPU, memory, system and library versions of this computer; unknown values are ``None``."""
    return Machine(device="host", **machine_facts())


class Host(Device):
    """Runs in this process, with the engines of the ``run`` extra."""

    name = "host"

    def describe(self) -> Machine:
        return describe_host()

    def measure_latency(
        self, bundle: Bundle, variants: Sequence[str], pixels: np.ndarray, plan: Plan
    ) -> tuple[dict[str, Timing], LatencyRun | None]:
        with still_progress("latency") as show:
            try:
                timings, conduct = time_variants(self._openers(bundle, variants, plan.threads), pixels, plan, show)
            except OSError as error:
                raise Failure(f"host: {error}", "choose others: --cpus") from None
        return timings, LatencyRun(**asdict(conduct)) if conduct else None

    def embed(
        self, bundle: Bundle, variants: Sequence[str], batches: Iterable[Batch], threads: int
    ) -> dict[str, Embedded]:
        openers = self._openers(bundle, variants, threads)
        if hashes := golden_hashes(bundle, variants):
            openers = checking_inputs(openers, bundle.golden_pixels(), hashes)
        embedders = Embedders(openers)
        rows: dict[str, list[np.ndarray]] = {name: [] for name in variants}
        times: list[np.ndarray] = []
        for batch in batches:
            if isinstance(batch, np.ndarray):
                pixels = batch
            else:
                pixels, taken = _decoded(batch, bundle, sum(map(len, times)))
                times.append(taken)
            for name, found in embedders.embed(pixels).items():
                rows[name].append(found)
        self.image_ms = np.concatenate(times) if times else None
        return {
            name: Embedded(error=embedders.errors[name]) if name in embedders.errors else joined(rows[name])
            for name in variants
        }

    def peak_memory(self, bundle: Bundle, variants: Sequence[str]) -> dict[str, Memory]:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            return memory_on(Session(PythonSide(Local(), sys.executable, folder)), bundle, variants, self.delegate)

    def energy(self, bundle: Bundle, variants: Sequence[str], plan: Plan, seconds: float) -> dict[str, Energy]:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            session = Session(PythonSide(Local(), sys.executable, folder))
            return energy_on(session, bundle, variants, plan, seconds, self.delegate)

    def _openers(self, bundle: Bundle, variants: Sequence[str], threads: int) -> Openers:
        return {name: partial(open_variant, bundle, name, threads, self.delegate) for name in variants}


def _decoded(files: list[bytes], bundle: Bundle, before: int) -> tuple[np.ndarray, np.ndarray]:
    """Decode files, see :func:`benchmark.devices.images.unpack`; ``before`` is the number of earlier images."""
    from benchmark.devices.images import BadImage, unpack

    try:
        return unpack(b"".join(files), [len(file) for file in files], bundle.manifest.preprocessing.model_dump())
    except BadImage as error:
        raise Undecodable(f"host: {error}", before + error.number) from None
    except ValueError as error:
        raise Failure(f"host: {error}", "run again: a file may have changed meanwhile") from None
