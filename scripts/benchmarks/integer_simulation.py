"""Compares a finished int8 file with its simulation in PyTorch, level by level.

    distill-export runs/student --target tflite --quantize int8 --repair cle+bias+qat --out runs/bundle
    python scripts/benchmarks/integer_simulation.py runs/student runs/bundle

The simulation computes in float32 with the scales, zero points, weights and biases of the file, as
quantization-aware training does. The file runs with XNNPACK, as in an app, and without. Output levels are multiples of
1/128; images come from the test part.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from distill.console import DebugOption, JsonOption, make_app, run_app
from export.bundle.read import load_bundle
from export.bundle.tflite_file import interpreter_for
from export.int8.arithmetic import quantize
from export.int8.quantized_graph import QuantizedGraph

app = make_app(__doc__ or "", default_command="run")


@app.command()
def run(
    checkpoint: Annotated[Path, typer.Argument(help="Student checkpoint.")],
    bundle: Annotated[Path, typer.Argument(help="Bundle of the student, with a tflite-int8 variant.")],
    count: Annotated[int, typer.Option("--images", min=1, help="Number of images, spread over the test part.")] = 150,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare level by level."""
    from distill.data.batches import pixel_batches
    from distill.data.spec import open_data
    from distill.data.split import split
    from distill.models.checkpoint import load_checkpoint
    from export.formats.tflite.integers import read_integers
    from export.graph.fold import fold

    model, info = load_checkpoint(checkpoint)
    loaded = load_bundle(bundle)
    variant = next(variant for variant in loaded.manifest.variants if variant.name == "tflite-int8")
    content = loaded.path(variant).read_bytes()
    numbers = read_integers(content, fold(model, info.preprocessing.input_size))
    images = split(open_data(info.data["spec"]), rule=str(info.data["split"]), part="test")
    images = images.select(np.unique(np.linspace(0, len(images) - 1, count).astype(int)))
    pixels = np.concatenate([batch for batch, _ in pixel_batches(images, info.preprocessing)])
    scaled = info.preprocessing.scale(pixels)
    simulated = simulate(numbers, scaled)
    first = quantize(scaled, numbers.input.scale, numbers.input.zero_point)
    rows = {}
    for name, delegates in (("XNNPACK", True), ("built-in kernels", False)):
        apart = np.abs(_levels(content, first, delegates) - simulated)
        rows[name] = {"largest": int(apart.max()), "equal": float((apart == 0).mean()), "images": len(pixels)}
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for name, row in rows.items():
        print(f"{name}: {row['images']} images, {row['equal']:.1%} of the levels equal, at most {row['largest']} apart")


def simulate(numbers: QuantizedGraph, scaled: np.ndarray) -> np.ndarray:
    """Return output levels ``[n, D]`` by float32 arithmetic on rounded values.

    Args:
        numbers: integers of the file.
        scaled: scaled images, ``[n, side, side, 3]``.
    """
    import torch

    from export.graph.torch_network import linear_part
    from export.int8.torch_arithmetic import fake_quantize, per_channel

    by_name = {integers.name: integers for integers in numbers.layers}

    def step(layer: Any, inputs: tuple[Any, ...]) -> Any:
        integers, weights, bias = by_name[layer.name], None, None
        if integers.weights is not None:
            held = integers.weights
            levels = torch.from_numpy(held.weight.astype(np.float32))
            weights = levels * per_channel(torch.from_numpy(held.scale), levels)
            bias = torch.from_numpy(held.bias.astype(np.float32) * held.bias_scale)
        values = linear_part(layer, inputs[0], weights, bias, *inputs[1:])
        return fake_quantize(values, torch.tensor(integers.output.scale), integers.output.zero_point)

    rows = []
    with torch.no_grad():
        for part in np.array_split(scaled, max(1, len(scaled) // 32)):
            images = torch.from_numpy(np.ascontiguousarray(part.transpose(0, 3, 1, 2)))
            first = fake_quantize(images, torch.tensor(numbers.input.scale), numbers.input.zero_point)
            values = numbers.graph.flow(first, step)
            rows.append((values / numbers.layers[-1].output.scale).round().numpy().astype(int))
    return np.concatenate(rows)


def _levels(content: bytes, images: np.ndarray, delegates: bool) -> np.ndarray:
    interpreter = interpreter_for(content, delegates=delegates)
    entry, end = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    rows = []
    for image in images:
        interpreter.set_tensor(entry, image[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(end).astype(int))
    return np.concatenate(rows)


if __name__ == "__main__":
    raise SystemExit(run_app(app))
