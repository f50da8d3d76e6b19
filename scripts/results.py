"""Build the results tables: the same budget for every method, several seeds, one line of CSV per run.

    python scripts/results.py run results/cub200-2010.yaml --data folder:cub200-2010 \\
        --student-weights mobilenet_v1_0.25_224_imagenet.h5 --teacher-weights efficientnet-lite2-9656183e.pth
    python scripts/results.py tune results/cub200-2010.yaml …   # the same search of rates for every row, before run
    python scripts/results.py table results/cub200-2010.yaml
    python scripts/results.py figure results/cub200-2010.yaml --out docs/results-cub200-2010.png

The plan (YAML) names the rows; the CSV is written beside it. ``run`` skips lines that exist and proceeds seed by seed,
so you can stop it at any time and still have a complete table for the seeds done so far.
"""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from results_plan import GROUPS, METRICS, REDUCED, TEACHER, Plan, Row, add_lines, read_lines, read_plan, summary
from tuning import Candidate, Choice, Search, add_trial, choose, missing, read_trials, trials_file

from benchmark.system import machine_facts
from distill.console import DebugOption, Failure, JsonOption, UsageFailure, make_app, note, run_app, suggest, warn
from distill.files import atomic_path, check_output
from distill.versions import versions

app = make_app(__doc__ or "")
PlanArgument = Annotated[Path, typer.Argument(help="YAML plan; the CSV is beside it.")]
DataOption = Annotated[str, typer.Option(help="Data spec.")]
StudentWeightsOption = Annotated[Path | None, typer.Option(exists=True, help="Initial weights of the student.")]
TeacherWeightsOption = Annotated[Path | None, typer.Option(exists=True, help="Weights of the teacher.")]
OutOption = Annotated[Path, typer.Option(help="Folder of the runs and their cache.")]
OnlyOption = Annotated[list[str] | None, typer.Option(help="Only the row of this name. Repeatable.")]
SkipOption = Annotated[list[str] | None, typer.Option(help="Skip the row of this name for now. Repeatable.")]
ThreadsOption = Annotated[int, typer.Option(help="CPU threads of training; 0 uses all cores.")]


@app.command()
def run(
    plan_path: PlanArgument,
    data: DataOption,
    student_weights: StudentWeightsOption = None,
    teacher_weights: TeacherWeightsOption = None,
    out: OutOption = Path("runs/results"),
    only: OnlyOption = None,
    skip: SkipOption = None,
    seeds: Annotated[int, typer.Option(help="Number of the plan's seeds, from the first; 0 takes all.")] = 0,
    threads: ThreadsOption = 0,
    debug: DebugOption = False,
) -> None:
    """Train the runs that the CSV lacks, and write a line for each."""
    plan, path = read_plan(plan_path), plan_path.with_suffix(".csv")
    chosen = _chosen(plan_path, plan, only, skip)
    bench = _Bench(plan, path, out / plan_path.stem, data, student_weights, teacher_weights, threads)
    trials = read_trials(trials_file(plan_path))
    for seed in plan.seeds[: seeds or None]:
        bench.measure_teacher(seed)
        for row in chosen:
            if seed in (row.seeds or plan.seeds):
                bench.measure(row, seed, _choice(plan, row, trials))
                note(f"seed {seed}: {row.name} done")


@app.command()
def tune(
    plan_path: PlanArgument,
    data: DataOption,
    student_weights: StudentWeightsOption = None,
    teacher_weights: TeacherWeightsOption = None,
    out: OutOption = Path("runs/results"),
    only: OnlyOption = None,
    skip: SkipOption = None,
    threads: ThreadsOption = 0,
    debug: DebugOption = False,
) -> None:
    """Search the learning rate and weight decay of every row on held-out train classes.

    Every row gets the same search, the `tune` section of the plan, except rows that are `fixed` to the values they show.
    `run` then trains each row with the values that won, and records the search in the column `chosen_by`.
    """
    plan, path = read_plan(plan_path), trials_file(plan_path)
    if plan.tune is None:
        raise UsageFailure(
            f"{plan_path}: no section tune", "add one: tune: {lr: [1.0e-4, 1.0e-3], weight_decay: [1.0e-4]}"
        )
    bench = _Bench(plan, path, out / plan_path.stem, data, student_weights, teacher_weights, threads)
    for row in _chosen(plan_path, plan, only, skip):
        if not _is_tuned(plan, row):
            continue
        while todo := missing(plan.tune, trials := _trials(read_trials(path), row)):
            note(
                f"{row.name}: {len(trials)} trials done, lr {todo[0].lr:g}, weight decay {todo[0].weight_decay:g} next"
            )
            add_trial(path, bench.trial(row, plan.tune, todo[0]))
        found = choose(plan.tune, trials)
        assert found is not None
        note(f"{row.name}: {found.record}")
        if found.at_the_edge:
            warn(f"{row.name}: the best rate is at the edge of the range; add a rate to the plan's tune section")


class _Bench:
    """Trains and measures the rows of a plan on one data set, in one folder."""

    def __init__(
        self,
        plan: Plan,
        path: Path,
        base: Path,
        data: str,
        student_weights: Path | None,
        teacher_weights: Path | None,
        threads: int,
    ) -> None:
        self.plan, self.path, self.base, self.data = plan, path, base, data
        common = {"data": data, "threads": threads, "workers": 0, "cache_dir": base / "cache"}
        # What the plan says itself comes before the options of the command.
        self._student = plan.student | common | _weights("student", student_weights, plan.student) | plan.student
        self._teacher = plan.teacher | common | _weights("teacher", teacher_weights, plan.teacher) | plan.teacher
        # A reader has these files elsewhere.
        files = [file for file in (student_weights, teacher_weights) if file]
        self._short = {str(file): file.name for file in files} | {data: _short(data)}
        self._lines = read_lines(path) if path.name == f"{base.name}.csv" else []

    def teacher(self, seed: int, validation: float = 0.0) -> tuple[list[str], Path]:
        """Train the teacher if it does not exist. Returns the command and the folder.

        A teacher trained for each seed is trained without the held-out classes, like its students.
        """
        options, folder = self._teacher, "teacher"
        if self.plan.teacher_seeds:
            options, folder = options | {"seed": seed}, f"teacher-{seed}"
            if validation:
                options, folder = options | {"validation": validation}, f"{folder}-{validation:g}"
        command = _command("teacher", options, self.base / folder)
        _trained(command, self.base / folder)
        return command, self.base / folder

    def students_teacher(self, seed: int, validation: float = 0.0) -> Path:
        """Return the folder of the teacher that students learn from.

        Where the plan reduces the teacher, that is done once, on the train classes without the held-out ones.
        """
        if self.plan.reduced is None:
            return self.teacher(seed, validation)[1]
        folder = self.base / (f"reduced-{validation:g}" if validation else "reduced")
        options = self._student | {"teacher": self.teacher(seed)[1], **self.plan.reduced, "epochs": 0}
        if validation:
            options["validation"] = validation
        _trained(_command("student", options, folder), folder)
        return folder / "teacher"

    def measure_teacher(self, seed: int) -> None:
        """Record the teacher, and the teacher reduced to the student's dimension; once, if all seeds have the same."""
        seed = seed if self.plan.teacher_seeds else 0
        command, folder = self.teacher(seed)
        if not self._present(TEACHER, "test", seed):
            metrics, seconds = _trained(command, folder)
            self._record((TEACHER, "teacher", "test", seed), metrics, self.plan.teacher["epochs"], seconds, command)
        if self.plan.reduced is None:
            return
        reduced = self.students_teacher(seed)
        if not self._present(REDUCED, "test", seed):
            asked = ["distill-train", "evaluate", str(reduced), "--data", self.data, "--json"]
            self._record((REDUCED, "teacher", "test", seed), _call(asked), 0, 0.0, asked)

    def measure(self, row: Row, seed: int, choice: Choice | None) -> None:
        """Train a row with one seed and record what the plan measures of it, except lines that exist."""
        by = choice.record if choice else ""
        values = choice.best.options if choice else {}
        suffix = "".join(f"-{value:g}" for value in values.values())
        folder = self.base / f"{_name(row)}-{seed}{suffix}"
        options = self._options(row, seed) | values
        command = _command("student", options, folder)
        if not self._present(row.name, "test", seed, by):
            metrics, seconds = _trained(command, folder)
            self._record((row.name, row.group, "test", seed), metrics, options["epochs"], seconds, command, by)
        commands = {
            label: ["distill-train", "evaluate", str(folder), *shlex.split(extra), "--json"]
            for label, extra in row.measure.items()
        } | {label: _whiten(folder, label, extra) for label, extra in row.whiten.items()}
        for label, words in commands.items():
            if seed in (row.measured_seeds or self.plan.seeds) and not self._present(row.name, label, seed, by):
                asked = [word.format(teacher=self.students_teacher(seed)) for word in words]
                self._record((row.name, row.group, label, seed), _call(asked), options["epochs"], 0.0, asked, by)

    def trial(self, row: Row, search: Search, candidate: Candidate) -> dict[str, Any]:
        """Train a row with one candidate of its search and return the line to record."""
        folder = self.base / "tune" / f"{_name(row)}-{candidate.lr:g}-{candidate.weight_decay:g}"
        options = self._options(row, search.seed, search.validation) | search.options | candidate.options
        command = _command("student", options, folder)
        _, seconds = _trained(command, folder)
        with (folder / "log.csv").open(newline="") as file:
            last = list(csv.DictReader(file))[-1]  # `run` takes the last epoch as well, not the best one
        return {
            "row": row.name,
            "lr": candidate.lr,
            "weight_decay": candidate.weight_decay,
            "validation_recall@1": f"{float(last['validation_recall@1']):.5f}",
            "epochs": options["epochs"],
            "train_seconds": round(seconds),
            **self._made_by(command),
        }

    def _options(self, row: Row, seed: int, validation: float = 0.0) -> dict[str, Any]:
        options = self._student | {"seed": seed}
        if _has_teacher(row.options["method"]):
            options |= self.plan.taught | {"teacher": self.students_teacher(seed, validation)}
        options |= row.options
        return options | {"validation": validation} if validation else options

    def _present(self, row: str, measured: str, seed: int, by: str = "") -> bool:
        """Whether the line exists, made with the same choice of rates."""
        wanted = (row, measured, str(seed), by)
        return any((x["row"], x["measured"], x["seed"], x["chosen_by"]) == wanted for x in self._lines)

    def _record(
        self,
        key: tuple[str, str, str, int],
        metrics: dict[str, float],
        epochs: int,
        seconds: float,
        command: list[str],
        by: str = "",
    ) -> None:
        line = dict(zip(("row", "group", "measured", "seed"), key, strict=True))
        line |= {name: f"{metrics[name]:.5f}" for name in METRICS}
        line |= {"epochs": epochs, "train_seconds": round(seconds), **self._made_by(command), "chosen_by": by}
        add_lines(self.path, [line])
        self._lines = read_lines(self.path)

    def _made_by(self, command: list[str]) -> dict[str, str]:
        shown = shlex.join(command)
        for long, short in self._short.items():
            shown = shown.replace(long, short)
        return {
            "command": shown.replace(str(self.base), "runs"),
            "versions": json.dumps(versions()),
            "machine": "{cpu}, {cores} cores".format_map(machine_facts()),
            "date": date.today().isoformat(),
        }


def _chosen(path: Path, plan: Plan, only: list[str] | None, skip: list[str] | None) -> list[Row]:
    names = [row.name for row in plan.rows]
    for name in [*(only or ()), *(skip or ())]:
        if name not in names:
            raise UsageFailure(f"{path}: no row {name}", suggest(name, names))
    return [row for row in plan.rows if row.name in (only or names) and row.name not in (skip or ())]


def _is_tuned(plan: Plan, row: Row) -> bool:
    return not row.fixed and (plan.student | row.options)["epochs"] > 0


def _trials(trials: list[dict[str, str]], row: Row) -> list[dict[str, str]]:
    return [trial for trial in trials if trial["row"] == row.name]


def _choice(plan: Plan, row: Row, trials: list[dict[str, str]]) -> Choice | None:
    if plan.tune is None or not _is_tuned(plan, row):
        return None
    found = choose(plan.tune, _trials(trials, row))
    if found is None:
        note(f"{row.name}: no complete search, trained with the values of the plan")
    return found


def _whiten(folder: Path, label: str, extra: str) -> list[str]:
    out = f"{folder}-{label.replace(' ', '-')}"
    return ["distill-train", "whiten", str(folder), *shlex.split(extra), "--overwrite", "--json", "--out", out]


def _name(row: Row) -> str:
    return row.name.replace(" ", "-")


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


def _weights(of: str, file: Path | None, options: dict[str, Any]) -> dict[str, Path]:
    """Initial weights as an option. A plan whose networks start from random weights says so: ``weights: null``."""
    if file is None and "weights" not in options:
        raise UsageFailure(
            f"--{of}-weights is missing", f"give the file; for random weights, the plan has weights: null under {of}"
        )
    return {"weights": file} if file else {}


def _has_teacher(method: str) -> bool:
    from distill.losses.method import parse_method

    return parse_method(method).needs_teacher


def _command(kind: str, options: dict[str, Any], out: Path) -> list[str]:
    words = ["distill-train", kind]
    for name, value in options.items():
        if value is None:  # a row takes an option of the plan back
            continue
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
    # This interpreter's own package, whether or not its commands are on the PATH.
    words = [sys.executable, "-m", "distill", *command[1:]]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failure(f"exit {done.returncode}: {shlex.join(command)}", "see its message above")
    return json.loads(done.stdout)["metrics"]


def _short(data: str) -> str:
    kind, _, path = data.partition(":")
    return f"{kind}:{Path(path).name}" if path else data


if __name__ == "__main__":
    raise SystemExit(run_app(app, sys.argv[1:]))
