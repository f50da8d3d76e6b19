"""ONNX by onnxruntime's own profile."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.operators.schema import Operator
from distill.console import Failure

__all__ = ["profile_onnx", "read_events"]


def profile_onnx(content: bytes, values: np.ndarray, threads: int, runs: int) -> list[Operator]:
    """Time every node that onnxruntime runs, after its own fusions.

    Args:
        values: the input tensor.
        runs: inferences; the first tenth is not counted.

    Raises:
        Failure: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise Failure("onnxruntime is not installed", "pip install onnxruntime") from None
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder, "p"))
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: values}
        for _ in range(runs):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    return read_events(events, runs)


def read_events(events: list[dict[str, Any]], runs: int) -> list[Operator]:
    """Nodes in the order of execution, each with the mean of the middle half of its times: events count whole
    microseconds, so that a median would be as coarse. Their multiply-accumulates are not known: onnxruntime does
    not tell the shape of weights that it has repacked."""
    times: dict[str, list[float]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for event in events:
        name = event.get("name", "")
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            times.setdefault(name, []).append(event["dur"] / 1000)
            facts.setdefault(name, event["args"])
    found = []
    for name, taken in times.items():
        counted = np.sort(taken[runs // 10 :] or taken)
        quarter = len(counted) // 4
        outputs = [next(iter(entry.items())) for entry in facts[name].get("output_type_shape", [])]
        kind, shape = outputs[0] if outputs else ("", [])
        middle = counted[quarter : len(counted) - quarter]
        found.append(Operator(facts[name]["op_name"], tuple(shape), 0, kind in ("int8", "uint8"), float(middle.mean())))
    return found
