"""The interface of a device.

A device runs the variants of a bundle and nothing more: which images, which statistics and
which limits is decided outside. Two calls carry all the work, and each takes *everything* at
once (all variants, all images), so that a device behind a cable can pack, push, run and pull
in whichever pieces suit it: :mod:`benchmark.devices.remote` splits them into push, run and
pull; ``host`` needs no such split and has none.

A variant that the device cannot run is a result with an ``error``, never an exception: the
others still get measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np

from benchmark.devices.power import Energy
from benchmark.devices.work import Embedded, Memory, Timing
from benchmark.result import LatencyRun, Machine
from benchmark.timing import Plan
from export.bundle import Bundle

__all__ = ["DEFAULT_DELEGATE", "DELEGATES", "Batch", "Device", "Embedded", "Memory", "Timing"]

DELEGATES = ("xnnpack", "none", "gpu", "nnapi")
DEFAULT_DELEGATE = DELEGATES[0]
Batch = np.ndarray | list[bytes]


class Device(ABC):
    """One place where bundles run."""

    name: str
    delegate: str = (
        DEFAULT_DELEGATE  # that TFLite variants run with; one that a device lacks makes them results with an error
    )
    emulated: bool = False  # True: numerics are reported, latency is withheld
    picture_ms: np.ndarray | None = (
        None  # float32 [N, 2]: decoding and resizing of each picture of the last ``embed`` of files
    )

    @abstractmethod
    def describe(self) -> Machine:
        """What the device is made of."""

    @abstractmethod
    def measure_latency(
        self, bundle: Bundle, variants: Sequence[str], pixels: np.ndarray, plan: Plan
    ) -> tuple[dict[str, Timing], LatencyRun | None]:
        """Time the variants in turns, see :mod:`benchmark.timing`.

        Args:
            pixels: uint8 [N, H, W, 3], preprocessed, N >= 1.

        Returns:
            every variant's timing, and how they were taken (``None``: nothing could be timed).

        Raises:
            Failure: the device has not the processors of ``plan.cpus``.
        """

    @abstractmethod
    def embed(
        self, bundle: Bundle, variants: Sequence[str], batches: Iterable[Batch], threads: int
    ) -> dict[str, Embedded]:
        """Embed all images with all variants.

        Args:
            batches: uint8 [B, H, W, 3] each, preprocessed; or the encoded files of B pictures each, which the device
                decodes and preprocesses itself, by the bundle's record. Gone through once.

        Raises:
            Failure: the device cannot decode files.
            Undecodable: not one of these.
        """

    def peak_memory(self, bundle: Bundle, variants: Sequence[str]) -> dict[str, Memory]:
        """Memory of each variant in a process of its own; those that cannot be measured are left out."""
        return {}

    def energy(self, bundle: Bundle, variants: Sequence[str], plan: Plan, seconds: float) -> dict[str, Energy]:
        """What each variant takes from the battery while it runs for so long; those that fail are left out.

        Raises:
            Failure: nothing tells, or the device is being charged.
        """
        return {}

    def close(self, done: bool) -> None:
        """Let go of the device.

        Args:
            done: whether all went well. Where it did not, what a later run can go on from stays there.
        """
