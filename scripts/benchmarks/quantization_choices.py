"""Measures how range rules, 16-bit activations and layers kept in float change size, latency and Recall@1.

    python scripts/benchmarks/quantization_choices.py runs/student
    python scripts/benchmarks/quantization_choices.py --weights mobilenet_1_0_224_tf.h5 --data folder:photos --side 224

TFLite, without repair unless ``--repair`` names one. Recall@1 as in quantization_repair.py: each embedding of the test
part against all others of the same file; the drop against PyTorch with a 95 % interval over classes.
Latency: one thread, all files in turn in one process, relative to plain int8.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from retrieval import (
    CheckpointArgument,
    DataOption,
    PytorchReference,
    SideOption,
    TestImagesOption,
    WeightsOption,
    load_student,
    open_built,
    read_test_images,
    retrieval_cells,
)
from turns import time_in_turns

from distill.console import DebugOption, JsonOption, make_app, note, run_app
from export.bundle.runtime import VariantRunner
from export.int8.ranges import MINMAX, parse_rule
from export.int8.sensitivity import Exclusion
from export.job import Job
from export.samples.calibration import choose_samples
from export.targets import TARGETS

app = make_app(__doc__ or "", default_command="run")
INT8 = "tflite-int8"
# name -> target, rule, layers kept in float
CHOICES: dict[str, tuple[str, str, int]] = {
    "int8": (INT8, "minmax", 0),
    "int8, percentile:99.99": (INT8, "percentile:99.99", 0),
    "int8, percentile:99.9": (INT8, "percentile:99.9", 0),
    "int8, mse": (INT8, "mse", 0),
    "int8, worst 1 in float": (INT8, "minmax", 1),
    "int8, worst 3 in float": (INT8, "minmax", 3),
    "int8, worst 6 in float": (INT8, "minmax", 6),
    "int16x8": ("tflite-int16x8", "minmax", 0),
    "float32": ("tflite-float32", "minmax", 0),
}


@app.command()
def run(
    checkpoint: CheckpointArgument = None,
    weights: WeightsOption = None,
    data: DataOption = None,
    side: SideOption = 224,
    repair: Annotated[str, typer.Option(help="none, cle, bias or cle+bias.")] = "none",
    test_images: TestImagesOption = 3000,
    rounds: Annotated[int, typer.Option(min=1, help="Latency measurements per file.")] = 200,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure every choice."""
    model, preprocessing, record = load_student(checkpoint, weights, data, side)
    samples = choose_samples(preprocessing, record, None, 200, seed)
    pixels, labels = read_test_images(record, preprocessing, test_images)
    reference = PytorchReference.of(model, pixels, labels, preprocessing)
    rows: list[dict[str, Any]] = [{"choice": "PyTorch float32", "recall@1": reference.recall()}]
    runners: dict[str, VariantRunner] = {}
    with tempfile.TemporaryDirectory() as scratch:
        job = Job(model, preprocessing, samples.calibration, Path(scratch), debug)
        for name, (target, rule, worst) in CHOICES.items():
            note(name)
            # A job caches the layers that it excludes, so each choice gets its own job.
            own = replace(job, rule=parse_rule(rule) if rule != "minmax" else MINMAX, exclusion=Exclusion(worst))
            path = own.scratch / f"{len(rows)}.tflite"
            runners[name], in_float = open_built(own, TARGETS[target], path, repair)
            found = reference.compare(runners[name].embed(pixels))
            rows.append({"choice": name, "size_bytes": path.stat().st_size, "in_float": list(in_float), **found})
            runners[name].prepare(pixels[:1])
        times = {name: float(np.median(taken)) for name, taken in time_in_turns(runners, rounds, seed).items()}
    for row in rows[1:]:
        row["time_to_int8"] = times[row["choice"]] / times["int8"]
    result = {"images": len(pixels), "repair": repair, "int8_ms": times["int8"], "rows": rows}
    print(json.dumps(result, indent=2)) if as_json else _print(result)


def _print(result: dict[str, Any]) -> None:
    print(f"{result['images']} test images, repair {result['repair']}; int8 takes {result['int8_ms']:.2f} ms\n")
    print("| choice | kB | time, int8 = 1 | mean cosine | min cosine | Recall@1, % | drop, points [95 %] |")
    print("|---|---|---|---|---|---|---|")
    for row in result["rows"]:
        if "drop" not in row:
            print(f"| {row['choice']} | | | | | {100 * row['recall@1']:.2f} | |")
            continue
        cells = (f"{row['size_bytes'] / 1000:.0f}", f"{row['time_to_int8']:.2f}", *retrieval_cells(row))
        print(f"| {row['choice']} | {' | '.join(cells)} |")
    print()
    for row in result["rows"]:
        if row.get("in_float"):
            print(f"{row['choice']}: {', '.join(row['in_float'])}")


if __name__ == "__main__":
    raise SystemExit(run_app(app))
