"""An export format: the folded student as NumPy arrays in an .npz file, run by NumPy alone.

Slow, but it runs wherever Python does, and every number in it can be looked at. Register the two objects under
``distill_to_phone.formats`` and ``distill_to_phone.targets`` (CONTRIBUTING.md, "Add an export format").
"""

from __future__ import annotations

import json
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.engines.base import Format, VariantRunner, check_tensors
from export.bundle.schema import InputSpec, Operator, OutputSpec
from export.bundle.tflite_file import count_operators
from export.graph.folded import Add, Convolution, FoldedGraph, L2Norm, Layer, Linear, MeanPool
from export.job import BuiltFile, Job
from export.targets import EXACT, FLOAT32, Target

# Run side: what a machine needs that has only the bundle.

NPZ = Format(
    "npz",
    suffix="npz",
    engine=f"{__name__}:NpzRunner",
    engine_module="numpy",
    engine_package="numpy",
    operators=f"{__name__}:list_operators",
    packages=("numpy",),
)
KINDS: dict[str, type[Layer]] = {kind.__name__: kind for kind in (Convolution, Add, MeanPool, Linear, L2Norm)}


class NpzRunner(VariantRunner):
    """Computes the network layer by layer in float64. NumPy chooses the number of threads."""

    batch_size = 16

    def __init__(self, path: Path, spec: Any, output: Any, table: np.ndarray, threads: int) -> None:
        super().__init__(spec, output, table)
        self._graph = read_graph(path)
        sides = (self._graph.side, self._graph.side)
        facts = [((1, *sides, 3), np.float32, (0.0, 0)), ((1, self._graph.embedding_size), np.float32, (0.0, 0))]
        check_tensors(path, facts, spec, output)
        self._values = self._result = np.zeros(0, np.float32)

    def invoke(self) -> None:
        self._result = self._run(self._values)

    def _set_input(self, values: np.ndarray) -> None:
        self._values = values

    def _raw_output(self) -> np.ndarray:
        return self._result

    def _run(self, values: np.ndarray) -> np.ndarray:
        return self._graph.run(values).astype(np.float32)


def read_graph(path: Path) -> FoldedGraph:
    """Read a file of :func:`write_graph`. Nothing in it is unpickled."""
    with np.load(path, allow_pickle=False) as file:
        description = json.loads(str(file["graph"]))
        layers = []
        for record in description["layers"]:
            kind = KINDS[record.pop("kind")]
            names = {field.name: f"{record['name']}.{field.name}" for field in fields(kind)}
            arrays = {field: file[name] for field, name in names.items() if name in file}
            layers.append(kind(**record, **arrays))
    return FoldedGraph(description["side"], tuple(layers))


def list_operators(path: Path) -> tuple[Operator, ...]:
    """Return the kinds of layers with their counts."""
    return count_operators([type(layer).__name__ for layer in read_graph(path).layers])


# Build side: what distill-export needs.


def write_graph(graph: FoldedGraph, path: Path) -> None:
    """Write arrays under ``layer.field``, and the rest of each layer as JSON under ``graph``."""
    arrays: dict[str, np.ndarray] = {}
    layers = []
    for layer in graph.layers:
        record: dict[str, Any] = {"kind": type(layer).__name__}
        for field in fields(layer):
            value = getattr(layer, field.name)
            if isinstance(value, np.ndarray):
                arrays[f"{layer.name}.{field.name}"] = value
            else:
                record[field.name] = value
        layers.append(record)
    np.savez(path, graph=np.array(json.dumps({"side": graph.side, "layers": layers})), **arrays)


def build_npz(target: Target, job: Job, path: Path, repaired: Any) -> BuiltFile:
    """Write the folded network and describe the file."""
    graph = job.graph
    write_graph(graph, path)
    return BuiltFile(
        InputSpec(name="image", shape=(1, graph.side, graph.side, 3), layout="NHWC", dtype="float32"),
        OutputSpec(
            name="embedding", shape=(1, graph.embedding_size), dtype="float32", unit_norm=True, renormalise=False
        ),
        list_operators(path),
        producer=f"numpy {version('numpy')}",
    )


NPZ_FLOAT32 = Target("npz", "none", FLOAT32, build_npz, EXACT, 0.99999, needs_folding=True)
