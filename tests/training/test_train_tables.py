"""The output of ``distill-train`` in 80 columns and as JSON."""

from __future__ import annotations

import json

from fits import check_fits, narrow

from distill.cli import _print, app
from distill.console import run_app

METRICS = {f"recall@{k}": 1.0 for k in (1, 2, 4, 8)} | {"map@r": 0.5, "r_precision": 0.123, "nmi": 0.25}
RUN = "runs/demo-of-the-summer/a-student-with-a-rather-long-name/and-another-one-that-is-even-longer"


def test_metrics_and_the_path_of_the_run(monkeypatch, capsys, tmp_path):
    narrow(monkeypatch)
    _print(RUN, METRICS, as_json=False, json_out=tmp_path / "m.json")
    out = capsys.readouterr().out
    check_fits(out, *METRICS, "100.0 %", "12.3 %", RUN, long=("runs/",))
    _print(RUN, METRICS, as_json=True, json_out=None)
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"run": RUN, "metrics": METRICS} == json.loads((tmp_path / "m.json").read_text())


def test_recipes(monkeypatch, capsys):
    narrow(monkeypatch)
    assert run_app(app, ["recipes"]) == 0
    check_fits(capsys.readouterr().out, "photos-student", "glyphs-teacher")
