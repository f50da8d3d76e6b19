"""ONNX: onnxruntime on the CPU. Also runs on boards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.console.errors import Failure
from export.bundle.engines.base import Format, VariantRunner, check_tensors

__all__ = ["ONNX", "OnnxRunner"]

ONNX = Format(
    "onnx",
    suffix="onnx",
    engine="export.bundle.engines.onnx:OnnxRunner",
    engine_module="onnxruntime",
    engine_package="onnxruntime",
    profile="benchmark.operators.onnx:profile_onnx",
    packages=("onnx", "onnxruntime"),
)
_TYPES = {"tensor(float)": np.float32, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8}


class OnnxRunner(VariantRunner):
    """An ONNX file in onnxruntime: ``threads`` within an operator, operators one after another.

    Threads that wait for work spin, but only during an inference. By default they go on for milliseconds after it, on
    processors that the next variant of a measurement in turns then lacks (docs/benchmark.md, Latency).
    """

    def __init__(self, path: Path, spec: Any, output: Any, table: np.ndarray, threads: int) -> None:
        super().__init__(spec, output, table)
        try:
            import onnxruntime
        except ImportError:
            raise Failure("onnxruntime is not installed", "pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        facts = [(_shape(t.shape), _TYPES.get(t.type, t.type), (0.0, 0)) for t in (*inputs, *outputs)]
        check_tensors(path, facts, spec, output)
        if spec.dynamic_batch:
            self.batch_size = 16
        self._input, self._outputs = inputs[0].name, [outputs[0].name]
        self._feed: dict[str, np.ndarray] = {}
        self._result: list[np.ndarray] = []

    def invoke(self) -> None:
        self._result = self._session.run(self._outputs, self._feed)

    def _set_input(self, values: np.ndarray) -> None:
        self._feed = {self._input: values}

    def _raw_output(self) -> np.ndarray:
        return self._result[0]

    def _run(self, values: np.ndarray) -> np.ndarray:
        return self._session.run(self._outputs, {self._input: values})[0]


def _shape(shape: Sequence[Any]) -> list[int]:
    return [side if isinstance(side, int) else 1 for side in shape]  # a named axis is the batch
