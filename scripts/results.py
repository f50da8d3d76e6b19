"""Build the results tables: the same budget for every method, several seeds, one line of CSV per run.

    python scripts/results.py run results/cub200-2010.yaml --data folder:cub200-2010 \\
        --student-weights mobilenet_v1_0.25_224_imagenet.h5 --teacher-weights efficientnet-lite2-9656183e.pth
    python scripts/results.py table results/cub200-2010.yaml
    python scripts/results.py figure results/cub200-2010.yaml --out docs/results-cub200-2010.png

The plan (YAML) names the rows; the CSV is written beside it. ``run`` skips lines that exist and proceeds seed by seed,
so it can be stopped at any time, and a table of fewer seeds is complete.
"""

from __future__ import annotations

import csv
import json
import shlex
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.system import machine_facts
from distill.console import DebugOption, Failure, JsonOption, UsageFailure, make_app, note, run_app, suggest
from distill.files import atomic_path, check_output
from distill.versions import versions

app = make_app(__doc__ or "")
METRICS = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r")
COLUMNS = (
    "row",
    "group",
    "measured",
    "seed",
    *METRICS,
    "epochs",
    "train_seconds",
    "command",
    "versions",
    "machine",
    "date",
)
TEACHER, REDUCED = "teacher", "teacher, reduced to the student's dimension"
GROUPS = {"alone": "#8a8a8a", "paper": "#2a6fbb", "later": "#c8641e", "setting": "#3d8b4f", "teacher": "#222222"}


class Row(BaseModel):
    """One method. ``measure`` and ``whiten`` name the measurements of its runs besides the plain test."""

    model_config = ConfigDict(extra="forbid")
    name: str
    group: str
    options: dict[str, Any]
    seeds: list[int] | None = None
    measured_seeds: list[int] | None = None  # for ``measure``; None: all
    measure: dict[
        str, str
    ] = {}  # label -> options of `distill-train evaluate`; {teacher}: folder of the reduced teacher
    whiten: dict[str, str] = {}  # label -> options of `distill-train whiten`


class Plan(BaseModel):
    """A results table."""

    model_config = ConfigDict(extra="forbid")
    title: str
    seeds: list[int]
    teacher: dict[str, Any]
    reduced: dict[str, Any]  # options that reduce the teacher to the student's dimension: a student of no epochs
    student: dict[str, Any]
    taught: dict[str, Any]  # options of runs with a teacher only
    rows: list[Row]


def read_plan(path: Path) -> Plan:
    """Read the plan in a YAML file.

    Raises:
        Failure: The file cannot be read, or is not a plan.
        UsageFailure: A group has no colour, or a row has a seed that the plan lacks.
    """
    import yaml

    try:
        plan = Plan(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", "check the path") from None
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError, TypeError, ValidationError) as error:
        raise Failure(f"{path}: {str(error).splitlines()[0]}", "see results/cub200-2010.yaml for the form") from None
    for row in plan.rows:
        if row.group not in GROUPS:
            raise UsageFailure(f"{path}: {row.name}: group {row.group}", suggest(row.group, GROUPS))
        # ``run`` iterates over the plan's seeds: other seeds would never be trained.
        if more := sorted({*(row.seeds or ()), *(row.measured_seeds or ())} - set(plan.seeds)):
            raise UsageFailure(f"{path}: {row.name}: seed {more[0]} is not in the plan", f"add {more[0]} to its seeds")
    return plan


def read_lines(path: Path) -> list[dict[str, str]]:
    """Read the lines of a CSV that ``run`` wrote; empty if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    if lines and set(lines[0]) != set(COLUMNS):
        raise Failure(f"{path}: not the columns of this script", "move the file away")
    for number, line in enumerate(lines, 2):
        try:
            int(line["seed"]), [float(line[key]) for key in METRICS]
        except (TypeError, ValueError):
            raise Failure(f"{path}: line {number} is damaged", "delete that line; run measures it again") from None
    return lines


def add_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Append lines atomically."""
    everything = read_lines(path) + lines
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(everything)


PlanArgument = Annotated[Path, typer.Argument(help="YAML plan; the CSV is beside it.")]


@app.command()
def run(
    plan_path: PlanArgument,
    data: Annotated[str, typer.Option(help="Data spec.")],
    student_weights: Annotated[Path, typer.Option(exists=True, help="Initial weights of the student.")],
    teacher_weights: Annotated[Path, typer.Option(exists=True, help="Weights of the teacher.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs and their cache.")] = Path("runs/results"),
    only: Annotated[list[str] | None, typer.Option(help="Only the row of this name. Repeatable.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Skip the row of this name for now. Repeatable.")] = None,
    seeds: Annotated[int, typer.Option(help="Number of the plan's seeds, from the first; 0 takes all.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads of training; 0 uses all cores.")] = 0,
    debug: DebugOption = False,
) -> None:
    """Train the runs that the CSV lacks, and write a line for each."""
    plan, path = read_plan(plan_path), plan_path.with_suffix(".csv")
    names = [row.name for row in plan.rows]
    for name in [*(only or ()), *(skip or ())]:
        if name not in names:
            raise UsageFailure(f"{plan_path}: no row {name}", suggest(name, names))
    chosen = [row for row in plan.rows if row.name in (only or names) and row.name not in (skip or ())]
    base = out / plan_path.stem
    shown = {str(student_weights): student_weights.name, str(teacher_weights): teacher_weights.name, data: _short(data)}
    common = {"data": data, "threads": threads, "workers": 0, "cache_dir": base / "cache"}
    teacher = base / "teacher"

    def record(
        row: str, group: str, measured: str, seed: int, metrics: dict, epochs: int, seconds: float, command: list[str]
    ) -> None:
        said = shlex.join(command)
        for long, short in shown.items():
            said = said.replace(long, short)
        line = {key: f"{metrics[key]:.5f}" for key in METRICS}
        line |= {"row": row, "group": group, "measured": measured, "seed": seed, "epochs": epochs}
        line |= {
            "train_seconds": round(seconds),
            "command": said.replace(str(base), "runs"),
            "versions": json.dumps(versions()),
        }
        add_lines(
            path,
            [line | {"machine": "{cpu}, {cores} cores".format_map(machine_facts()), "date": date.today().isoformat()}],
        )

    def present(row: str, measured: str, seed: int) -> bool:
        return any((x["row"], x["measured"], x["seed"]) == (row, measured, str(seed)) for x in read_lines(path))

    command = _command("teacher", plan.teacher | common | {"weights": teacher_weights}, teacher)
    metrics, seconds = _trained(command, teacher)
    if not present(TEACHER, "test", 0):
        record(TEACHER, "teacher", "test", 0, metrics, plan.teacher["epochs"], seconds, command)
    options = plan.student | common | {"weights": student_weights, "teacher": teacher, **plan.reduced, "epochs": 0}
    reduced = base / "reduced" / "teacher"
    _trained(_command("student", options, base / "reduced"), base / "reduced")
    if not present(REDUCED, "test", 0):
        asked = ["distill-train", "evaluate", str(reduced), "--data", data, "--json"]
        record(REDUCED, "teacher", "test", 0, _call(asked), 0, 0.0, asked)
    for seed in plan.seeds[: seeds or None]:
        for row in chosen:
            if seed not in (row.seeds or plan.seeds):
                continue
            run_folder = base / f"{row.name.replace(' ', '-')}-{seed}"
            options = plan.student | common | {"weights": student_weights, "seed": seed}
            if _has_teacher(row.options["method"]):
                options |= plan.taught | {"teacher": reduced}
            options |= row.options
            command = _command("student", options, run_folder)
            if not present(row.name, "test", seed):
                metrics, seconds = _trained(command, run_folder)
                record(row.name, row.group, "test", seed, metrics, options["epochs"], seconds, command)
            for label, extra in row.measure.items():
                if seed in (row.measured_seeds or plan.seeds) and not present(row.name, label, seed):
                    words = [word.format(teacher=reduced) for word in shlex.split(extra)]
                    asked = ["distill-train", "evaluate", str(run_folder), *words, "--json"]
                    record(row.name, row.group, label, seed, _call(asked), options["epochs"], 0.0, asked)
            for label, extra in row.whiten.items():
                if seed in (row.measured_seeds or plan.seeds) and not present(row.name, label, seed):
                    asked = ["distill-train", "whiten", str(run_folder), *shlex.split(extra), "--overwrite", "--json"]
                    asked += ["--out", f"{run_folder}-{label.replace(' ', '-')}"]
                    record(row.name, row.group, label, seed, _call(asked), options["epochs"], 0.0, asked)
            note(f"seed {seed}: {row.name} done")


@app.command()
def table(plan_path: PlanArgument, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Print the mean over the seeds and the lowest and highest value, as Markdown."""
    found = summary(read_plan(plan_path), read_lines(plan_path.with_suffix(".csv")))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print("| | seeds | R@1 | lowest–highest | R@2 | R@4 | R@8 | MAP@R |\n|---|---|---|---|---|---|---|---|")
    for row in found:
        one, low, high = row["recall@1"], row["lowest"], row["highest"]
        spread = f"{100 * low:.1f}–{100 * high:.1f}" if row["seeds"] > 1 else ""
        rest = " | ".join(f"{100 * row[key]:.1f}" for key in METRICS[1:])
        print(f"| {row['name']} | {row['seeds']} | {100 * one:.1f} | {spread} | {rest} |")


@app.command()
def figure(
    plan_path: PlanArgument,
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    debug: DebugOption = False,
) -> None:
    """Draw Recall@1 of every row: a dot per seed, a bar for the mean."""
    check_output(out, [plan_path, plan_path.with_suffix(".csv")])
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    plan, lines = read_plan(plan_path), read_lines(plan_path.with_suffix(".csv"))
    found = summary(plan, lines)[::-1]
    drawing, axes = pyplot.subplots(figsize=(8, 0.8 + 0.3 * len(found)), layout="constrained")
    for height, row in enumerate(found):
        axes.barh(height, 100 * row["recall@1"], color=GROUPS[row["group"]], alpha=0.75, height=0.7)
        axes.plot([100 * value for value in row["values"]], [height] * row["seeds"], "o", color="black", markersize=3)
        axes.text(100 * row["highest"] + 0.7, height, f"{100 * row['recall@1']:.1f}", va="center", fontsize=8)
    axes.set_yticks(range(len(found)), [row["name"] for row in found], fontsize=9)
    axes.set_xlabel("Recall@1 on unseen classes, % (bar: mean, dots: seeds)")
    axes.margins(y=0.01)
    axes.set_xlim(right=1.08 * axes.get_xlim()[1])
    drawing.suptitle(plan.title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(out) as temporary:
        drawing.savefig(temporary, dpi=110, format="png")


def summary(plan: Plan, lines: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return the rows in the plan's order, teacher first, one for each measurement."""
    order = [
        (TEACHER, "test"),
        (REDUCED, "test"),
        *((row.name, label) for row in plan.rows for label in ("test", *row.measure, *row.whiten)),
    ]
    found = []
    for name, measured in order:
        own = [line for line in lines if (line["row"], line["measured"]) == (name, measured)]
        if not own:
            continue
        values = [float(line["recall@1"]) for line in own]
        row: dict[str, Any] = {key: statistics.fmean(float(line[key]) for line in own) for key in METRICS}
        row |= {
            "name": name if measured == "test" else f"{name}, {measured}",
            "group": own[0]["group"],
            "seeds": len(own),
        }
        found.append(row | {"values": values, "lowest": min(values), "highest": max(values)})
    if not found:
        raise Failure("no results yet", "python scripts/results.py run …")
    return found


def _has_teacher(method: str) -> bool:
    from distill.losses.method import parse_method

    return parse_method(method).needs_teacher


def _command(kind: str, options: dict[str, Any], out: Path) -> list[str]:
    words = ["distill-train", kind]
    for name, value in options.items():
        flag = name.replace("_", "-")
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return [*words, "--json", "--out", str(out)]


def _trained(command: list[str], folder: Path) -> tuple[dict[str, float], float]:
    """Return a run's test metrics and the seconds of its epochs; train it if it does not exist."""
    from distill.models.info import read_info

    if not (folder / "model.json").exists():
        _call(command)
    seconds = 0.0
    if (folder / "log.csv").exists():  # a run of no epochs has no log
        with (folder / "log.csv").open(newline="") as file:
            seconds = sum(float(row["seconds"]) for row in csv.DictReader(file))
    return read_info(folder).metrics["test"], seconds


def _call(command: list[str]) -> dict[str, float]:
    note(shlex.join(command))
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failure(f"exit {done.returncode}: {shlex.join(command)}", "see its message above")
    return json.loads(done.stdout)["metrics"]


def _short(data: str) -> str:
    kind, _, path = data.partition(":")
    return f"{kind}:{Path(path).name}" if path else data


if __name__ == "__main__":
    raise SystemExit(run_app(app, sys.argv[1:]))
