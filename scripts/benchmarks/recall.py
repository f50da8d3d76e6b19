"""Compare our retrieval metrics with faiss' flat index and pytorch-metric-learning: time and peak memory.

    python scripts/benchmarks/recall.py
    python scripts/benchmarks/recall.py --size sop        60,502 × 512, like the test set of Stanford Online Products

Two pairs do the same work on the same synthetic embeddings: Recall@1/2/4/8 and an exact faiss
search for 9 neighbours (the index alone, no metric); Recall@K, MAP@R and R-precision and
AccuracyCalculator. The four take turns in one process; the median of the ratios within a turn is
compared, so that other load on the machine affects both. Peak memory is measured in a separate
process for each. The results must agree to 1e-6.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from distill.console import DebugOption, Failure, JsonOption, UsageFailure, make_app, progress, run_app, suggest
from distill.metrics import recall_at_k, retrieval_scores, unit_rows

app = make_app(__doc__ or "", default_command="run")
SIZES = {"small": (10_000, 512), "20k": (20_000, 512), "sop": (60_502, 512)}
KS = (1, 2, 4, 8)
PAIRS = (("recall", "faiss flat"), ("all metrics", "AccuracyCalculator"))


def make_embeddings(count: int, dimension: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit rows in noisy classes of 2 to 9 images, shuffled, with a Recall@1 well between 0 and 1."""
    random = np.random.default_rng(seed)
    sizes = random.integers(2, 10, size=count // 2)
    labels = random.permutation(np.repeat(np.arange(len(sizes)), sizes)[:count])
    centres = random.standard_normal((len(sizes), dimension), dtype=np.float32)
    rows = centres[labels]
    for start in range(0, count, 4096):
        part = rows[start : start + 4096]
        part += 3.0 * random.standard_normal(part.shape, dtype=np.float32)
    return unit_rows(rows), labels


def _recall(rows: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {f"recall@{k}": value for k, value in recall_at_k(rows, labels, KS).items()}


def _faiss(rows: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    import faiss

    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    _, found = index.search(rows, KS[-1] + 1)
    # For the check only; takes less than a millisecond.
    others = found != np.arange(len(rows))[:, None]
    same = (labels[found] == labels[:, None]) & others
    rank = np.cumsum(others, axis=1)
    counted = np.bincount(labels)[labels] > 1
    return {f"recall@{k}": float((same & (rank <= k)).any(axis=1)[counted].mean()) for k in KS}


def _all_metrics(rows: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    scores = retrieval_scores(rows, labels, (1,))
    return {"recall@1": scores.recall[1], "map@r": scores.map_at_r, "r_precision": scores.r_precision}


def _calculator(rows: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r", "r_precision"),
        k="max_bin_count",
        device=torch.device("cpu"),
    )
    found = calculator.get_accuracy(rows, labels)
    return {
        "recall@1": found["precision_at_1"],
        "map@r": found["mean_average_precision_at_r"],
        "r_precision": found["r_precision"],
    }


RUNNERS: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {
    "recall": _recall,
    "faiss flat": _faiss,
    "all metrics": _all_metrics,
    "AccuracyCalculator": _calculator,
}


def _shape(size: str) -> tuple[int, int]:
    if size in SIZES:
        return SIZES[size]
    count, _, dimension = size.partition("x")
    if not (count.isdigit() and dimension.isdigit() and int(count) >= 100 and int(dimension) >= 2):
        raise UsageFailure(f"--size {size}: not a size", f"{suggest(size, SIZES)} or IMAGESxDIMENSIONS, e.g. 5000x128")
    return int(count), int(dimension)


@app.command()
def run(
    size: Annotated[str, typer.Option(help="small (10000x512), 20k, sop (60502x512) or IMAGESxDIMENSIONS.")] = "small",
    turns: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 3,
    memory: Annotated[bool, typer.Option(help="Also measure peak memory, each in a separate process.")] = True,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare time and peak memory."""
    count, dimension = _shape(size)
    seconds: dict[str, list[float]] = {name: [] for name in RUNNERS}
    values: dict[str, dict[str, float]] = {}
    peaks: dict[str, dict[str, float]] = {}
    rows, labels = make_embeddings(count, dimension, seed)
    warm_rows, warm_labels = make_embeddings(500, dimension, seed)
    with progress("measuring", total=len(RUNNERS) * (turns + memory)) as bar:
        for name, runner in RUNNERS.items():
            runner(warm_rows, warm_labels)  # so that imports and thread pools are not timed
            if memory:
                bar.status(f"memory of {name}")
                peaks[name] = _peak_in_own_process(name, size, seed)
                bar.advance()
        for _ in range(turns):
            for name, runner in RUNNERS.items():
                bar.status(name)
                start = time.perf_counter()
                values[name] = runner(rows, labels)
                seconds[name].append(time.perf_counter() - start)
                bar.advance()
    for ours, theirs in PAIRS:
        for key, value in values[theirs].items():
            if abs(values[ours][key] - value) > 1e-6:
                raise Failure(
                    f"{key}: {values[ours][key]:.8f} here, {value:.8f} by {theirs}", "check both implementations"
                )

    ratios = {ours: float(np.median(np.divide(seconds[ours], seconds[theirs]))) for ours, theirs in PAIRS}
    result: dict[str, Any] = {
        "images": count,
        "dimensions": dimension,
        "threads": os.cpu_count(),
        "seconds": seconds,
        "time_ratio": {f"{ours} / {theirs}": ratios[ours] for ours, theirs in PAIRS},
        "peak_mb": peaks,
        "values": values,
    }
    print(json.dumps(result, indent=2)) if as_json else _show(result)


@app.command(hidden=True)
def once(name: str, size: str, seed: int) -> None:
    """Measure memory once, for ``run``."""
    rows, labels = make_embeddings(*_shape(size), seed)
    RUNNERS[name](rows[:500].copy(), labels[:500])
    before = _resident_mb()
    RUNNERS[name](rows, labels)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    print(json.dumps({"process": peak, "added": peak - before}))


def _peak_in_own_process(name: str, size: str, seed: int) -> dict[str, float]:
    command = [sys.executable, __file__, "once", name, size, str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"measuring the memory of {name} failed: {done.stderr.strip()[-300:]}", "try --no-memory")
    return json.loads(done.stdout)


def _resident_mb() -> float:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**2
    except OSError:  # not Linux: nothing to subtract
        return 0.0


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['images']} × {result['dimensions']}, exact, self excluded")
    for column in ("", "seconds (median)", "peak of the process, MB", "of it the metric, MB"):
        table.add_column(column, justify="left" if not column else "right")
    for name, taken in result["seconds"].items():
        peak = result["peak_mb"].get(name)
        table.add_row(
            name,
            f"{np.median(taken):.2f}",
            f"{peak['process']:.0f}" if peak else "–",
            f"{peak['added']:.0f}" if peak else "–",
        )
    out = Console()
    out.print(table)
    for pair, ratio in result["time_ratio"].items():
        out.print(f"time of {pair}: {ratio:.2f}")
    measured = ", ".join(f"{key} {value:.4f}" for key, value in result["values"]["recall"].items())
    out.print(f"all agree to 1e-6: {measured}")


if __name__ == "__main__":
    sys.exit(run_app(app, sys.argv[1:] or ["run"]))
