from __future__ import annotations

import json

import benchmark_fakes as fakes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark.cli import app
from benchmark.parity import score
from benchmark.storage import asymmetric, binary_rows, int8_rows, storage
from distill.console import run_app
from distill.metrics import unit_rows


def clusters(classes: int = 30, each: int = 6, size: int = 64, noise: float = 0.6, seed: int = 0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    centres = random.normal(size=(classes, size))
    rows = centres[labels] + noise * 4 * random.normal(size=(len(labels), size))
    return unit_rows(rows.astype(np.float32)), labels


def test_sizes_and_recalls_of_each_way_to_keep_a_gallery():
    rows, labels = clusters()
    float32, int8, binary = storage(rows, score(rows, labels), labels)
    assert [s.bytes_per_image for s in (float32, int8, binary)] == [256, 68, 8]
    assert float32.recall_drop.value == 0 and float32.recall_drop.ci95 == (0, 0)
    assert abs(int8.recall_drop.value) < 0.02
    assert 0.02 < binary.recall_drop.value < 0.5  # single bits cost something here
    assert binary.recall[1] == pytest.approx(float32.recall[1] - binary.recall_drop.value)


def test_binary_is_the_hamming_distance():
    rows, labels = clusters(size=61)
    bits = rows >= 0
    distance = (bits[:, None] ^ bits[None]).sum(axis=2)
    assert np.array_equal(61 - 2 * distance, np.rint(binary_rows(rows) @ binary_rows(rows).T))
    np.fill_diagonal(distance, 999)
    nearest = distance == distance.min(axis=1, keepdims=True)
    right = labels[None] == labels[:, None]
    surely, maybe = (nearest <= right).all(axis=1).mean(), (nearest & right).any(axis=1).mean()
    assert surely <= storage(rows, score(rows, labels), labels)[2].recall[1] <= maybe  # ties may go either way


@given(arrays(np.float32, (3, 8), elements=st.floats(-1, 1, width=32)))
def test_int8_is_off_by_half_a_step_at_most(rows):
    step = np.abs(rows).max(axis=1, keepdims=True) / 127
    assert (np.abs(int8_rows(rows) - rows) <= 0.51 * step + 1e-9).all()


def test_int8_recall_is_that_of_a_search_in_integers():
    rows, labels = clusters()
    scale = np.abs(rows).max(axis=1, keepdims=True) / 127
    stored = np.rint(rows / scale).astype(np.int8).astype(np.float32) * scale
    own = storage(rows, score(rows, labels), labels)[1]
    similarity = rows @ unit_rows(stored.astype(np.float32)).T
    np.fill_diagonal(similarity, -9)
    assert own.recall[1] == pytest.approx((labels[similarity.argmax(axis=1)] == labels).mean())


def test_an_image_is_no_answer_to_itself_in_another_models_gallery():
    """Unique images: with itself in the gallery every query would be right by chance alone."""
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
    assert [s.name for s in int8.storage] == ["float32", "int8", "binary"] and int8.storage[0].recall == int8.recall
    assert [a.gallery for a in int8.asymmetric] == ["PyTorch", "teacher"]  # the toys say that they share a space
    assert int8.asymmetric[0].recall_drop.value > 0  # the noise of the planted fault
    assert result.variant("tflite-float32").storage is None


def test_without_a_checkpoint_the_float_variant_is_the_gallery(bundle_dir, toy_engines, tmp_path, capsys):
    toy_engines["tflite-int8"] = fakes.ToyRunner(noise=4.0)  # its draws depend on how often it was timed: far beyond doubt
    arguments = [str(bundle_dir), "--seconds", "0", "--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]
    assert run_app(app, arguments) == 0
    assert "gallery indexed by: tflite-float32" in capsys.readouterr().out
    int8 = json.loads((tmp_path / "r.json").read_text())["variants"][1]
    assert int8["asymmetric"][0]["gallery"] == "tflite-float32"
    page = (tmp_path / "r.html").read_text()
    assert "What a gallery costs" in page and "binary" in page
    assert run_app(app, [*arguments, "--max-asymmetric-drop", "0.1"]) == 1
    assert run_app(app, [*arguments, "--variant", "tflite-int8", "--max-asymmetric-drop", "99"]) == 1  # nothing to hold it against
