"""Open a model file in the engine of its format. Also runs on boards, with the built-in formats.

On a computer with the whole project installed, :data:`export.bundle.formats.FORMATS` adds the formats of other
installed packages to :data:`BUILTIN`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from distill.console.errors import Failure, first_line
from export.bundle.engines.base import Format, VariantRunner, load

__all__ = ["BUILTIN", "MAX_THREADS", "builtin_format", "load_engine", "open_engine"]

BUILTIN = {
    "tflite": "export.bundle.engines.tflite:TFLITE",
    "onnx": "export.bundle.engines.onnx:ONNX",
    "executorch": "export.bundle.engines.executorch:EXECUTORCH",
}

# XNNPACK ends the process if it cannot start the requested number of threads.
MAX_THREADS = 256


def builtin_format(name: str) -> Format:
    """Return a format of :data:`BUILTIN`.

    Raises:
        Failure: unknown name.
    """
    if name not in BUILTIN:
        raise Failure(f"no engine here runs '{name}'", f"known: {', '.join(BUILTIN)}")
    return load(BUILTIN[name])


def load_engine(file_format: str | Format) -> None:
    """Import what runs this format, so that the first model does not pay for it.

    Raises:
        ImportError: it is not installed.
    """
    import_module(_resolve(file_format).engine_module)


def open_engine(
    path: Path,
    file_format: str | Format,
    spec: Any,
    output: Any,
    table: np.ndarray,
    threads: int = 1,
    delegate: str | None = None,
) -> VariantRunner:
    """Load a model file, ready to run.

    Args:
        path: the file.
        file_format: its format, or the name of a built-in one.
        spec, output: the input and output tensors, see :class:`~export.bundle.engines.base.TensorSpec`.
        table: value of each pixel value in each channel, ``[256, 3]`` of the input's dtype.
        threads: CPU threads, 1 to ``MAX_THREADS``.
        delegate: what computes the file in place of the engine's own kernels; TFLite's ``"none"``: nothing does.
            ``None``: the format's default. Ignored for formats without delegates.

    Raises:
        Failure: unknown format, the engine is not installed, has no such delegate or refuses the file, or the file's
            own shapes, types or scales are not those of ``spec`` and ``output``.
    """
    form = _resolve(file_format)
    if not 1 <= threads <= MAX_THREADS:
        raise Failure(f"{threads} threads", f"take 1 to {MAX_THREADS}")
    options = {}
    if form.delegates:
        options["delegate"] = delegate or form.delegates[0]
        if options["delegate"] not in form.delegates:
            cure = f"it has {' and '.join(form.delegates)}"
            raise Failure(f"{form.engine_package} has no delegate '{delegate}'", cure)
    try:
        return load(form.engine)(path, spec, output, table, threads, **options)
    except (Failure, OSError, MemoryError):
        raise
    except Exception as error:  # the engines raise all kinds of types on a bad file
        first = first_line(error)
        raise Failure(f"{path}: the engine refuses it: {first}", "export it again") from error


def _resolve(file_format: str | Format) -> Format:
    return builtin_format(file_format) if isinstance(file_format, str) else file_format
