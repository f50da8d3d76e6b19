"""Tables in 80 columns, JSON of every command, and suggestions for values."""

from __future__ import annotations

import json

import pytest
from fits import check_fits, narrow

from benchmark.cli import app
from benchmark.differences import measures
from benchmark.operators.command import _print
from benchmark.operators.profile import ProfiledOperator
from benchmark.operators.roofline import as_json
from benchmark.pairs_command import _print as print_pairs
from benchmark.result import read_result, write_result
from benchmark.table import print_result
from distill.console import run_app

LONG = "tflite-int8-uint8"  # the longest name of a variant that we export
PATH = "folder:/home/somebody/with/a/long/path/to/their/photos/of/the/summer/of/last/year"


def bench(*arguments: object) -> int:
    return run_app(app, [str(argument) for argument in arguments])


@pytest.fixture
def files(result, tmp_path, monkeypatch):
    """Two results with long names and large figures, on 80 columns."""
    narrow(monkeypatch)
    result.variant("tflite-int8").name = LONG
    result.verdict.candidate = LONG
    result.data.spec = PATH
    write_result(tmp_path / "before.json", result)
    for variant in result.variants:
        variant.size_bytes *= 20
    write_result(tmp_path / "after.json", result)
    return tmp_path / "before.json", tmp_path / "after.json"


SENTENCES = (
    "tflite-",
    "!",
    "host",
    "2",
    "* too",
    "gallery",
    "queries",
    "memory",
    "per image",
    "folder",
    "20 images",
    "40 images",
)


def test_the_figures_of_a_run(files, capsys):
    print_result(read_result(files[1]))
    out = capsys.readouterr().out
    check_fits(out, LONG, "ms p50", "MAP@R", "R@8", "drop of R@1 [95 %]", long=SENTENCES)
    assert PATH in out.replace("\n", "")


def test_show_prints_json(files, capsys, tmp_path):
    assert bench("show", files[0], "--json", "--json-out", tmp_path / "copy.json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(files[0].read_text())
    assert read_result(tmp_path / "copy.json") == read_result(files[0])


def test_a_comparison(files, capsys, monkeypatch):
    headings = [f"{measure.name}, {measure.unit}" for measure in measures(read_result(files[0]))]
    assert bench("compare", *files) == 0
    narrow_table = capsys.readouterr().out
    check_fits(narrow_table, LONG, *headings, long=SENTENCES)
    monkeypatch.setenv("COLUMNS", "120")
    assert bench("compare", *files) == 0
    wide_table = capsys.readouterr().out
    assert all(heading in wide_table.splitlines()[1] for heading in headings)
    figures = [word for word in narrow_table.split() if "→" in word]
    assert sorted(figures) == sorted(word for word in wide_table.split() if "→" in word)


def test_a_history(files, capsys, tmp_path):
    assert bench("history", *files) == 0
    headings = [f"{measure.name}, {measure.unit}" for measure in measures(read_result(files[0]))]
    check_fits(capsys.readouterr().out, *headings, long=SENTENCES)
    assert bench("history", *files, "--json", "--variant", LONG) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["variant"] for each in found] == [LONG] and found[0]["units"]["size"] == "kB"
    sizes = {read_result(path).variant(LONG).size_bytes / 1000 for path in files}
    assert {row["size"] for row in found[0]["results"]} == sizes
    assert bench("history", *files, "--json", "--last", "1") == 0
    assert {len(each["results"]) for each in json.loads(capsys.readouterr().out)} == {1}


def test_a_pareto_front(files, capsys):
    assert bench("pareto", *files) == 0
    check_fits(capsys.readouterr().out, "R@1", "ms p50", f"before: {LONG}", long=SENTENCES)
    assert bench("pareto", *files, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["points"]) == 6 and {"source", "variant", "recall", "p50", "size_bytes", "best"} == set(
        found["points"][0]
    )
    assert not next(p for p in found["points"] if (p["source"], p["variant"]) == ("after", LONG))["best"]


def test_operators(capsys, monkeypatch):
    narrow(monkeypatch)
    found = [
        ProfiledOperator("DEPTHWISE_CONV_2D", (1, 112, 112, 512), 123_456_789, True, 123.4567, 9_876_543),
        ProfiledOperator("FULLY_CONNECTED", (1, 128), 1000, True, 0.01, 4000),
    ]
    value = as_json(LONG, 1, found, {True: 1e12}, {1000: 1e9, 10**8: 2e9})
    _print(value, found)
    table = [line for line in capsys.readouterr().out.splitlines() if "MACs" not in line or "share" in line]
    check_fits("\n".join(table), "DEPTHWISE_CONV_2D", "1 × 112", "operator", "output", "share", "limit")


def test_pairs(capsys, monkeypatch):
    narrow(monkeypatch)
    model = {"name": LONG, "status": "ok", "error": None, "accuracy": 1.0, "ci95": [0.999, 1.0]}
    drop = {"value": -0.0123, "ci95": [-0.1111, 0.1111], "lost": 1234, "gained": 1234}
    found = {
        "models": [model | {"drop": drop}, model | {"name": "PyTorch", "drop": None}],
        "threshold_pairs": None, "count": 6000, "pairs": "lfw/pairs.txt", "people": 5749, "data": "lfw:lfw",
        "device": {"emulated": False, "name": "host", "cpu": "some processor"},
    }  # fmt: skip
    print_pairs(found)
    check_fits(
        capsys.readouterr().out, LONG, "accuracy [95 %]", "drop [95 %], points", "lost", "gained", long=("6,000",)
    )


def test_devices(capsys, monkeypatch):
    narrow(monkeypatch)
    monkeypatch.setattr("shutil.which", lambda name, *more, **other: None)
    assert bench("devices") == 0
    check_fits(capsys.readouterr().out, "device", "status", "emulated-arm64:FOLDER", "ssh://[user@]host[:port]")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--device", "hots"], "host"),
        (["--delegate", "xnpack"], "xnnpack"),
        (["--part", "tets"], "test"),
        (["--data", "glyhps"], "glyphs"),
        (["--split", "hlaf"], "half"),
        (["--variant", "tflite-int9"], "tflite-int8"),
        (["--candidate", "tflite-int9"], "tflite-int8"),
    ],
)
def test_a_wrong_value_is_answered_with_the_nearest(bundle_dir, toy_engines, capsys, words, says):
    assert bench(bundle_dir, "--seconds", "0", *words) == 2
    assert f"did you mean '{says}'?" in capsys.readouterr().err


def test_the_old_form_of_json_still_writes_a_file(bundle_dir, toy_engines, tmp_path, capsys):
    """Before 0.3.0, ``--json FILE`` was what ``--json-out FILE`` is."""
    out = tmp_path / "r.json"
    common = ["--seconds", "0", "--no-memory"]
    for words in (
        [bundle_dir, *common, "--json", out],
        ["--json", out, bundle_dir, *common],
        [bundle_dir, *common, f"--json={out}"],
    ):
        assert bench(*words) == 0
        told = capsys.readouterr()
        assert "MAP@R" in told.out and f"--json-out {out}" in " ".join(told.err.split()).replace("- ", "-")
        assert json.loads(out.read_text())["verdict"]["pass"] is True
        out.unlink()


def test_json_alone_prints_the_result(bundle_dir, toy_engines, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    for words in ([bundle_dir, "--json"], ["--json", bundle_dir], [bundle_dir, "--json", "--seed", "1"]):
        assert bench(*words, "--seconds", "0", "--no-memory") == 0
        told = capsys.readouterr()
        assert json.loads(told.out)["verdict"]["pass"] is True and "--json-out" not in told.err
    assert bench(bundle_dir, "--json", "--json-out", "r.json", "--seconds", "0", "--no-memory") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").unlink()
    assert sorted(tmp_path.iterdir()) == before
