"""Measure images per second of one epoch of student training, against a plain PyTorch loop.

    python scripts/benchmarks/train_throughput.py
    python scripts/benchmarks/train_throughput.py --data folder:photos --size 128 --teacher-arch timm:tf_efficientnet_lite2

The plain loop is the obvious implementation: torch's DataLoader over image files, torchvision's random resized crop,
the teacher at every step, pytorch-metric-learning's loss. Ours reads decoded images and cached teacher embeddings (both
are computed before the clock starts, as in every epoch but the first few). Each other row changes one of our choices:
bfloat16, one data-loader worker, a live teacher, hints on stage maps (cached and live), and one process per core under
torchrun, each with its share of a batch (from which batch norm takes its statistics), like `torchrun -m distill student`.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from distill.console import DebugOption, Failure, JsonOption, make_app, note, run_app

app = make_app(__doc__ or "", default_command="run")
OURS, PLAIN = "ours", "plain loop"
# Number of images in an epoch, and its seconds if it measures them itself.
Epoch = Callable[[], tuple[int, float | None]]


@app.command()
def run(
    data: Annotated[str, typer.Option(help="Data spec; the train part is used.")] = "glyphs:classes=200",
    size: Annotated[int, typer.Option(min=32, help="Input size of student and teacher, in pixels.")] = 64,
    teacher_arch: Annotated[
        str, typer.Option(help="Teacher backbone, with random weights: only its speed matters.")
    ] = "resnet18",
    batch_size: Annotated[int, typer.Option(min=8)] = 64,
    turns: Annotated[int, typer.Option(min=1, help="Epochs per row, taken in turns; the median counts.")] = 3,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Time one epoch of each row in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        epochs = _epochs(Path(scratch), data, size, teacher_arch, batch_size)
        times: dict[str, list[float]] = {name: [] for name in epochs}
        for turn in range(turns + 1):  # the first one warms up caches and kernels
            for name, epoch in epochs.items():
                note(f"turn {turn}: {name} …")
                began = time.perf_counter()
                images, seconds = epoch()
                if turn:
                    times[name].append(images / (seconds or time.perf_counter() - began))
    speed = {name: statistics.median(values) for name, values in times.items()}
    if as_json:
        print(json.dumps({"images_per_second": speed, "ratio": speed[OURS] / speed[PLAIN], "turns": times}, indent=2))
        return
    for name, value in speed.items():
        print(f"{name:32} {value:8.0f} images/s   ours / row {speed[OURS] / value:6.2f}")


def _epochs(scratch: Path, data: str, size: int, teacher_arch: str, batch_size: int) -> dict[str, Epoch]:
    from distill.data.spec import open_data
    from distill.data.split import split
    from distill.runs import train_run
    from distill.training.config import StudentConfig, TeacherConfig, make_config

    common = {"data": data, "input_size": size, "batch_size": batch_size, "cache_dir": scratch / "cache"}
    teacher = scratch / "teacher"
    train_run("teacher", make_config(TeacherConfig, {**common, "arch": teacher_arch, "epochs": 0}), teacher)

    def ours(**change: Any) -> Epoch:
        from distill.training.loop import _Loop
        from distill.training.setup import prepare
        from distill.training.state import RunFolder

        options = {"method": "absolute", "teacher": teacher, "teacher_crops": 1, "epochs": 1000, **change}
        config = make_config(StudentConfig, common | options)
        run = RunFolder(scratch / "student")
        loop = _Loop(config, prepare(config, run.path), run)
        return lambda: (len(loop.setup.images), None) if loop._epoch(0, _NoBar()) else (0, None)

    def together(processes: int) -> Epoch:
        """Train two epochs in several processes; the log gives the seconds of the second."""
        run = scratch / "together"
        flags = {
            **common,
            "method": "absolute",
            "teacher": teacher,
            "teacher_crops": 1,
            "epochs": 2,
            "threads": 1,
            "out": run,
        }
        words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]

        def epoch() -> tuple[int, float]:
            command = [*launch, "-m", "distill", "student", "--overwrite", *words]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            if done.returncode:
                raise Failure(
                    f"{processes} processes: {done.stderr.strip().splitlines()[-1]}",
                    "run it yourself to see the full output: " + " ".join(command),
                )
            with (run / "log.csv").open() as file:
                return images, float(list(csv.DictReader(file))[-1]["seconds"])

        images = len(split(open_data(data), "half", "train"))
        return epoch

    cores = os.cpu_count() or 1
    several = {f"ours, {cores} processes": together(cores)} if 1 < cores <= 4 and batch_size % cores == 0 else {}
    return {
        OURS: ours(),
        **several,
        PLAIN: _plain(data, size, batch_size, teacher),
        "ours, student in bfloat16": ours(precision="bfloat16"),
        "ours, 1 data-loader worker": ours(workers=1),
        "ours, teacher live": ours(teacher_crops=0),
        "hints, maps stored": ours(method="hint+absolute"),
        "hints, teacher live": ours(method="hint+absolute", teacher_crops=0),
    }


def _plain(data: str, size: int, batch_size: int, teacher: Path) -> Epoch:
    import torch
    from pytorch_metric_learning.losses import MultiSimilarityLoss
    from pytorch_metric_learning.samplers import MPerClassSampler
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    from distill.data.spec import open_data
    from distill.data.split import split
    from distill.models.checkpoint import load_checkpoint
    from distill.models.embedder import Embedder
    from distill.models.registry import build_backbone

    images = split(open_data(data), "half", "train")
    transform = transforms.Compose(
        [transforms.RandomResizedCrop(size, (0.25, 1.0)), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]
    )

    class Files(Dataset):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(images.read(index)), int(images.labels[index])

    sampler = MPerClassSampler(images.labels, 4, batch_size, len(images) // batch_size * batch_size)
    loader = DataLoader(Files(), batch_size, sampler=sampler, drop_last=True, num_workers=1)
    frozen, _ = load_checkpoint(teacher)
    student = Embedder(build_backbone("mobilenet_v1_025"), 128).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    metric = MultiSimilarityLoss()

    def epoch() -> tuple[int, None]:
        count = 0
        for pixels, labels in loader:
            with torch.no_grad():
                targets = frozen(pixels)
            embeddings = student(pixels)
            loss = (embeddings - targets).norm(dim=1).mean() + metric(embeddings, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            count += len(labels)
        return count, None

    return epoch


class _NoBar:
    def advance(self, steps: int = 1) -> None: ...

    def status(self, text: str) -> None: ...


if __name__ == "__main__":
    raise SystemExit(run_app(app, sys.argv[1:]))
