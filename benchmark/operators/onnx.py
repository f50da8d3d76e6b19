"""Profile ONNX files with onnxruntime's own profiler."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.operators.onnx_graph import Graph, Weights, read_graph
from benchmark.operators.profile import ProfiledOperator
from benchmark.timing import Plan
from distill.console import Failure

__all__ = ["profile_onnx", "read_events"]

RUNS = 300  # inferences
# Input of an operator that holds the weights; FusedConv and similar are onnxruntime's own.
PLACES = {
    "Conv": 1, "FusedConv": 1, "NhwcFusedConv": 1, "ConvInteger": 1, "QLinearConv": 3, "Gemm": 1, "FusedGemm": 1, "MatMul": 1,
    "FusedMatMul": 1, "MatMulInteger": 1, "DynamicQuantizeMatMul": 1, "MatMulIntegerToFloat": 1, "QLinearMatMul": 3, "QGemm": 3,
}  # fmt: skip


def profile_onnx(
    content: bytes, values: np.ndarray, plan: Plan, show: Callable[[float], None] = lambda share: None, runs: int = RUNS
) -> list[ProfiledOperator]:
    """Time every node that onnxruntime runs, after its own fusions.

    Args:
        values: Input tensor.
        plan: Its threads are used.
        show: Called with the share done.
        runs: Number of inferences; the first tenth is not counted.

    Raises:
        Failure: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise Failure("onnxruntime is not installed", "pip install onnxruntime") from None
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = plan.threads, 1
        options.log_severity_level = 3
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder, "p"))
        # This file has the nodes of the profile; the profile leaves out weights that were repacked.
        options.optimized_model_filepath = str(Path(folder, "m.onnx"))
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: values}
        for run in range(runs):
            session.run(None, feed)
            show((run + 1) / runs)
        events = json.loads(Path(session.end_profiling()).read_text())
        return read_events(events, runs, read_graph(Path(options.optimized_model_filepath).read_bytes()))


def read_events(events: list[dict[str, Any]], runs: int, graph: Graph) -> list[ProfiledOperator]:
    """Return the nodes in the order of execution, each with the mean of the middle half of its times.

    Events count whole microseconds; a median would be as coarse.

    Args:
        runs: Number of inferences in the events.
        graph: The graph that onnxruntime runs.
    """
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
        weights = [graph.weights.get(given) for given in graph.nodes.get(name.removesuffix("_kernel_time"), [])]
        moved = sum(int(facts[name].get(key, 0)) for key in ("activation_size", "output_size"))
        found.append(ProfiledOperator(
            facts[name]["op_name"], tuple(shape), _macs(facts[name]["op_name"], weights, tuple(shape)), kind in ("int8", "uint8"),
            float(middle.mean()), moved + sum(one.bytes for one in weights if one),
        ))  # fmt: skip
    return found


def _macs(kind: str, weights: Sequence[Weights | None], shape: tuple[int, ...]) -> int:
    """Count the multiply-accumulates of a node; 0 where its second factor is not constant."""
    place = PLACES.get(kind)
    factor = weights[place] if place is not None and place < len(weights) else None
    if factor is None or not shape:
        return 0
    if "Conv" in kind:  # [out, in of the group, h, w]
        return math.prod(shape) * math.prod(factor.shape[1:])
    return math.prod(shape[:-1]) * math.prod(factor.shape)  # [in, out] or [out, in]
