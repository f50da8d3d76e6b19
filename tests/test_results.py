"""The results tables: training accepts the plans, lines stay intact, the summary matches one computed by hand."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path

import pytest

from distill.cli import app as training
from distill.console import Failure, UsageFailure
from distill.losses.method import parse_method
from distill.training.config import StudentConfig, TeacherConfig, make_config

ROOT = Path(__file__).parents[1]
PLANS = sorted((ROOT / "results").glob("*.yaml"))


def _script():
    spec = importlib.util.spec_from_file_location("results_script", ROOT / "scripts" / "results.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


results = _script()


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_training_takes_every_row_of_a_plan(path):
    plan = results.read_plan(path)
    make_config(TeacherConfig, plan.teacher)
    make_config(StudentConfig, plan.student | plan.reduced | {"epochs": 0})
    assert len({row.name for row in plan.rows}) == len(plan.rows)
    for row in plan.rows:
        options = (
            plan.student | (plan.taught if parse_method(row.options["method"]).needs_teacher else {}) | row.options
        )
        parse_method(make_config(StudentConfig, options).method)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_commands_know_what_else_a_plan_measures(path, tmp_path, capsys):
    for row in results.read_plan(path).rows:
        asked = [["evaluate", "none", *shlex.split(extra.format(teacher="none"))] for extra in row.measure.values()]
        asked += [
            ["whiten", "none", *shlex.split(extra), "--out", str(tmp_path / "o")] for extra in row.whiten.values()
        ]
        for command in asked:  # parsed; but there is no such run
            assert (
                results.run_app(training, command) == 1 and "none: no such checkpoint folder" in capsys.readouterr().err
            )


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_committed_results_belong_to_the_plan(path):
    plan, lines = results.read_plan(path), results.read_lines(path.with_suffix(".csv"))
    assert lines, f"no {path.with_suffix('.csv').name}"
    known = {(results.TEACHER, "test"), (results.REDUCED, "test")}
    known |= {(row.name, label) for row in plan.rows for label in ("test", *row.measure, *row.whiten)}
    keys = [(line["row"], line["measured"], line["seed"]) for line in lines]
    assert len(set(keys)) == len(keys)
    for line in lines:
        assert (line["row"], line["measured"]) in known
        recalls = [float(line[f"recall@{k}"]) for k in (1, 2, 4, 8)]
        assert 0 <= float(line["map@r"]) <= recalls[0] and recalls == sorted(recalls) and recalls[-1] <= 1
        assert (
            line["command"].startswith("distill-train ") and " /" not in line["command"] and ":/" not in line["command"]
        )


def test_switches_of_a_plan_are_flags():
    words = results._command("student", {"lr": 4e-3, "teacher_mirror": True, "flip": False}, Path("runs/x"))
    assert words == [
        "distill-train",
        "student",
        "--lr",
        "0.004",
        "--teacher-mirror",
        "--no-flip",
        "--json",
        "--out",
        "runs/x",
    ]


def _line(row: str, seed: int, recall: float) -> dict[str, object]:
    return (
        dict.fromkeys(results.COLUMNS, "x")
        | dict.fromkeys(results.METRICS, recall)
        | {"row": row, "group": "alone", "measured": "test", "seed": seed}
    )


def _plan(tmp_path: Path, text: str = "") -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(
        "title: t\nseeds: [0, 1]\nteacher: {}\nreduced: {}\nstudent: {}\ntaught: {}\nrows:\n"
        + (text or "  - {name: triplet, group: alone, options: {method: triplet}}\n")
    )
    return path


def test_the_summary_is_the_mean_over_the_seeds_and_the_figure_is_drawn(tmp_path):
    path = _plan(tmp_path)
    results.add_lines(path.with_suffix(".csv"), [_line("triplet", 0, 0.2)])
    results.add_lines(path.with_suffix(".csv"), [_line("triplet", 1, 0.3)])
    (row,) = results.summary(results.read_plan(path), results.read_lines(path.with_suffix(".csv")))
    assert row["recall@1"] == pytest.approx(0.25) and (row["lowest"], row["highest"], row["seeds"]) == (0.2, 0.3, 2)
    assert results.run_app(results.app, ["figure", str(path), "--out", str(tmp_path / "f.png")]) == 0
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_a_plan_or_table_of_another_kind_is_refused_in_a_line(tmp_path, capsys):
    with pytest.raises(UsageFailure, match="group alon"):
        results.read_plan(_plan(tmp_path, "  - {name: a, group: alon, options: {}}\n"))
    for key in ("seeds", "measured_seeds"):
        with pytest.raises(UsageFailure, match="a: seed 2 is not in the plan"):
            results.read_plan(_plan(tmp_path, f"  - {{name: a, group: alone, options: {{}}, {key}: [1, 2]}}\n"))
    with pytest.raises(Failure, match="p.yaml"):
        results.read_plan(_plan(tmp_path, "  - [1, 2\n"))
    text = ",".join(results.COLUMNS) + "\ntriplet,alone,test,0,0.2\n"
    (tmp_path / "cut.csv").write_text(text)
    with pytest.raises(Failure, match="line 2 is damaged"):
        results.read_lines(tmp_path / "cut.csv")
    with pytest.raises(Failure, match=r"none.yaml: No such file or directory \(check the path\)"):
        results.read_plan(tmp_path / "none.yaml")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(Failure, match="not the columns"):
        results.read_lines(tmp_path / "t.csv")
    assert results.run_app(results.app, ["table", str(_plan(tmp_path))]) == 1
    assert "no results yet" in capsys.readouterr().err
