"""Tables in 80 columns, and JSON in a file, of every command of ``distill-index``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fits import check_fits, narrow

from distill.console import run_app
from gallery.cli import app

FOLDER = "a-folder-with-a-rather-long-name/and-another-one-that-is-even-longer-than-the-first"


def call(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


@pytest.fixture
def indexed(bundle_dir: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    narrow(monkeypatch)
    deep = photos / FOLDER
    deep.mkdir(parents=True)
    for path in photos.glob("*.jpg"):
        path.rename(deep / path.name)
    assert call(bundle_dir, photos, "--out", tmp_path / "g.gallery", "--json-out", tmp_path / "built.json") == 0
    return tmp_path / "g.gallery"


def test_build_writes_json(indexed, tmp_path):
    value = json.loads((tmp_path / "built.json").read_text())
    assert value["count"] == 9 and value["gallery"] == str(indexed)


def test_search_shows_whole_names(indexed, tmp_path, capsys):
    capsys.readouterr()
    assert call("search", indexed, "--sample", 1, "-k", 3, "--json-out", tmp_path / "found.json") == 0
    out = capsys.readouterr().out
    check_fits(out, "cosine", "image", long=(FOLDER,))
    query = json.loads((tmp_path / "found.json").read_text())["queries"][0]
    assert len(query["neighbours"]) == 3
    folded = "".join(line[9:].strip() for line in out.splitlines()[2:])
    assert all(each["id"] in folded for each in query["neighbours"])


def test_info_and_check(indexed, tmp_path, capsys):
    capsys.readouterr()
    assert call("info", indexed, "--json-out", tmp_path / "i.json") == 0
    check_fits(capsys.readouterr().out, "thumbnail_offsets", "checkpoint", "embeddings")
    assert json.loads((tmp_path / "i.json").read_text())["count"] == 9
    assert call("check", indexed, "--json", "--json-out", tmp_path / "c.json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "c.json").read_text())
    assert call("check", indexed, "--json-out", indexed) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [(["glyhps"], "glyphs"), (["glyphs", "--part", "tets"], "test"), (["glyphs", "--dtype", "int9"], "int8")],
)
def test_a_wrong_value_is_answered_with_the_nearest(bundle_dir, tmp_path, capsys, words, says):
    assert call(bundle_dir, *words, "--out", tmp_path / "g.gallery") == 2
    assert f"did you mean '{says}'?" in capsys.readouterr().err
