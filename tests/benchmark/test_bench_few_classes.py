"""Intervals that rest on few classes are marked: resampling them gives intervals that are too narrow."""

from __future__ import annotations

import json

import benchmark_fakes as fakes
import numpy as np
import pytest

from benchmark.facts import data_facts
from benchmark.report.html import render
from benchmark.result import FEW_CLASSES, Result, read_result, write_result
from benchmark.run import BenchmarkOptions, measure
from benchmark.subject import choose_images
from benchmark.table import print_result
from benchmark.timing import Plan
from distill.console import result_console
from distill.metrics import bootstrap_ci
from export.bundle import load_bundle


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "least", "most"), [(12, 0.80, 0.915), (FEW_CLASSES, 0.915, 0.97)])
def test_the_limit_is_where_intervals_hold_the_truth(classes, least, most):
    """Recall@1 of 85 % that differs between classes, 20 images each, 1,500 test sets."""
    labels, random, held = np.repeat(np.arange(classes), 20), np.random.default_rng(1), 0
    for trial in range(1500):
        chance = random.beta(0.85 * 4, 0.15 * 4, classes)
        hits = random.random(len(labels)) < chance[labels]
        low, high = bootstrap_ci(hits, labels, resamples=1000, seed=trial)
        held += low <= 0.85 <= high
    assert least < held / 1500 < most


def classes_of(result: Result, count: int) -> Result:
    result.data.classes = result.data.interval_classes = count
    return result


@pytest.mark.parametrize("width", [60, 200])
def test_they_are_marked_in_the_table(result, width, capsys):
    for count, marked in ((12, True), (29, True), (30, False), (500, False)):
        print_result(classes_of(result, count), result_console(width))
        shown = capsys.readouterr().out
        assert (f"and {count} are fewer than 30" in " ".join(shown.split())) is marked
        assert ("]*" in shown) is marked and "]" in shown


def test_they_are_marked_in_the_report(result):
    few, many = render(classes_of(result, 12), None), render(classes_of(result, 30), None)
    assert "* too narrow: intervals resample classes, and 12 are fewer than 30" in few and "too narrow:" not in many
    assert "]</small>" not in few and few.count("]*</small>") >= 3
    assert "]*" not in many and many.count("]</small>") == few.count("]*</small>")
    assert "95 % interval*, classes resampled" in few


def test_the_json_tells_the_classes_that_are_resampled(result, tmp_path):
    assert result.data.interval_classes == 8
    write_result(tmp_path / "r.json", result)
    value = json.loads((tmp_path / "r.json").read_text())
    assert value["data"]["interval_classes"] == 8
    assert "too narrow with 8 classes" in value["verdict"]["text"]
    del value["data"]["interval_classes"]  # as older results are
    (tmp_path / "r.json").write_text(json.dumps(value))
    assert read_result(tmp_path / "r.json").data.few_classes == 8


def test_classes_of_one_image_do_not_count(tmp_path):
    photos = fakes.make_photos(tmp_path / "photos", classes=3)
    bundle = load_bundle(fakes.make_bundle(tmp_path / "bundle", f"folder:{photos}"))
    subject = choose_images(bundle, None, None, "all", None, 0)
    labels = np.array([*np.repeat(np.arange(29), 2), 29, 30])
    facts = data_facts(subject, labels, files=False)
    assert (facts.classes, facts.interval_classes, facts.few_classes) == (31, 29, 29)


def test_a_verdict_of_thirty_classes_says_nothing_of_them(tmp_path, toy_engines, monkeypatch):
    fakes.replace_torch(monkeypatch)
    photos = fakes.make_photos(tmp_path / "photos", classes=30, per_class=2)
    bundle = fakes.make_bundle(tmp_path / "bundle", f"folder:{photos}")
    (tmp_path / "student").mkdir()
    plan = Plan(seconds=0, min_samples=10, max_samples=10, warmup_max_runs=10)
    result, _ = measure(BenchmarkOptions(bundle, part="all", checkpoint=tmp_path / "student", plan=plan))
    assert "95 % interval" in result.verdict.text and "too narrow" not in result.verdict.text
