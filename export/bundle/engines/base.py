"""The interface of an engine, and the description of a model file format.

Standard library and NumPy only, and no type of the bundle's schema: this file also runs on boards that have
nothing but Python, NumPy and an engine (``benchmark/devices/parcel.py``).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from distill.console.errors import Failure

__all__ = ["Format", "TensorSpec", "VariantRunner", "check_tensors", "load"]

_TINY = 1e-12  # a row of zeros stays a row of zeros


@dataclass(frozen=True)
class Format:
    """A kind of model file. The object stands beside the engine that runs the file.

    Functions and classes are named as ``"module:object"`` and imported only when they are used, so that a
    machine that only runs bundles needs none of the libraries that build them.

    Attributes:
        name: the word for ``--target`` and for ``format`` in ``bundle.json``.
        suffix: of the file, without the dot.
        engine: subclass of :class:`VariantRunner`. Called with ``(path, spec, output, table, threads)``, and with
            ``delegate=`` if the format has delegates.
        engine_module: module that the engine imports, e.g. ``"ai_edge_litert.interpreter"``.
        engine_package: what pip installs to get it, e.g. ``"ai-edge-litert"``.
        delegates: the engine's delegates, the default first; empty if there is no choice.
        operators: function ``(path) -> tuple[Operator, ...]`` that lists a file's operators with the ``run``
            extra alone; empty if there is none.
        profile: function ``(content, values, plan, show) -> list`` that times each operator for
            ``distill-bench operators``; empty if there is none.
        packages: distributions whose versions decide what is built: recorded in ``provenance.versions`` and part of
            the build cache's key.
        available: function ``(model) -> Failure | None`` that says why this network cannot be built in this
            format here; empty if it always can.
        optional: whether ``--target all`` leaves the format out, because it needs an extra that few install.
    """

    name: str
    suffix: str
    engine: str
    engine_module: str
    engine_package: str
    delegates: tuple[str, ...] = ()
    operators: str = ""
    profile: str = ""
    packages: tuple[str, ...] = ()
    available: str = ""
    optional: bool = False


def load(target: str) -> Any:
    """Import ``"module:object"``.

    Raises:
        ImportError, AttributeError: no such module or object.
    """
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


class TensorSpec(Protocol):
    """The input or output tensor of a model, as ``InputSpec`` and ``OutputSpec`` describe it.

    An input also has ``layout``, ``hwc`` and ``dynamic_batch``.
    """

    @property
    def shape(self) -> Any: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def scale(self) -> Any: ...
    @property
    def zero_point(self) -> Any: ...


class VariantRunner(ABC):
    """One loaded model. ``embed`` is for results; ``prepare``, ``invoke`` and ``output`` are for timing.

    An engine implements ``invoke``, ``_set_input``, ``_raw_output`` and ``_run``.

    Args:
        spec, output: the input and output tensors, see :class:`TensorSpec`.
        table: value of each pixel value in each channel, ``[256, 3]`` of the input's dtype.
    """

    batch_size = 1  # images in one run of ``embed``

    def __init__(self, spec: Any, output: Any, table: np.ndarray) -> None:
        self.input_spec = spec
        self.output_spec = output
        self._table = table
        self._grey = bool((self._table == self._table[:, :1]).all())
        offset = np.arange(256) - 128
        self._is_offset = spec.dtype == "int8" and bool((self._table == offset[:, None]).all())

    def tensor(self, pixels: np.ndarray) -> np.ndarray:
        """Convert pixels to the model's input.

        Args:
            pixels: uint8 ``[N, H, W, 3]``, RGB, of the bundle's input size.

        Returns:
            The input's dtype and layout, ``[N, H, W, 3]`` or ``[N, 3, H, W]``, contiguous.

        Raises:
            Failure: another shape or dtype.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != tuple(self.input_spec.hwc):
            height, width, channels = self.input_spec.hwc
            raise Failure(
                f"pixels are {pixels.dtype} {pixels.shape}, the model takes uint8 [N, {height}, {width}, {channels}]",
                "preprocess the images with the bundle's own preprocessing",
            )
        if self._is_offset:  # flipping the top bit subtracts 128, without a table
            values = (pixels ^ np.uint8(128)).view(np.int8)
        elif self._grey:
            values = np.take(self._table[:, 0], pixels)
        else:
            values = np.stack([np.take(self._table[:, c], pixels[..., c]) for c in range(3)], axis=-1)
        if self.input_spec.layout == "NCHW":
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values)

    def input_sha256(self, pixels: np.ndarray) -> tuple[str, ...]:
        """Return the SHA-256 of each image's input tensor, little-endian in C order; ``pixels`` as for ``tensor``."""
        tensors = (self.tensor(image[None]) for image in pixels)
        return tuple(
            hashlib.sha256(tensor.astype(tensor.dtype.newbyteorder("<")).tobytes()).hexdigest() for tensor in tensors
        )

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Compute the embeddings of any number of images.

        Args:
            pixels: uint8 ``[N, H, W, 3]``, RGB, preprocessed (resized and cropped).

        Returns:
            float32 ``[N, D]``, rows of unit length (renormalized on the host).
        """
        step = self.batch_size
        rows = [self._run(self.tensor(pixels[start : start + step])) for start in range(0, len(pixels), step)]
        if not rows:
            self.tensor(pixels)
            return np.zeros((0, self.output_spec.shape[1]), np.float32)
        return self._unit(np.concatenate(rows))

    def output(self) -> np.ndarray:
        """Return the embedding of the image last prepared and invoked: float32 ``[1, D]``, unit length."""
        return self._unit(self._raw_output())

    def _unit(self, raw: np.ndarray) -> np.ndarray:
        rows = raw.astype(np.float32)
        if self.output_spec.dtype != "float32":
            rows = (rows - np.float32(self.output_spec.zero_point)) * np.float32(self.output_spec.scale)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)

    def prepare(self, pixels: np.ndarray) -> None:
        """Set the input to one image, uint8 ``[1, H, W, 3]``."""
        if len(pixels) != 1:
            raise Failure(f"prepare takes one image, not {len(pixels)}", "use embed for more")
        self._set_input(self.tensor(pixels))

    @abstractmethod
    def invoke(self) -> None:
        """Run the model on the prepared input: the part that a latency benchmark times."""

    @abstractmethod
    def _set_input(self, values: np.ndarray) -> None:
        """Keep ``values``, the result of ``tensor``, for the next ``invoke``."""

    @abstractmethod
    def _raw_output(self) -> np.ndarray:
        """Return the output of the last ``invoke``, ``[1, D]`` of the output's dtype."""

    @abstractmethod
    def _run(self, values: np.ndarray) -> np.ndarray:
        """Return the raw output ``[n, D]`` for ``n <= batch_size`` inputs."""


def check_tensors(
    path: Path, facts: Sequence[tuple[Any, Any, tuple[float, int]]], spec: TensorSpec, output: TensorSpec
) -> None:
    """Compare the file's own tensors with the bundle's description: it may be another file of the same name.

    Args:
        path: the file, for the error.
        facts: shape, dtype and ``(scale, zero point)`` of every input and output of the file; ``(0, 0)`` for float.
        spec, output: the described tensors.

    Raises:
        Failure: they differ.
    """
    wanted = [
        (list(part.shape), np.dtype(part.dtype), (part.scale or 0.0, part.zero_point or 0)) for part in (spec, output)
    ]
    found = [(list(map(int, shape)), np.dtype(dtype), (float(q[0]), int(q[1]))) for shape, dtype, q in facts]
    same = len(found) == 2 and all(
        a[:2] == b[:2] and a[2][1] == b[2][1] and np.isclose(a[2][0], b[2][0], rtol=1e-6, atol=0)
        for a, b in zip(wanted, found)
    )
    if not same:
        raise Failure(f"{path}: its tensors are {found}, the bundle says {wanted}", "export it again")
