"""The recommendations of docs/methods.md follow the measured tables, and the default method follows them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from distill.losses.method import parse_method
from distill.training.config import StudentConfig

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import methods_table
import recommended
from results_plan import add_lines, read_lines


def _cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()[2:]]


def test_the_default_method_is_the_first_recommendation():
    start = _cells(recommended.recommendations())[0][1]
    assert f"`{StudentConfig().method}`" == start


def test_every_recommended_method_is_one_that_training_takes():
    for row in _cells(recommended.recommendations()):
        for cell in (row[1], row[3]):
            parse_method(cell.split("`")[1])


def test_another_measurement_changes_the_table_and_the_check_of_the_page(tmp_path, monkeypatch):
    results = tmp_path / "results"
    shutil.copytree(recommended.RESULTS, results)
    path = results / "cub200-2010.csv"
    lines = read_lines(path)
    better = [line | {"recall@1": "0.5"} for line in lines if line["row"] == "relative" and line["measured"] == "test"]
    assert len(better) == 3
    add_lines(path, better)
    first, *rest = _cells(recommended.recommendations(results))
    assert first[1:3] == ["`relative`", "50.0 (50.0–50.0)"] and first[3] == "`absolute`"
    assert rest[1][1] == "`absolute`"  # relative does not compete there
    monkeypatch.setattr(methods_table, "recommendations", lambda: recommended.recommendations(results))
    with pytest.raises(methods_table.Failure, match="or with results/"):
        methods_table.main(check=True)


def test_rows_of_the_same_options_are_one_recommendation():
    """Multi-similarity at two rates: the better one counts, and the runner-up is another loss."""
    for row in _cells(recommended.recommendations()):
        assert row[1] != row[3]


def test_a_row_without_measurement_is_named(tmp_path):
    results = tmp_path / "results"
    shutil.copytree(recommended.RESULTS, results)
    (results / "cub200-2010.csv").unlink()
    with pytest.raises(ValueError, match="absolute: test is not measured"):
        recommended.recommendations(results)
