"""Compares the generic route to TFLite (litert-torch, ai-edge-quantizer) with the folded one and with Keras.

    python scripts/benchmarks/generic_route.py

MobileNetV1-0.25 and timm's MobileNetV2-0.5 take both routes with the same weights, so that each is the same network.
MobileNetV2 is also compared with ``keras.applications.MobileNetV2(alpha=0.5)`` converted by TFLiteConverter (the same
shapes, random weights), and with a variant without PADs: kernels of 4 x 4 with a row and a column of zeros, which SAME
pads as PyTorch pads 3 x 3. All files run in one process, in random order, on one thread. The ratio to the peer is one of
10th percentiles, because another process that interrupts half of all runs moves the median of a long one.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from networks import keras_embedder, keras_to_tflite, random_student, silent
from turns import cpu_name, time_in_turns

from distill.console import DebugOption, Failure, JsonOption, make_app, note, run_app
from export.bundle.tflite_file import interpreter_for
from export.formats.tflite.convert import to_tflite
from export.formats.tflite.generic import add_norm, convert_module, quantize_generic
from export.graph.fold import fold
from export.graph.folded import Convolution, FoldedGraph, Layer
from export.samples.calibration import CalibrationImages

app = make_app(__doc__ or "", default_command="run")
CALIBRATION_IMAGES = 32
# name -> peer
PEERS = {
    "V1 generic float32": "V1 folded float32",
    "V1 generic int8": "V1 folded int8",
    "V2 generic float32": "V2 folded float32",
    "V2 generic int8": "V2 folded int8",
    "V2 folded float32": "V2 keras float32",
    "V2 folded int8": "V2 keras int8",
    "V2 folded, 4 x 4 for PAD, float32": "V2 folded float32",
    "V2 folded, 4 x 4 for PAD, int8": "V2 folded int8",
}


@dataclass
class _File:
    """A TFLite file and its interpreter."""

    content: bytes

    def __post_init__(self) -> None:
        self._interpreter = interpreter_for(self.content)
        self.invoke = self._interpreter.invoke
        self.operators = len(interpreter_for(self.content, delegates=False)._get_ops_details())


@app.command()
def run(
    rounds: Annotated[int, typer.Option(min=10, help="Measurements per file.")] = 400,
    side: Annotated[int, typer.Option(min=32, help="Input size, pixels.")] = 224,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Build and time all files."""
    noise = np.random.default_rng(seed).integers(0, 256, (CALIBRATION_IMAGES, side, side, 3), dtype=np.uint8)
    files: dict[str, _File] = {}
    with tempfile.TemporaryDirectory() as scratch:
        _build(files, noise, side, seed, Path(scratch), debug)
    times = time_in_turns(files, rounds, seed)
    rows = []
    for name, file in files.items():
        peer = PEERS.get(name)
        ratio = float(np.percentile(times[name], 10) / np.percentile(times[peer], 10)) if peer else None
        rows.append({
            "file": name, "size_bytes": len(file.content), "operators": file.operators,
            "p10_ms": float(np.percentile(times[name], 10)), "median_ms": float(np.median(times[name])),
            "peer": peer, "ratio": ratio,
        })  # fmt: skip
    if as_json:
        print(json.dumps({"cpu": cpu_name(), "rounds": rounds, "side": side, "files": rows}, indent=2))
        return
    print("| file | kB | operators | 10th percentile, ms | median, ms | ratio | to |\n|---|---|---|---|---|---|---|")
    for row in rows:
        end = f"{row['ratio']:.2f} | {row['peer']}" if row["peer"] else " | "
        size = f"{row['size_bytes'] / 1000:.0f}"
        print(f"| {row['file']} | {size} | {row['operators']} | {row['p10_ms']:.3f} | {row['median_ms']:.3f} | {end} |")
    print(f"\non {cpu_name()}")


def _build(files: dict[str, _File], noise: np.ndarray, side: int, seed: int, scratch: Path, debug: bool) -> None:
    for name, arch in (("V1", "mobilenet_v1_025"), ("V2", "timm:mobilenetv2_050")):
        note(f"building {arch}")
        model = random_student(arch, side, seed)
        preprocessing = model.backbone.default_preprocessing(side)
        images = CalibrationImages(noise, preprocessing)
        raw = convert_module(model, side, debug)
        files[f"{name} generic float32"] = _File(add_norm(raw))
        files[f"{name} generic int8"] = _File(add_norm(quantize_generic(raw, images, debug=debug)[0]))
        graph = fold(model, side)
        for scheme in ("float32", "int8"):
            files[f"{name} folded {scheme}"] = _File(to_tflite(graph, scheme, images))
            if name == "V2":
                files[f"V2 folded, 4 x 4 for PAD, {scheme}"] = _File(to_tflite(_without_pad(graph), scheme, images))
                files[f"V2 keras {scheme}"] = _File(_keras_v2(images, side, scheme, debug))


def _without_pad(graph: FoldedGraph) -> FoldedGraph:
    """Return a graph of the same function with SAME padding only: a row of zeros makes kernels of 3 kernels of 4."""
    layers: list[Layer] = []

    def step(layer: Layer, sides: tuple[int, ...]) -> int:
        if not isinstance(layer, Convolution):
            layers.append(layer)
            return sides[0]
        side = (sides[0], sides[0])
        if not layer.is_same(side):
            wide = replace(layer, kernel=np.pad(layer.kernel, [(0, 1), (0, 1), (0, 0), (0, 0)]), padding=None)
            if wide.pads(side) != ((1, 1), (1, 1)):
                raise Failure(f"{layer.name}: not a kernel of 3 at stride 2", "report it")
            layer = wide
        layers.append(layer)
        return layer.cells(sides[0])

    graph.flow(graph.side, step)
    return FoldedGraph(graph.side, tuple(layers))


def _keras_v2(images: CalibrationImages, side: int, scheme: str, debug: bool) -> bytes:
    with silent(debug):
        return keras_to_tflite(keras_embedder("MobileNetV2", 0.5, side), scheme, images)


if __name__ == "__main__":
    raise SystemExit(run_app(app))
