"""The results tables: training accepts the plans, lines stay intact, the summary matches one computed by hand."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from distill.cli import app as training
from distill.console import Failure, UsageFailure
from distill.losses.method import parse_method
from distill.training.config import StudentConfig, TeacherConfig, make_config

ROOT = Path(__file__).parents[1]
PLANS = sorted((ROOT / "results").glob("*.yaml"))


sys.path.insert(0, str(ROOT / "scripts"))


def _script():
    spec = importlib.util.spec_from_file_location("results_script", ROOT / "scripts" / "results.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


results = _script()
import results_plan
import tuning


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_training_takes_every_row_of_a_plan(path):
    plan = results.read_plan(path)
    make_config(TeacherConfig, plan.teacher)
    make_config(StudentConfig, plan.student | (plan.reduced or {}) | {"epochs": 0})
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
    # A plan without any measurement has no place in results/; of a new one, the search comes first.
    assert lines or tuning.read_trials(tuning.trials_file(path)), f"no {path.with_suffix('.csv').name}"
    known = {(results.TEACHER, "test")} | ({(results.REDUCED, "test")} if plan.reduced else set())
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


@pytest.mark.parametrize(
    ("recipe", "row"),
    [("teacher", None), ("student", "distilled (absolute)"), ("alone", "alone (multi-similarity)")],
)
def test_the_recipes_of_the_demo_are_what_its_plan_measured_with_the_rates_that_won(recipe, row):
    path = ROOT / "results" / "demo.yaml"
    plan = results.read_plan(path)
    options = yaml.safe_load((ROOT / "recipes" / f"glyphs-{recipe}.yaml").read_text())
    if row is None:
        expected, kind = plan.teacher, TeacherConfig
    else:
        (found,) = (each for each in plan.rows if each.name == row)
        choice = tuning.choose(plan.tune, results._trials(tuning.read_trials(tuning.trials_file(path)), found))
        assert choice is not None and not choice.at_the_edge
        taught = plan.taught if parse_method(found.options["method"]).needs_teacher else {}
        expected, kind = plan.student | taught | found.options | choice.best.options, StudentConfig
    assert make_config(kind, options) == make_config(kind, expected)


@pytest.mark.parametrize(
    "path", [path for path in PLANS if tuning.trials_file(path).exists()], ids=lambda path: path.stem
)
def test_committed_trials_belong_to_the_search_of_the_plan(path):
    plan, trials = results.read_plan(path), tuning.read_trials(tuning.trials_file(path))
    assert plan.tune is not None
    keys = [(trial["row"], float(trial["lr"]), float(trial["weight_decay"])) for trial in trials]
    assert trials and len(set(keys)) == len(keys)
    for (row, lr, decay), trial in zip(keys, trials, strict=True):
        assert row in {each.name for each in plan.rows} and lr in plan.tune.lr and decay in plan.tune.weight_decay
        assert f"--validation {plan.tune.validation:g} " in trial["command"] and " /" not in trial["command"]


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
        dict.fromkeys(results_plan.COLUMNS, "x")
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
    text = ",".join(results_plan.COLUMNS) + "\ntriplet,alone,test,0,0.2\n"
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


SEARCH = tuning.Search(lr=[1e-4, 1e-3, 1e-2], weight_decay=[1e-4, 0.1])


def _trial(lr: float, decay: float, recall: float, row: str = "triplet") -> dict[str, str]:
    values = {"row": row, "lr": f"{lr:g}", "weight_decay": f"{decay:g}", "validation_recall@1": f"{recall:.5f}"}
    return dict.fromkeys(tuning.COLUMNS, "x") | values


def test_a_search_tries_all_rates_then_weight_decays_at_the_best():
    trials = [_trial(1e-4, 1e-4, 0.3), _trial(1e-2, 1e-4, 0.1)]
    assert tuning.missing(SEARCH, trials) == [tuning.Candidate(1e-3, 1e-4)] and tuning.choose(SEARCH, trials) is None
    trials.append(_trial(1e-3, 1e-4, 0.5))
    assert tuning.missing(SEARCH, trials) == [tuning.Candidate(1e-3, 0.1)] and tuning.choose(SEARCH, trials) is None
    trials.append(_trial(1e-3, 0.1, 0.5))  # no better: the first of equals wins
    found = tuning.choose(SEARCH, trials)
    assert (found.best, found.recall, found.at_the_edge) == (tuning.Candidate(1e-3, 1e-4), 0.5, False)
    assert found.record == (
        "lr 0.001 of 0.0001, 0.001, 0.01; weight decay 0.0001 of 0.0001, 0.1: R@1 50.0 on 0.2 of the train classes"
    )


def test_a_rate_at_the_edge_of_the_range_is_reported():
    trials = [_trial(lr, 1e-4, recall) for lr, recall in ((1e-4, 0.1), (1e-3, 0.2), (1e-2, 0.3))]
    found = tuning.choose(SEARCH, [*trials, _trial(1e-2, 0.1, 0.4)])
    assert found.at_the_edge and found.best == tuning.Candidate(1e-2, 0.1)


def test_a_line_made_with_other_rates_is_measured_again(tmp_path):
    path = tmp_path / "p.csv"
    results.add_lines(path, [_line("triplet", 0, 0.2), _line("triplet", 1, 0.2)])
    results.add_lines(path, [_line("triplet", 0, 0.4) | {"chosen_by": "lr 0.01"}])
    found = {(line["seed"], line["chosen_by"]): float(line["recall@1"]) for line in results.read_lines(path)}
    assert found == {("1", "x"): 0.2, ("0", "lr 0.01"): 0.4}


def test_damaged_trials_are_refused_in_a_line(tmp_path):
    (tmp_path / "a-tune.csv").write_text("a,b\n1,2\n")
    with pytest.raises(Failure, match="not the columns"):
        tuning.read_trials(tmp_path / "a-tune.csv")
    tuning.add_trial(tmp_path / "b-tune.csv", _trial(1e-3, 1e-4, 0.1) | {"lr": "fast"})
    with pytest.raises(Failure, match="line 2 is damaged"):
        tuning.read_trials(tmp_path / "b-tune.csv")


@pytest.mark.slow
def test_tune_then_run_on_a_tiny_set(tmp_path, monkeypatch):
    import torch
    from safetensors.torch import save_file

    from distill.models.registry import build_backbone

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_file(build_backbone("mobilenet_v1_025").state_dict(), "weights.safetensors")
    Path("tiny.yaml").write_text(
        """
title: t
seeds: [0]
teacher: {arch: mobilenet_v1_025, embedding_size: 0, epochs: 0}
reduced: {teacher_reduction: pca, method: absolute, teacher_crops: 1}
student: {arch: mobilenet_v1_025, embedding_size: 8, batch_size: 8, images_per_class: 2, epochs: 1, crop_scale: 1}
taught: {teacher_crops: 1, teacher_reduction: none}
tune: {validation: 0.25, lr: [1.0e-3, 1.0e-2], weight_decay: [1.0e-4]}
rows:
  - {name: absolute, group: paper, options: {method: absolute}}
  - {name: absolute at 1, group: paper, options: {method: absolute, lr: 1.0}, fixed: true}
"""
    )
    files = ["--data", "glyphs:classes=16,faces=4,size=32", "--threads", "1"]
    files += ["--student-weights", "weights.safetensors", "--teacher-weights", "weights.safetensors"]
    assert results.run_app(results.app, ["tune", "tiny.yaml", *files]) == 0
    trials = tuning.read_trials(Path("tiny-tune.csv"))
    assert [(t["row"], float(t["lr"])) for t in trials] == [("absolute", 1e-3), ("absolute", 1e-2)]
    assert all("--validation 0.25" in t["command"] and "reduced-0.25" in t["command"] for t in trials)
    assert results.run_app(results.app, ["run", "tiny.yaml", *files, "--only", "absolute"]) == 0
    (line,) = (line for line in results.read_lines(Path("tiny.csv")) if line["row"] == "absolute")
    best = max(trials, key=lambda trial: float(trial["validation_recall@1"]))
    assert line["chosen_by"].startswith(f"lr {float(best['lr']):g} of 0.001, 0.01")
    assert f"--lr {float(best['lr'])}" in line["command"] and "--validation" not in line["command"]


TINY_FOR_EACH_SEED = """
title: t
seeds: [1]
teacher_seeds: true
teacher: {arch: mobilenet_v1_025, weights: null, embedding_size: 8, batch_size: 8, images_per_class: 2, epochs: 1, crop_scale: 1, threads: 1}
student: {arch: mobilenet_v1_025, weights: null, embedding_size: 8, batch_size: 8, images_per_class: 2, epochs: 1, crop_scale: 1, threads: 1}
taught: {teacher_crops: 1}
tune: {validation: 0.25, lr: [1.0e-3], weight_decay: [1.0e-4]}
rows:
  - {name: absolute, group: paper, options: {method: absolute}}
"""


@pytest.mark.slow
def test_a_teacher_trained_for_each_seed_never_sees_held_out_classes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY_FOR_EACH_SEED)
    files = ["--data", "glyphs:classes=16,faces=4,size=32"]
    assert results.run_app(results.app, ["tune", "tiny.yaml", *files]) == 0
    held_out = json.loads(Path("runs/results/tiny/teacher-0-0.25/model.json").read_text())["data"]
    assert len(held_out["validation_classes"]) == 2 and len(held_out["classes"]) == 6
    (trial,) = tuning.read_trials(Path("tiny-tune.csv"))
    assert "--teacher runs/teacher-0-0.25 " in trial["command"] and "--threads 1 " in trial["command"]
    assert results.run_app(results.app, ["run", "tiny.yaml", *files]) == 0
    lines = results.read_lines(Path("tiny.csv"))
    assert [(line["row"], line["seed"]) for line in lines] == [("teacher", "1"), ("absolute", "1")]
    assert "--seed 1 " in lines[0]["command"] and "--validation" not in lines[0]["command"]
    assert all("--weights" not in line["command"] for line in lines)
    assert "--teacher runs/teacher-1 " in lines[1]["command"] and "--seed 1 " in lines[1]["command"]


def test_weights_that_a_plan_needs_are_asked_for(tmp_path, capsys):
    assert results.run_app(results.app, ["run", str(_plan(tmp_path)), "--data", "glyphs"]) == 2
    assert "--student-weights is missing (give the file; for random weights" in capsys.readouterr().err
