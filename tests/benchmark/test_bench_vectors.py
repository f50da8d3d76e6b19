"""Queries of a variant on stored vectors: matched by name, counted where they lack, first under the limit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmark.cli import app
from benchmark.parity import score
from benchmark.stored_vectors import open_vectors, search_vectors
from distill.console import Failure, UsageFailure, run_app
from distill.data.embeddings_file import write_embeddings
from distill.data.spec import open_data
from distill.metrics import unit_rows


def clusters() -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 4)
    rows = unit_rows((random.normal(size=(20, 16))[labels] + 2 * random.normal(size=(80, 16))).astype(np.float32))
    return rows, labels, [f"c{label}/{number}.jpg" for number, label in enumerate(labels)]


def test_vectors_are_found_by_name_and_the_queries_own_is_left_out(tmp_path):
    rows, labels, keys = clusters()
    order = np.random.default_rng(1).permutation(80)
    write_embeddings(
        tmp_path / "v.npz", ["other.jpg", *[keys[i] for i in order]], 5 * np.concatenate([rows[:1], rows[order]])
    )
    (found,) = search_vectors(open_vectors(tmp_path / "v.npz", 16), rows, labels, keys)
    assert found.gallery == "v.npz" and found.recall == pytest.approx(score(rows, labels).recall)
    assert found.recall_drop.value == 0 and found.recall[1] < 1
    (agreed,) = search_vectors(open_vectors(tmp_path / "v.npz", 16), rows, None, keys)
    assert agreed.recall is None and agreed.agreement is not None


def test_images_without_a_vector_are_left_out_of_both(tmp_path, capsys):
    rows, labels, keys = clusters()
    write_embeddings(tmp_path / "v.npz", keys[8:], rows[8:])
    (found,) = search_vectors(open_vectors(tmp_path / "v.npz", 16), rows, labels, keys)
    assert found.recall == pytest.approx(score(rows[8:], labels[8:]).recall)
    assert "of 80 images 8 have none, e.g. c0/0.jpg" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(Failure, match="names no image"):
        search_vectors(open_vectors(tmp_path / "v.npz", 16), rows, labels, ["x"] * 80)
    with pytest.raises(UsageFailure, match="vectors of 16 dimensions, the bundle embeds into 8"):
        open_vectors(tmp_path / "v.npz", 8)


def test_the_command_measures_them_first(bundle_dir, photos, toy_engines, tmp_path, capsys):
    keys = open_data(f"folder:{photos}").keys
    vectors = np.random.default_rng(0).normal(size=(len(keys), 48))
    write_embeddings(tmp_path / "index.npz", keys, vectors)
    words = [str(bundle_dir), "--seconds", "0", "--gallery-embeddings", str(tmp_path / "index.npz")]
    assert run_app(app, [*words, "--json-out", str(tmp_path / "r.json")]) == 0
    (candidate,) = [v for v in json.loads((tmp_path / "r.json").read_text())["variants"] if v["asymmetric"]]
    assert [a["gallery"] for a in candidate["asymmetric"]] == ["index.npz", "tflite-float32"]
    assert "gallery indexed by: index.npz" in " ".join(capsys.readouterr().out.split())
    assert run_app(app, [*words, "--no-storage"]) == 2
    (tmp_path / "index.npz").write_bytes(b"PK")
    assert run_app(app, words) == 1
    assert "index.npz: " in " ".join(capsys.readouterr().err.split())
