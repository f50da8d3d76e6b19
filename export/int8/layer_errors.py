"""Layer report: compares every layer of a TFLite int8 file with the same layer in float.

The file runs operator by operator, without XNNPACK, which would hide intermediate tensors. The float side
is the network with the same channel scales (equalized, if that repair was chosen) and uncorrected biases.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.files import atomic_path
from export.formats.tflite.operators import inspecting_interpreter, layer_operators
from export.int8.arithmetic import dequantize, quantize

if TYPE_CHECKING:
    from export.graph.folded import FoldedGraph

__all__ = ["REPORT_IMAGES", "LayerError", "compare_layers", "write_report"]

REPORT_IMAGES = 16
_INFINITE = 999.0  # decibels, if the outputs are equal


@dataclass(frozen=True)
class LayerError:
    """Difference of one layer in float and in int8 (or with int16 activations), over all images.

    Attributes:
        name: name of the layer.
        operator: its operator in the file.
        cosine: cosine of the whole output, smallest over the images.
        snr_db: 10 log10(power of the float values / power of the difference); 999 if they are equal.
        range_use: levels between the smallest and the largest value that occurs, as a share of 255 (int16: 65,535);
            1 if the file computes this layer in float.
        channel_use: the same share for the median channel.
        low_channels: share of channels that span fewer than 8 levels, of those that are not constant in float;
            0 if the file computes this layer in float.
    """

    name: str
    operator: str
    cosine: float
    snr_db: float
    range_use: float
    channel_use: float
    low_channels: float


def compare_layers(content: bytes, graph: FoldedGraph, images: Iterable[np.ndarray]) -> list[LayerError]:
    """Compare the output of each layer.

    Args:
        content: a TFLite int8 file made from ``graph``, of any input and output type.
        graph: the folded network in float.
        images: scaled, float32 ``[1, side, side, 3]``; the first ``REPORT_IMAGES`` are used.

    Raises:
        Failure: the operators in the file do not match the layers of the graph one by one.
    """
    chosen = list(islice(images, REPORT_IMAGES))
    exact = _float_outputs(graph, chosen)
    operators, levels, params = _int8_outputs(content, graph, chosen)
    return [
        _compare(layer.name, operator, exact[place], levels[place], params[place])
        for place, (layer, operator) in enumerate(zip(graph.layers, operators, strict=True))
    ]


def _float_outputs(graph: FoldedGraph, images: list[np.ndarray]) -> list[np.ndarray]:
    import torch

    from export.graph.torch_network import batches, run

    parts: dict[str, list[np.ndarray]] = {layer.name: [] for layer in graph.layers}

    def visit(layer: Any, _: torch.Tensor, after: torch.Tensor) -> None:
        values = after.permute(0, 2, 3, 1) if after.ndim == 4 else after
        parts[layer.name].append(values.numpy())

    with torch.inference_mode():
        for batch in batches(images):
            run(graph, batch, visit)
    return [np.concatenate(rows) for rows in parts.values()]


def _int8_outputs(
    content: bytes, graph: FoldedGraph, images: list[np.ndarray]
) -> tuple[list[str], list[np.ndarray], list[tuple[float, int]]]:
    """Return of each layer the operator's name, its levels over all images, and their scale and zero point."""
    interpreter = inspecting_interpreter(content)
    found = layer_operators(graph, interpreter._get_ops_details(), lambda op: op["op_name"])
    operators = [last for *_, last in found]
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    indices = [int(op["outputs"][0]) for op in operators]
    entry = interpreter.get_input_details()[0]
    rows: list[list[np.ndarray]] = [[] for _ in indices]
    for image in images:
        interpreter.set_tensor(entry["index"], _as_input(image, entry))
        interpreter.invoke()
        for row, index in zip(rows, indices, strict=True):
            row.append(interpreter.get_tensor(index))
    scales = [details[index]["quantization"] for index in indices]
    return [op["op_name"] for op in operators], [np.concatenate(row) for row in rows], scales


def _as_input(image: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
    if entry["dtype"] == np.float32:
        return image
    scale, zero_point = entry["quantization"]
    return quantize(image, scale, zero_point, entry["dtype"])


def _compare(
    name: str, operator: str, exact: np.ndarray, levels: np.ndarray, quantization: tuple[float, int]
) -> LayerError:
    whole = np.issubdtype(levels.dtype, np.integer)
    scale, zero_point = quantization if whole else (1.0, 0)
    got = dequantize(levels, scale, zero_point)
    wanted = exact.astype(np.float64)
    one, other = wanted.reshape(len(wanted), -1), got.reshape(len(got), -1)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosine = float(((one * other).sum(axis=1) / np.maximum(lengths, 1e-30)).min())
    power, error = float((wanted**2).sum()), float(((wanted - got) ** 2).sum())
    snr = 10 * np.log10(max(power, 1e-30) / error) if error else _INFINITE
    uses = _levels_used(levels, wanted) if whole else (1.0, 1.0, 0.0)
    return LayerError(name, operator, cosine, float(snr), *uses)


def _levels_used(levels: np.ndarray, wanted: np.ndarray) -> tuple[float, float, float]:
    channels = levels.reshape(-1, levels.shape[-1]).astype(int)
    steps = 2 ** (8 * levels.itemsize) - 1
    span = channels.max(axis=0) - channels.min(axis=0)
    alive = np.ptp(wanted.reshape(-1, wanted.shape[-1]), axis=0) > 0
    if not alive.any():
        return float(np.ptp(channels)) / steps, 0.0, 0.0
    return float(np.ptp(channels)) / steps, float(np.median(span[alive])) / steps, float((span[alive] < 8).mean())


def write_report(folder: Path, variant: str, errors: list[LayerError]) -> list[Path]:
    """Write ``VARIANT.csv``, ``.svg`` and ``.png`` into ``folder``, which is created if missing; return their paths."""
    names = [field.name for field in fields(LayerError)]
    table = folder / f"{variant}.csv"
    with atomic_path(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(asdict(error) for error in errors)
    plots = [folder / f"{variant}.{suffix}" for suffix in ("svg", "png")]
    for path in plots:
        with atomic_path(path) as temporary:
            _plot(variant, errors).savefig(temporary, dpi=120)
    return [table, *plots]


def _plot(variant: str, errors: list[LayerError]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    places = range(len(errors))
    upper.bar(places, [min(error.snr_db, 80) for error in errors], color="#4878a8")
    upper.set_ylabel("signal to noise, dB")
    upper.set_title(f"{variant}: int8 against float, layer by layer")
    lower.plot(places, [error.range_use for error in errors], "o-", label="whole tensor", color="#888888")
    lower.plot(places, [error.channel_use for error in errors], "o-", label="median channel", color="#4878a8")
    lower.bar(
        places, [error.low_channels for error in errors], label="channels under 8 levels", color="#d08060", alpha=0.6
    )
    lower.set_ylabel("share of 255 levels, of channels")
    lower.set_ylim(0, 1.05)
    lower.legend()
    lower.set_xticks(list(places), [error.name for error in errors], rotation=90, fontsize=8)
    return figure
