"""Measure the overhead of distill-bench: its latency compared with two other clocks on the same file.

    python scripts/benchmarks/harness_overhead.py
    python scripts/benchmarks/harness_overhead.py runs/demo/bundle --variant tflite-int8

The others are a bare loop around ``Interpreter.invoke`` of ai-edge-litert, and the
``litert-benchmark`` program of the same package in a separate process. The three take turns in
random order; the median over turns of each turn's median is compared. litert-benchmark
rounds to 0.01 ms, so use a model of 0.5 ms or more. Without BUNDLE, a MobileNetV1-0.25 with
random weights at 224 pixels is exported first: latency does not depend on the weights.
Exit code 1 if our figure deviates by more than ``--limit``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from networks import EMBEDDING, random_student
from rich.console import Console
from rich.table import Table

from benchmark.timing import Plan, interleave, timer_overhead_ns
from distill.console import DebugOption, Failure, JsonOption, make_app, note, progress, run_app
from export.bundle import Bundle, load_bundle, open_variant

app = make_app(__doc__ or "", default_command="run")
OURS, BARE, PROGRAM = "distill-bench", "bare loop", "litert-benchmark"


@app.command()
def run(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle with a TFLite variant.", show_default=False)] = None,
    variant: Annotated[str, typer.Option(help="TFLite variant to time.")] = "tflite-int8",
    turns: Annotated[int, typer.Option(min=3, help="Turns of each clock.")] = 15,
    runs: Annotated[int, typer.Option(min=50, help="Inferences per turn.")] = 300,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    limit: Annotated[float, typer.Option(help="Largest deviation, a fraction.")] = 0.03,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Time one file with three clocks in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = bundle or _random_bundle(Path(scratch))
        medians = _measure(load_bundle(folder), variant, turns, runs, threads, seed, Path(scratch) / "result.json")
    found = {name: float(np.median(values)) for name, values in medians.items()}
    ratios = {name: found[OURS] / found[name] for name in (BARE, PROGRAM)}
    if as_json:
        print(
            json.dumps(
                {
                    "variant": variant,
                    "median_ms": found,
                    "ratio": ratios,
                    "timer_overhead_ns": timer_overhead_ns(),
                    "turns": {name: list(values) for name, values in medians.items()},
                },
                indent=2,
            )
        )
    else:
        table = Table(box=None, pad_edge=False, header_style="bold", title=f"{variant}, {turns} turns of {runs} runs")
        for heading in ("clock", "median, ms", "ours / it"):
            table.add_column(heading, justify="left" if heading == "clock" else "right")
        for name, value in found.items():
            table.add_row(name, f"{value:.4f}", f"{ratios[name]:.4f}" if name in ratios else "")
        Console().print(table)
    off = {name: ratio for name, ratio in ratios.items() if abs(ratio - 1) > limit}
    if off:
        name, ratio = next(iter(off.items()))
        raise Failure(
            f"distill-bench reports {ratio:.3f} times the latency of {name}, limit {limit:g}",
            "run it on a quiet machine",
        )


def _measure(
    bundle: Bundle, variant: str, turns: int, runs: int, threads: int, seed: int, scratch: Path
) -> dict[str, list[float]]:
    path = bundle.path(bundle.variant(variant))
    pixels = bundle.golden_pixels()
    runner = open_variant(bundle, variant, threads)
    interpreter = _bare(path, threads)
    plan = Plan(threads=threads, seconds=0, min_samples=runs, max_samples=runs, seed=seed)

    def ours() -> float:
        samples, _ = interleave({variant: runner}, pixels, plan)
        return float(np.median(samples[variant].invoke)) / 1e6

    def bare() -> float:
        times = []
        for _ in range(runs // 5 + runs):
            start = time.perf_counter()
            interpreter.invoke()
            times.append(time.perf_counter() - start)
        return float(np.median(times[runs // 5 :])) * 1e3

    clocks = {OURS: ours, BARE: bare, PROGRAM: lambda: _program(path, runs, threads, scratch)}
    medians: dict[str, list[float]] = {name: [] for name in clocks}
    random = np.random.default_rng(seed)
    with progress("timing", total=turns) as bar:
        for _ in range(turns):
            for name in random.permutation(list(clocks)):
                medians[name].append(clocks[name]())
            bar.advance()
    return medians


def _bare(path: Path, threads: int):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    values = np.random.default_rng(0).integers(-100, 100, details["shape"])
    scaled = values.astype(details["dtype"]) if details["dtype"] == np.int8 else (values / 128).astype(details["dtype"])
    interpreter.set_tensor(details["index"], scaled)
    return interpreter


def _program(path: Path, runs: int, threads: int, scratch: Path) -> float:
    program = Path(sys.executable).with_name("litert-benchmark")
    if not program.exists():
        raise Failure(f"{program}: not installed", "pip install 'ai-edge-litert>=2.3'")
    command = [
        str(program),
        "--model",
        str(path),
        "--num_runs",
        str(runs),
        "--warmup_runs",
        str(runs // 5),
        "--num_threads",
        str(threads),
        "--result_json",
        str(scratch),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"litert-benchmark failed: {done.stderr.strip().splitlines()[-1:]}", "run it by hand")
    return float(json.loads(scratch.read_text())["latency"]["median_ms"])


def _random_bundle(scratch: Path) -> Path:
    """Export MobileNetV1-0.25 at 224 pixels with random weights, without checking its accuracy."""
    from distill.models.checkpoint import save_checkpoint
    from distill.models.info import CheckpointInfo
    from export.bundle.schema import Tolerance
    from export.pipeline import ExportOptions, export_bundle

    note("exporting a network of random weights")
    model = random_student("mobilenet_v1_025", 224, seed=0)
    preprocessing = model.backbone.default_preprocessing(224)
    info = CheckpointInfo(
        kind="student",
        arch="mobilenet_v1_025",
        embedding_size=EMBEDDING,
        preprocessing=preprocessing,
        data={"spec": "glyphs:classes=8", "split": "half"},
    )
    save_checkpoint(scratch / "student", model, info)
    options = ExportOptions(
        target="tflite", calibration_images=16, repair="none", tolerances={"float32": Tolerance(), "int8": Tolerance()}
    )
    export = export_bundle(scratch / "student", scratch / "bundle", options)
    if export.folder is None:
        raise Failure("nothing could be exported", "; ".join(result.problem for result in export.results))
    return export.folder


if __name__ == "__main__":
    sys.exit(run_app(app))
