"""Run one variant of a bundle on this machine, in the engine of its format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from distill.console import Failure
from distill.data.preprocess import Preprocessing
from export.bundle.engines.base import VariantRunner
from export.bundle.engines.open import open_engine
from export.bundle.formats import FORMATS
from export.bundle.read import Bundle
from export.bundle.schema import InputSpec, Variant

__all__ = ["VariantRunner", "input_table", "open_file", "open_variant", "quantize"]


def quantize(values: np.ndarray, scale: float, zero_point: int, dtype: Any = np.int8) -> np.ndarray:
    """Return the levels nearest to ``values``, halves to the even neighbour, clipped to what ``dtype`` holds.

    The division is in float64, as in the app: in float32, with mean = std = 127.5, 110 of the 256 pixel values
    would get the neighbouring level.
    """
    limits = np.iinfo(dtype)
    levels = np.rint(values.astype(np.float64) / scale) + zero_point
    return np.clip(levels, limits.min, limits.max).astype(dtype)


def input_table(spec: InputSpec, preprocessing: Preprocessing) -> np.ndarray:
    """Return the input value of each of the 256 pixel values in each channel: ``[256, 3]`` of the input's dtype.

    ``scaled = (pixel - mean) / std`` in float32; integers are
    ``clamp(rint(scaled / scale) + zero_point)``, see :func:`quantize`. With mean =
    std = 128, scale 1/128 and zero point 0 this is exactly ``pixel - 128``.
    """
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    scaled = preprocessing.scale(ramp).astype(np.float32)
    if spec.scale is None or spec.zero_point is None:  # float32
        return scaled
    return quantize(scaled, spec.scale, spec.zero_point, np.dtype(spec.dtype))


def open_variant(bundle: Bundle, name: str, threads: int = 1, delegate: str | None = None) -> VariantRunner:
    """Load a variant, ready to run.

    Args:
        bundle: from :func:`~export.bundle.read.load_bundle`.
        name: of the variant, e.g. ``"tflite-int8"``.
        threads: CPU threads.
        delegate: see :func:`~export.bundle.engines.open.open_engine`.

    Raises:
        UsageFailure: no variant of this name.
        Failure: unknown format, no engine for it, the engine refuses the file, or the file's own
            shapes, types or scales are not those in ``bundle.json``.
    """
    variant = bundle.variant(name)
    return open_file(bundle.path(variant), variant, bundle.manifest.preprocessing, threads, delegate)


def open_file(
    path: Path, variant: Variant, preprocessing: Preprocessing, threads: int = 1, delegate: str | None = None
) -> VariantRunner:
    """Load a model file that is not in a bundle yet; arguments and errors as for :func:`open_variant`."""
    if variant.format not in FORMATS:
        raise Failure(f"{path}: no engine here runs '{variant.format}'", f"known: {', '.join(FORMATS.names())}")
    table = input_table(variant.input, preprocessing)
    return open_engine(path, FORMATS[variant.format], variant.input, variant.output, table, threads, delegate)
