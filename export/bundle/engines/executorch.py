"""ExecuTorch: its Python runtime with XNNPACK, which needs torch. Also runs on boards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from distill.console.errors import Failure
from export.bundle.engines.base import Format, VariantRunner, check_tensors
from export.bundle.quiet import quiet_stderr

__all__ = ["EXECUTORCH", "ExecutorchRunner"]

EXECUTORCH = Format(
    "executorch",
    suffix="pte",
    engine="export.bundle.engines.executorch:ExecutorchRunner",
    engine_module="executorch.runtime",
    engine_package="distill-to-phone[executorch]",
    packages=("executorch",),
    available="export.formats.executorch:missing_executorch",
    optional=True,
)
_TYPES = {6: np.float32}  # ExecuTorch's ScalarType.Float


class ExecutorchRunner(VariantRunner):
    """An ExecuTorch program. ``threads`` has no effect: the runtime uses one, or chooses by itself."""

    def __init__(self, path: Path, spec: Any, output: Any, table: np.ndarray, threads: int) -> None:
        super().__init__(spec, output, table)
        try:
            import torch
            from executorch.runtime import Runtime
        except ImportError:
            raise Failure("executorch is not installed", "pip install 'distill-to-phone[executorch]'") from None
        self._from_numpy = torch.from_numpy
        with quiet_stderr():
            self._program = Runtime.get().load_program(path.read_bytes())  # keeps the method alive
            self._method = self._program.load_method("forward")
        meta = self._method.metadata
        tensors = meta.input_tensor_meta(0), meta.output_tensor_meta(0)
        check_tensors(path, [(t.sizes(), _TYPES.get(t.dtype(), "O"), (0.0, 0)) for t in tensors], spec, output)
        self._feed: list[Any] = []
        self._result: Any = None

    def invoke(self) -> None:
        self._result = self._method.execute(self._feed)

    def _set_input(self, values: np.ndarray) -> None:
        self._feed = [self._from_numpy(values)]

    def _raw_output(self) -> np.ndarray:
        return self._result[0].numpy()

    def _run(self, values: np.ndarray) -> np.ndarray:
        return self._method.execute([self._from_numpy(values)])[0].numpy().copy()
