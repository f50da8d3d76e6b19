"""Compare the latency of our exports with Keras' MobileNet-0.25, converted by the same converter.

    python scripts/benchmarks/export_latency.py --rounds 400

The yardstick is ``keras.applications.MobileNet(alpha=0.25)`` with the same head and the weights of our student, so that
both files compute the same embedding (this is checked). If litert-torch is installed (extra generic), its default
conversion of the student is measured too, and so is the student with a patch stem, a different network that is meant to
be faster. All models run in one process, one thread each, in a new random order every round, so that a change of clock
speed or a busy neighbour affects all alike. Weights are random: latency does not depend on them. The exit code is 1 if
our TFLite int8 is slower than ``--limit`` times the yardstick.
"""

from __future__ import annotations

import json
import platform
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from networks import keras_embedder, keras_to_tflite, random_student, silent
from turns import cpu_name, time_in_turns

from distill.console import DebugOption, Failure, JsonOption, make_app, note, run_app
from export.bundle.runtime import VariantRunner, open_file
from export.bundle.schema import Variant
from export.bundle.tflite_file import describe_tflite
from export.formats.tflite.generic import missing_generic
from export.job import Job
from export.samples.calibration import CalibrationImages
from export.targets import TARGETS, Target

app = make_app(__doc__ or "", default_command="run")
CALIBRATION_IMAGES = 32
LEAST_COSINE = 0.9  # to float32; int8 of random weights has 0.94 at 64 pixels, a different network about 0
# name -> our row whose file has the same borders
PATCH = "patch-stem"  # mobilenet_v1_025_patch
YARDSTICKS = {"keras-float32": "tflite-float32", "keras-dynamic-range": "tflite-float32", "keras-int8": "tflite-int8"}


@app.command()
def run(
    rounds: Annotated[int, typer.Option(min=10, help="Measurements per model.")] = 400,
    side: Annotated[int, typer.Option(min=32, help="Input size in pixels.")] = 224,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    limit: Annotated[float, typer.Option(help="Highest allowed ratio of TFLite int8 to the yardstick.")] = 1.03,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Build all variants and yardsticks, and time them in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        runners, files = _build(Path(scratch), side, threads, seed, debug)
    cosine = _agreement(runners, side, seed)
    times = time_in_turns(runners, rounds, seed)
    result = _result(times, files, rounds, side, threads, cosine)
    print(json.dumps(result, indent=2)) if as_json else _print(result)
    ratio = result["variants"]["tflite-int8"]["ratio"]
    if ratio > limit:
        raise Failure(
            f"TFLite int8 takes {ratio:.3f} of the yardstick's time, above {limit}", "run it on a quiet machine"
        )


def _build(
    scratch: Path, side: int, threads: int, seed: int, debug: bool
) -> tuple[dict[str, VariantRunner], dict[str, dict[str, Any]]]:
    model = random_student("mobilenet_v1_025", side, seed)
    preprocessing = model.backbone.default_preprocessing(side)
    noise = np.random.default_rng(seed).integers(0, 256, (CALIBRATION_IMAGES, side, side, 3), dtype=np.uint8)
    job = Job(model, preprocessing, CalibrationImages(noise, preprocessing), scratch, debug)
    runners, files = {}, {}

    def add(name: str, target: Target, path: Path, built: Any) -> None:
        variant = Variant(
            name=name, format=target.format, file=path.name, size_bytes=path.stat().st_size, sha256="0" * 64,
            scheme=target.scheme, input=built[0], output=built[1], operators=built[2],
        )  # fmt: skip
        runners[name] = open_file(path, variant, preprocessing, threads)
        files[name] = {
            "size_bytes": variant.size_bytes,
            "operators": {operator.name: operator.count for operator in variant.operators},
        }

    for name, target in TARGETS.items():
        # int16x8 takes about 60 times as long as int8 and would dominate the run; executorch needs an extra.
        if target.scheme.activations == "int16" or target.optional:
            continue
        note(f"building {name}")
        path = scratch / f"{name}.{target.format}"
        built = target.build_file(job, path)
        add(name, target, path, (built.input, built.output, built.operators))
    faster = replace(job, model=random_student("mobilenet_v1_025_patch", side, seed))
    for kind in ("float32", "int8"):
        target, name = TARGETS[f"tflite-{kind}"], f"{PATCH}-{kind}"
        note(f"building {name}")
        path = scratch / f"{name}.tflite"
        built = target.build_file(faster, path)
        add(name, target, path, (built.input, built.output, built.operators))
    for name, ours in YARDSTICKS.items():
        note(f"building {name}")
        path = scratch / f"{name}.tflite"
        path.write_bytes(_keras(job, side, name.removeprefix("keras-"), debug))
        add(name, TARGETS[ours], path, describe_tflite(path))
    if missing_generic() is None:
        note("building litert-torch-float32")
        path = scratch / "litert-torch-float32.tflite"
        path.write_bytes(_litert_torch(job, side, debug))
        add("litert-torch-float32", TARGETS["tflite-float32"], path, describe_tflite(path))
    else:
        note("litert-torch is not installed: skipped")
    return runners, files


def _litert_torch(job: Job, side: int, debug: bool) -> bytes:
    """Convert the student with litert-torch's defaults, except for channels-last input."""
    with silent(debug):
        import litert_torch
        import torch

        module = litert_torch.to_channel_last_io(job.model, args=[0]).eval()
        return bytes(litert_torch.convert(module, (torch.zeros(1, side, side, 3),)).model_content())


def _keras(job: Job, side: int, scheme: str, debug: bool) -> bytes:
    """Convert the yardstick: Keras' network with our weights, by TFLiteConverter from the Keras model."""
    with silent(debug):
        keras = keras_embedder("MobileNet", 0.25, side)
        for layer in job.model.backbone.layers():
            kernel = layer.conv.weight.detach().numpy()
            order = (2, 3, 0, 1) if layer.kind == "depthwise" else (2, 3, 1, 0)
            keras.get_layer(layer.name).set_weights([kernel.transpose(order)])
            norm = (layer.bn.weight, layer.bn.bias, layer.bn.running_mean, layer.bn.running_var)
            keras.get_layer(f"{layer.name}_bn").set_weights([part.detach().numpy() for part in norm])
        linear = job.model.linear
        keras.get_layer("projection").set_weights([linear.weight.detach().numpy().T, linear.bias.detach().numpy()])
        return keras_to_tflite(keras, scheme, job.calibration)


def _agreement(runners: dict[str, VariantRunner], side: int, seed: int) -> dict[str, float]:
    """Return each model's smallest cosine to our float32 TFLite; all but the patch-stem student must be the same network."""
    pixels = np.random.default_rng(seed + 1).integers(0, 256, (4, side, side, 3), dtype=np.uint8)
    reference = runners["tflite-float32"].embed(pixels)
    cosines = {name: float((runner.embed(pixels) * reference).sum(1).min()) for name, runner in runners.items()}
    wrong = [name for name, cosine in cosines.items() if cosine < LEAST_COSINE and not name.startswith(PATCH)]
    if wrong:
        raise Failure(f"{wrong[0]} is not the same network: cosine {cosines[wrong[0]]:.3f}", "report it")
    for runner in runners.values():
        runner.prepare(pixels[:1])
    return cosines


def _result(
    times: dict[str, np.ndarray], files: dict[str, dict[str, Any]], rounds: int, side: int, threads: int,
    cosine: dict[str, float],
) -> dict[str, Any]:  # fmt: skip
    variants = {}
    for name, values in times.items():
        kind = "int8" if "int8" in name else "float32"
        variants[name] = {
            "median_ms": float(np.median(values)),
            "p10_ms": float(np.percentile(values, 10)),
            "p90_ms": float(np.percentile(values, 90)),
            "yardstick": f"keras-{kind}",
            "ratio": float(np.median(values) / np.median(times[f"keras-{kind}"])),
            "min_cosine_to_float32": cosine[name],
            **files[name],
        }
    machine = {"cpu": cpu_name(), "platform": platform.platform(), "python": platform.python_version()}
    return {"machine": machine, "rounds": rounds, "side": side, "threads": threads, "variants": variants}


def _print(result: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"{result['side']} px, {result['threads']} thread, {result['rounds']} rounds",
    )
    for column in ("model", "kB", "ops", "p10 ms", "median", "p90", "ratio", "to"):
        table.add_column(column, justify="left" if column in ("model", "to") else "right", no_wrap=True)
    for name, row in sorted(result["variants"].items(), key=lambda item: (item[1]["yardstick"], item[0])):
        table.add_row(
            name, f"{row['size_bytes'] / 1000:.0f}", str(sum(row["operators"].values())), f"{row['p10_ms']:.3f}",
            f"{row['median_ms']:.3f}", f"{row['p90_ms']:.3f}", f"{row['ratio']:.3f}", row["yardstick"],
        )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    console.print(f"on {result['machine']['cpu']}", markup=False)


if __name__ == "__main__":
    raise SystemExit(run_app(app))
