"""Recipes are found by name, wherever the command runs, and by path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.cli import app
from distill.console import run_app
from distill.recipe_files import find_recipe, recipe_summary, shipped_recipes

FOLDER = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def seen(monkeypatch):
    """The configuration that training would have begun with."""
    found = {}

    def train(kind, config, out, overwrite):
        found.update(kind=kind, config=config)
        return type("Info", (), {"metrics": {}})

    monkeypatch.setattr("distill.runs.train_run", train)
    return found


def test_every_recipe_is_found_by_its_name():
    assert list(shipped_recipes()) == NAMES and "photos-student" in NAMES
    assert all(find_recipe(Path(name)) == FOLDER / f"{name}.yaml" for name in NAMES)


@pytest.mark.parametrize("given", ["photos-student", str(FOLDER / "photos-student.yaml")])
def test_a_name_and_a_path_give_the_same_options(given, seen):
    assert run_app(app, ["student", "--recipe", given, "--epochs", "2", "--out", "o"]) == 0
    config = seen["config"]
    assert (config.arch, config.lr, config.epochs) == ("mobilenet_v1_025_patch", 0.004, 2)


def test_a_file_wins_over_a_name_and_a_folder_does_not(seen):
    Path("photos-student").mkdir()
    assert run_app(app, ["student", "--recipe", "photos-student", "--out", "o"]) == 0
    assert seen["config"].epochs == 30
    Path("photos-student").rmdir()
    Path("photos-student").write_text("epochs: 7")
    assert run_app(app, ["student", "--recipe", "photos-student", "--out", "o"]) == 0
    assert seen["config"].epochs == 7


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ("photos-studnet", 2, "did you mean 'photos-student'"),
        ("quite-another", 2, "known: cars-student, "),
        ("recipes/photos-student.yaml", 1, "--recipe photos-student"),
        ("photos-student.yaml", 1, "--recipe photos-student"),
        ("mine.yaml", 1, "distill-train recipes"),
        (".", 1, "."),
    ],
)
@pytest.mark.parametrize("command", [["student", "--out", "o", "--recipe"], ["recipes"]])
def test_a_wrong_name_is_one_line_with_a_cure(command, given, code, says, capsys):
    assert run_app(app, [*command, given]) == code
    told = capsys.readouterr().err.strip()
    assert says in told and given in told and len(told.splitlines()) == 1


def test_the_list_names_every_recipe_and_what_it_trains(capsys):
    assert run_app(app, ["recipes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["recipe"] for row in listed] == NAMES
    assert all(row["summary"].endswith(".") and not row["summary"].startswith("distill-") for row in listed)
    assert run_app(app, ["recipes"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in NAMES) and "your own photos" in table


def test_a_printed_recipe_can_be_changed_and_used(capsys, seen):
    assert run_app(app, ["recipes", "photos-teacher"]) == 0
    Path("mine.yaml").write_text(capsys.readouterr().out.replace("epochs: 10", "epochs: 4"))
    assert run_app(app, ["teacher", "--recipe", "mine.yaml", "--out", "o"]) == 0
    assert (seen["config"].epochs, seen["config"].arch) == (4, "resnet50")
    assert run_app(app, ["recipes", "photos-teacher", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["options"]["epochs"] == 10


def test_a_summary_is_the_first_sentence_after_the_commands(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("# distill-train student --recipe r\n# MobileNet-0.25 on\n# birds. Slow.\nlr: 1 # no\n")
    assert recipe_summary(path) == "MobileNet-0.25 on birds."
    path.write_text("lr: 1\n")
    assert recipe_summary(path) == ""
