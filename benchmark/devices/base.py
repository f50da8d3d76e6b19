"""The interface of a device.

A device runs the variants of a bundle and nothing else: images, statistics and limits are decided
elsewhere. Two calls do the work. Each takes everything at once (all variants, all images), so that a
device behind a cable can batch its transfers: :mod:`benchmark.devices.remote` splits a call into push,
run and pull; ``host`` runs it directly.

A variant that the device cannot run is a result with an ``error``, never an exception: the
others are still measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np

from benchmark.devices.power import Energy
from benchmark.devices.spec import DEFAULT_DELEGATE
from benchmark.devices.work import Embedded, Memory, Timing
from benchmark.result import LatencyRun, Machine
from benchmark.timing import Plan
from export.bundle import Bundle

__all__ = ["Batch", "Device", "Embedded", "Memory", "Timing"]

Batch = np.ndarray | list[bytes]


class Device(ABC):
    """A place where bundles run.

    Attributes:
        delegate: What computes TFLite variants; a delegate that the device lacks makes them results with an error.
        emulated: Whether the device is emulated: numerics are reported, latency is withheld.
        image_ms: float32 [N, 2], milliseconds to decode and to resize each image of the last ``embed`` of files.
    """

    name: str
    delegate: str = DEFAULT_DELEGATE
    emulated: bool = False
    image_ms: np.ndarray | None = None

    @abstractmethod
    def describe(self) -> Machine:
        """Return the facts about the device."""

    @abstractmethod
    def measure_latency(
        self, bundle: Bundle, variants: Sequence[str], pixels: np.ndarray, plan: Plan
    ) -> tuple[dict[str, Timing], LatencyRun | None]:
        """Time the variants in turns, see :mod:`benchmark.timing`.

        Args:
            pixels: uint8 [N, H, W, 3], preprocessed, N >= 1.

        Returns:
            The timing of every variant, and the conditions of the run (``None``: nothing could be timed).

        Raises:
            Failure: the device lacks processors of ``plan.cpus``.
        """

    @abstractmethod
    def embed(
        self, bundle: Bundle, variants: Sequence[str], batches: Iterable[Batch], threads: int
    ) -> dict[str, Embedded]:
        """Embed all images with all variants.

        Args:
            batches: uint8 [B, H, W, 3] each, preprocessed; or B encoded files each, which the device decodes and
                preprocesses itself by the bundle's record. Iterated once.

        Raises:
            Failure: the device cannot decode files at all.
            Undecodable: the device cannot decode one of the files.
        """

    def peak_memory(self, bundle: Bundle, variants: Sequence[str]) -> dict[str, Memory]:
        """Measure the memory of each variant in a process of its own; leave out those that fail."""
        return {}

    def energy(self, bundle: Bundle, variants: Sequence[str], plan: Plan, seconds: float) -> dict[str, Energy]:
        """Measure the energy of each variant while it runs for ``seconds``; leave out those that fail.

        Experimental: no real battery has been read yet.

        Raises:
            Failure: the battery has no usable counter, or the device is being charged.
        """
        return {}

    def close(self, done: bool) -> None:
        """Release the device.

        Args:
            done: Whether the run succeeded. If not, files from which a later run can resume stay on the device.
        """
