from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.cli import app
from benchmark.differences import Tolerances, differences, mismatches
from benchmark.history import add, read_all, series
from benchmark.report.pareto import front, points, render_pareto
from benchmark.report.trend import render_trend
from benchmark.result import Latency, Result, VariantResult, write_result
from distill.console import Failure, run_app

HOSTILE = "<script>alert(1)</script>\" onerror='x'"


def bench(*arguments: object) -> int:
    return run_app(app, [str(argument) for argument in arguments])


@pytest.fixture
def later(result: Result) -> Result:
    return result.model_copy(deep=True)


def change(before: Result, after: Result, variant: str, measure: str, **tolerances: float):
    found = differences(before, after, Tolerances(**tolerances))
    return next(c for c in found if (c.variant, c.measure.name) == (variant, measure))


def slower(result: Result, factor: float, name: str = "tflite-int8") -> None:
    variant = result.variant(name)
    variant.latency_ms = Latency.of([int(value * factor * 1e6) for value in variant.latency_ms.raw])


def test_a_result_is_no_worse_than_itself(result, later):
    found = differences(result, later)
    assert not any(c.worse or c.better for c in found) and all(c.change == 0 for c in found)
    assert mismatches([result, later]) == []


def test_points_and_percent(result, later):
    recall = result.variant("tflite-int8").recall
    result.variant("tflite-int8").recall = {**recall, 1: 0.8}
    later.variant("tflite-int8").recall = {**recall, 1: 0.79}
    later.variant("tflite-int8").size_bytes *= 2
    lost = change(result, later, "tflite-int8", "Recall@1")
    assert lost.change == pytest.approx(-1) and lost.worse and not lost.better
    assert not change(result, later, "tflite-int8", "Recall@1", recall_loss=1).worse  # the limit itself is allowed
    assert change(later, result, "tflite-int8", "Recall@1").better
    grown = change(result, later, "tflite-int8", "size")
    assert grown.change == pytest.approx(100) and grown.worse


def test_latency_is_a_ratio(result, later):
    slower(result, 1e4)  # far above the rounding of samples
    later.variant("tflite-int8").latency_ms = result.variant("tflite-int8").latency_ms
    slower(later, 1.04)
    assert not change(result, later, "tflite-int8", "latency p50").worse
    slower(later, 1.04)
    assert change(result, later, "tflite-int8", "latency p50").worse
    assert change(later, result, "tflite-int8", "latency p50").better


def test_what_is_gone_or_failed_is_worse(result, later):
    later.variants = later.variants[1:]
    later.variants[0] = VariantResult(name=later.variants[0].name, status="failed", error="no", size_bytes=1)
    assert all(c.worse and c.after is None for c in differences(result, later) if c.variant == "tflite-float32")
    assert change(result, later, later.variants[0].name, "Recall@1").worse


def test_incomparable_results_cause_a_warning(result, later):
    later.data.fingerprint, later.machine.cpu, later.machine.latency.threads = "x", "another", 4
    later.machine.latency.drift_flagged, later.machine.packages = True, {}
    told = " ".join(mismatches([result, later]))
    for word in ("images differ", "devices differ", "threads", "engine versions", "drifted"):
        assert word in told


def test_compare_on_the_command_line(result, later, tmp_path, capsys):
    later.variant("tflite-int8").size_bytes *= 2
    write_result(tmp_path / "a.json", result)
    write_result(tmp_path / "b.json", later)
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    assert bench("compare", *files) == 0  # marked, but no limit was set
    out = capsys.readouterr().out
    assert "✗" in out and "+100.0%" in out and "no limit was set" in out
    assert bench("compare", *files, "--max-growth", "1") == 1
    assert "Worse than allowed: tflite-int8 size" in capsys.readouterr().out
    assert bench("compare", *files, "--max-growth", "150", "--max-recall-loss", "0") == 0
    assert bench("compare", *reversed(files), "--max-growth", "0") == 0
    capsys.readouterr()
    assert bench("compare", *files, files[0], "--json", "--max-growth", "1") == 1
    answer = json.loads(capsys.readouterr().out)
    assert [entry["pass"] for entry in answer] == [False, True]
    grown = [c for c in answer[0]["changes"] if c["worse"]]
    assert [(c["variant"], c["measure"], c["change"]) for c in grown] == [("tflite-int8", "size", 100.0)]
    assert bench("compare", files[0]) == 2
    assert bench("compare", files[0], tmp_path / "none.json") == 1


def test_a_history_grows_and_never_overwrites(result, tmp_path):
    paths = {add(tmp_path / "h", result) for _ in range(3)}
    assert len(paths) == 3 and all(re.match(r"\d{8}T\d{6}Z-toy(-\d)?\.json", path.name) for path in paths)
    result.bundle.name = "../../etc/pass wd"
    odd = add(tmp_path / "h", result)
    assert odd.parent == tmp_path / "h" and "/" not in odd.name and " " not in odd.name
    result.bundle.name = "…"
    assert add(tmp_path / "h", result).name.endswith("-bundle.json")


def test_a_run_adds_to_the_history_and_it_is_shown(bundle_dir, toy_engines, tmp_path, capsys):
    for _ in range(2):
        assert bench(bundle_dir, "--seconds", "0", "--history", tmp_path / "h") == 0
    capsys.readouterr()
    (tmp_path / "h" / "rotten.json").write_text("{")
    assert bench("history", tmp_path / "h", "--variant", "tflite-int8", "--html", tmp_path / "t.html") == 0
    printed = capsys.readouterr()
    assert len(re.findall(r"^\d{4}-\d\d-\d\d", printed.out, re.M)) == 2 and "tflite-float32" not in printed.out
    assert "rotten.json" in printed.err
    page = (tmp_path / "t.html").read_text()
    assert page.count('class="spot"') == 6 and "default-src 'none'" in page
    assert bench("history", tmp_path / "h", "--variant", "tflite-int") == 2
    assert bench("history", tmp_path / "h", "--last", "1") == 0
    assert len(re.findall(r"^\d{4}-\d\d-\d\d", capsys.readouterr().out, re.M)) == 3
    assert bench(bundle_dir, "--seconds", "0", "--history", bundle_dir) == 2


def test_series_hold_only_what_can_be_compared(result, later):
    later.data.fingerprint = "others"
    later.created = "2020-01-01T00:00:00+00:00"
    found = series([later, result])
    assert len(found) == 2 * len(result.variants)
    assert len(series([result, result.model_copy(deep=True)], "tflite-int8")[0].results) == 2


def test_results_are_read_in_the_order_of_time(result, later, tmp_path):
    later.created = "2020-01-01T00:00:00+00:00"
    write_result(tmp_path / "1.json", result)
    write_result(tmp_path / "2.json", later)
    assert [name for name, _ in read_all([tmp_path])] == ["2", "1"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(Failure, match="no results"):
        read_all([tmp_path / "empty"])


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=30))
def test_no_other_dominates_the_front(rows):
    values = np.array(rows, float)
    found = front(values)
    assert found.any()
    for i, row in enumerate(values):
        beaten = any((other <= row).all() and (other < row).any() for other in values)
        assert found[i] == (not beaten)


def test_pareto_over_files(result, later, tmp_path, capsys):
    slower(later, 3, "tflite-float32")
    write_result(tmp_path / "a.json", result)
    write_result(tmp_path / "b.json", later)
    assert bench("pareto", tmp_path, "--html", tmp_path / "p.html") == 0
    assert "a: tflite-float32" in capsys.readouterr().out
    found = {point.name: point.best for point in points([("a", result), ("b", later)])}
    assert any(found.values()) and not found["b: tflite-float32"]  # "a" is as good and faster
    page = (tmp_path / "p.html").read_text()
    assert page.count("<svg") == 4 and page.count('class="front"') == 4 and "default-src 'none'" in page


def test_pareto_without_latency_or_recall(result):
    for variant in result.variants:
        variant.latency_ms = None
    assert render_pareto([("a", result)]).count("<svg") == 2  # by size alone
    for variant in result.variants:
        variant.recall = None
    assert "<svg" not in render_pareto([("a", result)])


def test_hostile_names_are_text_in_all_pages(result):
    result.variants[0].name = result.machine.cpu = result.data.spec = HOSTILE
    for text in (render_pareto([(HOSTILE, result)]), render_trend(series([result]))):
        assert "<script" not in text and "alert(1)" in text


def test_many_points_are_named_sparingly(result):
    text = render_pareto([(f"r{n}", result.model_copy(deep=True)) for n in range(20)])
    assert text.count('class="bubble') == 4 * 60
    assert text.count('class="name') <= text.count('class="bubble candidate"')
