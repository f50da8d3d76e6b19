"""Measures every repair of int8, on a student as it is and on one whose plain int8 collapses.

    python scripts/benchmarks/quantization_repair.py runs/student
    python scripts/benchmarks/quantization_repair.py --weights mobilenet_1_0_224_tf.h5 --data folder:photos --side 224

The second student is the first with rescaled channels: a channel that never reaches ReLU6's 6 (or has no
ReLU6) is divided by a factor of up to ``--ratio`` (log-uniform, from the seed), and the next layer's weights are
multiplied by it. In float both compute the same embeddings, which the script checks; per-tensor int8 activations suffer.

Recall@1 is measured on the test part, each embedding against all others of the same variant; the drop
against PyTorch has a 95 % interval over resampled classes. Calibration images come from the train part.
"""

from __future__ import annotations

import copy
import json
import tempfile
import time
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

from distill.console import DebugOption, Failure, JsonOption, make_app, note, run_app
from distill.data.preprocess import Preprocessing
from export.attempt import built_file
from export.check import cosines, reference_embeddings
from export.int8.repair.methods import METHODS, methods_of
from export.int8.repair.settings import QatSettings
from export.int8.training_images import TrainingImages
from export.job import Job
from export.samples.calibration import CalibrationImages, choose_samples
from export.targets import TARGETS

app = make_app(__doc__ or "", default_command="run")


@app.command()
def run(
    checkpoint: CheckpointArgument = None,
    weights: WeightsOption = None,
    data: DataOption = None,
    side: SideOption = 224,
    ratio: Annotated[float, typer.Option(min=1, help="Largest factor by which a channel is divided.")] = 100,
    target: Annotated[str, typer.Option(help="tflite-int8 or onnx-int8.")] = "tflite-int8",
    test_images: TestImagesOption = 3000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    repairs: Annotated[str, typer.Option(help="Comma-separated; default: all.")] = ",".join(METHODS.names()),
    qat_steps: Annotated[int, typer.Option(min=1, help="Training steps of the qat repairs.")] = QatSettings().steps,
    only: Annotated[str, typer.Option(help="as-is or rescaled; default: both students.")] = "",
    qat_lr: Annotated[
        float, typer.Option(min=1e-8, help="Initial learning rate of the qat repairs.")
    ] = QatSettings().lr,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure every repair on both students."""
    model, preprocessing, record = load_student(checkpoint, weights, data, side)
    samples = choose_samples(preprocessing, record, None, 200, seed)
    pixels, labels = read_test_images(record, preprocessing, test_images)
    rescaled, moved = rescale_channels(model, samples.calibration, preprocessing, ratio, seed)
    chosen = [name for text in repairs.split(",") for name in methods_of(text.strip())]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        training = TrainingImages(samples.source, frozenset(samples.held_out), preprocessing, Path(scratch) / "pixels")
        for name, subject in _subjects(only, model, rescaled, ratio):
            job = Job(
                subject, preprocessing, samples.calibration, Path(scratch) / name[:2], debug,
                training=training, qat=QatSettings(steps=qat_steps, lr=qat_lr, seed=seed),
            )  # fmt: skip
            rows += _measure(name, job, chosen, pixels, labels, target)
    exact = reference_embeddings(model, pixels[:256], preprocessing)
    kept = float(cosines(exact, reference_embeddings(rescaled, pixels[:256], preprocessing)).min())
    if kept < 0.999:
        raise Failure(f"rescaling changed the function: cosine {kept:.5f}", "report it")
    result = {
        "images": len(pixels),
        "target": target,
        "channels_moved": moved,
        "rescaled_min_cosine": kept,
        "rows": rows,
    }
    print(json.dumps(result, indent=2)) if as_json else _print(result)


def _subjects(only: str, model: Any, rescaled: Any, ratio: float) -> list[tuple[str, Any]]:
    subjects = {"as-is": ("as it is", model), "rescaled": (f"rescaled by 1..{ratio:g}", rescaled)}
    if only and only not in subjects:
        raise Failure(f"--only: unknown '{only}'", "as-is or rescaled")
    return [subjects[only]] if only else list(subjects.values())


def rescale_channels(
    model: Any, calibration: CalibrationImages, preprocessing: Preprocessing, ratio: float, seed: int
) -> tuple[Any, float]:
    """Return a model of the same embedding function with channels of unequal range.

    A channel is divided if 1.25 times its calibrated peak is below 6, where ReLU6 is homogeneous, or if no ReLU6
    follows. Activations that are added are divided by the same factors.

    Returns:
        The model, and the share of its channels that were changed.
    """
    import torch

    from distill.models.steps import Step
    from export.graph.fold import fold
    from export.graph.torch_network import observe
    from export.graph.walk import walk
    from export.int8.repair.equalize import groups

    other = copy.deepcopy(model)
    graph = fold(model, preprocessing.input_size)
    seen = observe(graph, calibration.scaled())
    rng = np.random.default_rng(seed)
    steps = {step.name: step for step in walk(other.backbone) if isinstance(step, Step)}
    moved, total = 0, 0
    with torch.no_grad():
        for group in groups(graph):
            makers = [steps[name] for name in group.members if name in steps]
            if not makers:
                continue
            free = np.all([seen[step.name].peak * 1.25 <= (6 if step.relu6 else np.inf) for step in makers], axis=0)
            factor = np.where(free, np.exp(-rng.uniform(0, np.log(ratio), len(free))), 1.0)
            moved, total = moved + int(free.sum()), total + len(free)
            if group.fixed:  # no weights to multiply back: the embedding itself would change
                continue
            scale = torch.from_numpy(factor).float()
            for step in makers:
                step.bn.weight.mul_(scale)
                step.bn.bias.mul_(scale)
            for name, _ in group.readers:
                kernel = steps[name].conv.weight if name in steps else other.linear.weight
                depthwise = name in steps and steps[name].conv.groups > 1
                kernel.div_(scale.reshape((-1, 1, 1, 1) if depthwise else (1, -1, *[1] * (kernel.ndim - 2))))
    return other, moved / total


def _measure(
    name: str, job: Job, methods: list[str], pixels: np.ndarray, labels: np.ndarray, target: str
) -> list[dict[str, Any]]:
    reference = PytorchReference.of(job.model, pixels, labels, job.preprocessing)
    rows: list[dict[str, Any]] = [{"student": name, "repair": "PyTorch float32", "recall@1": reference.recall()}]
    for method in methods:
        note(f"{name}: {method}")
        path = built_file(job.scratch, TARGETS[target], method)
        path.parent.mkdir(parents=True)
        started = time.perf_counter()
        if method != "none":
            job.repaired(method)
        seconds = time.perf_counter() - started
        runner, _ = open_built(job, TARGETS[target], path, method)
        row = reference.compare(runner.embed(pixels))
        rows.append({
            "student": name, "repair": method, **row, "repair_seconds": seconds, "size_bytes": path.stat().st_size,
        })  # fmt: skip
        note(
            f"{name}, {method}: mean cosine {row['mean_cosine']:.4f}, Recall@1 {row['recall@1']:.4f}, "
            f"drop {row['drop']:+.4f}"
        )
    return rows


def _print(result: dict[str, Any]) -> None:
    print(f"{result['target']}, {result['images']} test images, {result['channels_moved']:.0%} of channels rescaled\n")
    print("| student | repair | mean cosine | min cosine | Recall@1, % | drop, points [95 %] | seconds | kB |")
    print("|---|---|---|---|---|---|---|---|")
    for row in result["rows"]:
        if "drop" not in row:
            print(f"| {row['student']} | {row['repair']} | | | {100 * row['recall@1']:.2f} | | | |")
            continue
        cells = (*retrieval_cells(row), f"{row['repair_seconds']:.0f}", f"{row['size_bytes'] / 1000:.0f}")
        print(f"| {row['student']} | {row['repair']} | {' | '.join(cells)} |")


if __name__ == "__main__":
    raise SystemExit(run_app(app))
