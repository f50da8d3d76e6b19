"""TFLite: ai-edge-litert with its default delegate, XNNPACK, or with none. Also runs on boards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from distill.console.errors import Failure
from export.bundle.engines.base import Format, VariantRunner, check_tensors
from export.bundle.quiet import quiet_stderr

__all__ = ["TFLITE", "TfliteRunner", "interpreter_for"]

TFLITE = Format(
    "tflite",
    suffix="tflite",
    engine="export.bundle.engines.tflite:TfliteRunner",
    engine_module="ai_edge_litert.interpreter",
    engine_package="ai-edge-litert",
    delegates=("xnnpack", "none"),
    operators="export.bundle.tflite_file:list_operators",
    profile="benchmark.operators.tflite:profile_tflite",
    packages=("tensorflow", "tensorflow-cpu", "ai-edge-litert", "litert-torch", "ai-edge-quantizer"),
    available="export.formats.tflite.generic:missing_for",
)


def interpreter_for(content: bytes, threads: int = 1, delegates: bool = True) -> Any:
    """Open a TFLite interpreter on the file's content, with XNNPACK unless ``delegates`` is off.

    Raises:
        Failure: ai-edge-litert is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        raise Failure("ai-edge-litert is not installed", "pip install ai-edge-litert") from None
    options = {} if delegates else {"experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    with quiet_stderr():
        interpreter = Interpreter(model_content=content, num_threads=threads, **options)
        interpreter.allocate_tensors()
    return interpreter


class TfliteRunner(VariantRunner):
    """A TFLite file in ai-edge-litert; ``delegate``: ``"xnnpack"`` or ``"none"``."""

    def __init__(
        self, path: Path, spec: Any, output: Any, table: np.ndarray, threads: int, delegate: str = "xnnpack"
    ) -> None:
        super().__init__(spec, output, table)
        # From memory: a file that is replaced while it is mapped would crash the process.
        self._interpreter = interpreter_for(path.read_bytes(), threads, delegates=delegate != "none")
        details = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        check_tensors(
            path, [(d["shape"], d["dtype"], d["quantization"]) for side in details for d in side], spec, output
        )
        self._input, self._output = details[0][0]["index"], details[1][0]["index"]
        # One Python call less in what is timed.
        self.invoke = self._interpreter.invoke  # type: ignore[method-assign]

    def invoke(self) -> None:  # pragma: no cover - replaced in __init__
        self._interpreter.invoke()

    def _set_input(self, values: np.ndarray) -> None:
        self._interpreter.set_tensor(self._input, values)

    def _raw_output(self) -> np.ndarray:
        return self._interpreter.get_tensor(self._output)

    def _run(self, values: np.ndarray) -> np.ndarray:
        self._set_input(values)
        self._interpreter.invoke()
        return self._raw_output()
