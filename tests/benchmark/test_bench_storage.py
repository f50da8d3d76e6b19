from __future__ import annotations

import json

import benchmark_fakes as fakes
import numpy as np
import pytest

import benchmark.storage as storage_module
from benchmark.cli import app
from benchmark.parity import score
from benchmark.report.html import render
from benchmark.storage import asymmetric, storage
from benchmark.table import print_result
from distill.console import run_app
from distill.data.preprocess import Preprocessing
from distill.metrics import unit_rows
from gallery import Content, Model, open_gallery, row_codes, write_gallery
from gallery.search import search_gallery


def clusters(classes: int = 30, each: int = 6, size: int = 64, noise: float = 0.6, seed: int = 0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    centres = random.normal(size=(classes, size))
    rows = centres[labels] + noise * 4 * random.normal(size=(len(labels), size))
    return unit_rows(rows.astype(np.float32)), labels


def searched(rows: np.ndarray, labels: np.ndarray, tmp_path, bits: bool, k: int) -> np.ndarray:
    """Return which queries a real gallery file answers correctly with its first image, the query itself excluded."""
    model = Model(
        name="m", variant="v", sha256="0" * 64, source_id="", preprocessing=Preprocessing(input_size=8, resize_size=8)
    )
    ids = [str(row) for row in range(len(rows))]
    write_gallery(tmp_path / "g", Content(model, ids, row_codes(rows), bits=bits))
    found = search_gallery(open_gallery(tmp_path / "g"), rows, k).rows
    return np.array([labels[next(r for r in line if r != own)] == labels[own] for own, line in enumerate(found)])


def test_sizes_and_recalls_of_each_way_to_keep_a_gallery():
    rows, labels = clusters()
    float32, int8 = storage(rows, score(rows, labels), labels)  # 180 images: all would be candidates
    assert [s.bytes_per_image for s in (float32, int8)] == [256, 64]
    assert float32.recall_drop.value == 0 and float32.recall_drop.ci95 == (0, 0)
    assert abs(int8.recall_drop.value) < 0.02 and abs(int8.map_at_r - float32.map_at_r) < 0.02


def test_int8_is_what_a_gallery_file_answers(tmp_path):
    rows, labels = clusters()
    int8 = storage(rows, score(rows, labels), labels)[1]
    assert int8.recall[1] == searched(rows, labels, tmp_path, bits=False, k=2).mean()


def test_bits_are_what_a_gallery_file_with_bits_answers(tmp_path):
    rows, labels = clusters(classes=1000, each=2, size=8, noise=0.02)
    blur = 0.02 * np.random.default_rng(1).normal(size=(len(rows), 60))
    rows = unit_rows(np.hstack([rows, blur]))  # most signs carry no information
    float32, int8, bits = storage(rows, score(rows, labels), labels)
    assert (bits.name, bits.bytes_per_image, bits.map_at_r) == ("int8+bits", 68 + 16, None)
    assert bits.recall[1] == searched(rows, labels, tmp_path, bits=True, k=21).mean()
    assert int8.recall[1] == searched(rows, labels, tmp_path, bits=False, k=2).mean()
    assert bits.recall[1] < int8.recall[1] - 0.02 and bits.recall_drop.value > 0.02
    assert float32.recall_drop.value == 0


def test_a_query_is_no_answer_to_itself_among_equal_images():
    rows, labels = clusters(classes=40, each=1)
    rows, labels = np.repeat(rows, 30, axis=0), np.arange(1200)  # thirty of each, no two of a class
    labels[1::2] = labels[::2]
    _, int8 = storage(rows, score(rows, labels), labels)
    assert int8.recall[8] == score(rows, labels).recall[8] < 1


@pytest.fixture
def queries_searched(monkeypatch) -> list[int]:
    """Sizes of the blocks of queries that were searched in galleries."""
    found: list[int] = []
    inner = storage_module.search_rows
    monkeypatch.setattr(
        storage_module,
        "search_rows",
        lambda rows, queries, *rest: (found.append(len(queries)), inner(rows, queries, *rest))[1],
    )
    return found


def test_among_many_images_as_many_queries_are_drawn(tmp_path, monkeypatch, queries_searched):
    """Every image queried all others: 50,000 images took four times as long as their search in float32."""
    rows, labels = clusters(classes=700, each=2, size=16, noise=0.2)
    labels = np.concatenate([labels[:-10], np.arange(700, 710)])  # ten images without another of their class
    scores = score(rows, labels)
    monkeypatch.setattr(storage_module, "QUERIES", 300)
    found = storage(rows, scores, labels, seed=5)
    assert sum(queries_searched) == 2 * 300
    asked = np.sort(np.random.default_rng(5).choice(np.arange(1390), 300, replace=False))
    assert [s.queries for s in found] == [300] * 3
    assert found[0].recall[1] == scores.hits[1][asked].mean() and found[0].recall_drop.value == 0
    assert found[1].recall[1] == searched(rows, labels, tmp_path, bits=False, k=2)[asked].mean()
    assert found[2].recall[1] == searched(rows, labels, tmp_path, bits=True, k=21)[asked].mean()
    assert found[1].recall_drop.value == pytest.approx(found[0].recall[1] - found[1].recall[1])
    (own,) = asymmetric(rows, labels, {"same": (rows, scores)}, seed=5)
    assert own.queries == 300 and own.recall == found[0].recall and own.recall_drop.value == 0
    assert own.map_at_r == pytest.approx(scores.average_precision[asked].mean())


def test_where_few_of_many_images_count_all_of_these_query(monkeypatch, queries_searched):
    rows, labels = clusters(classes=700, each=2, size=16, noise=0.2)
    labels = np.concatenate([np.arange(100).repeat(2), np.arange(100, 1300)])
    scores = score(rows, labels)
    all_of_them = [kept.model_dump() for kept in storage(rows, scores, labels)]
    queries_searched.clear()
    monkeypatch.setattr(storage_module, "QUERIES", 200)
    assert [kept.model_dump() for kept in storage(rows, scores, labels)] == all_of_them
    assert all_of_them[0]["queries"] is None and sum(queries_searched) == 2 * 200


def test_a_sample_is_told(result, capsys):
    int8 = result.variant("tflite-int8")
    assert all(part.queries is None for part in (*int8.storage, *int8.asymmetric))
    assert "drawn at random;" not in render(result, None)
    for part in (*int8.storage, *int8.asymmetric):
        part.queries = 20_000
    print_result(result)
    assert capsys.readouterr().out.count("20,000 queries drawn at random") == 2
    assert "20,000 queries, drawn at random; they search all 40 images" in render(result, None)


def test_galleries_can_be_left_out(bundle_dir, toy_engines, tmp_path, capsys, queries_searched):
    arguments = [str(bundle_dir), "--seconds", "0", "--no-storage", "--json-out", str(tmp_path / "r.json")]
    assert run_app(app, arguments) == 0
    assert "gallery" not in capsys.readouterr().out and queries_searched == []
    variants = json.loads((tmp_path / "r.json").read_text())["variants"]
    assert all(v["storage"] is None and v["asymmetric"] is None and v["recall"] for v in variants)
    assert run_app(app, [*arguments, "--max-asymmetric-drop", "1"]) == 2
    assert "leave out --no-storage" in " ".join(capsys.readouterr().err.split())


def test_an_image_is_no_answer_to_itself_in_another_models_gallery():
    """Unique images: with the query itself in the gallery, every answer would be right."""
    random = np.random.default_rng(0)
    rows, labels = unit_rows(random.normal(size=(200, 32)).astype(np.float32)), np.repeat(np.arange(100), 2)
    (found,) = asymmetric(rows, labels, {"same": (rows, score(rows, labels))})
    assert found.recall[1] < 0.1 and found.recall_drop.value == 0


def test_a_rotated_space_is_no_shared_space():
    rows, labels = clusters(noise=0.3)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(64, 64)))[0].astype(np.float32)
    turned = rows @ rotation
    (found,) = asymmetric(rows, labels, {"turned": (turned, score(turned, labels))})
    assert score(turned, labels).recall[1] > 0.5 and found.recall_drop.value > 0.3
    assert asymmetric(rows, labels, {"narrow": (rows[:, :8], score(rows[:, :8], labels))}) == []


def test_the_result_holds_them_for_the_candidate(result):
    int8 = result.variant("tflite-int8")
    assert [s.name for s in int8.storage] == ["float32", "int8"] and int8.storage[0].recall == int8.recall
    assert [a.gallery for a in int8.asymmetric] == ["PyTorch", "teacher"]  # the toys share an embedding space
    assert int8.asymmetric[0].recall_drop.value > 0  # the noise of the planted fault
    assert result.variant("tflite-float32").storage is None


def test_without_a_checkpoint_the_float_variant_is_the_gallery(bundle_dir, toy_engines, tmp_path, capsys):
    toy_engines["tflite-int8"] = fakes.ToyRunner(
        noise=4.0
    )  # its noise depends on the number of timed runs, hence the margin
    arguments = [
        str(bundle_dir),
        "--seconds",
        "0",
        "--json-out",
        str(tmp_path / "r.json"),
        "--html",
        str(tmp_path / "r.html"),
    ]
    assert run_app(app, arguments) == 0
    assert "gallery indexed by: tflite-float32" in capsys.readouterr().out
    int8 = json.loads((tmp_path / "r.json").read_text())["variants"][1]
    assert int8["asymmetric"][0]["gallery"] == "tflite-float32"
    page = (tmp_path / "r.html").read_text()
    assert "Size of a gallery" in page and "int8+bits" not in page
    assert run_app(app, [*arguments, "--max-asymmetric-drop", "0.1"]) == 1
    assert (
        run_app(app, [*arguments, "--variant", "tflite-int8", "--max-asymmetric-drop", "99"]) == 1
    )  # nothing to compare with
