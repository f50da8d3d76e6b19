"""Neighbours, Recall@K, MAP@R, R-precision, NMI: by hand, and against what others wrote."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.console import Failure
from distill.metrics import (
    counted_queries,
    hits_at_k,
    map_at_r,
    nearest,
    neighbours,
    nmi,
    r_precision,
    recall_at_k,
    retrieval_scores,
    unit_rows,
)


def angles(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane: neighbours are those of nearest angle."""
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def clusters(classes: int, each: int, dim: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, dim))
    labels = random.permutation(np.repeat(np.arange(classes), each))
    rows = centres[labels] + noise * random.normal(size=(classes * each, dim))
    return unit_rows(rows), labels


def slow_nearest(queries: np.ndarray, gallery: np.ndarray, k: int, exclude_self: bool) -> np.ndarray:
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    if exclude_self:
        np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


# By hand.
#   image   0   1   2   3   4   5
#   angle   0  10  25  45  70 100
#   class   a   b   a   b   a   c
# nearest first: 0: 1 2 3 4 5 | 1: 0 2 3 4 5 | 2: 1 3 0 4 5 | 3: 2 4 1 0 5 | 4: 3 5 2 1 0
ANGLES = angles(0, 10, 25, 45, 70, 100)
CLASSES = ["a", "b", "a", "b", "a", "c"]


def test_nearest_by_hand():
    indices, similarities = nearest(ANGLES, None, 5)
    assert indices[:5].tolist() == [[1, 2, 3, 4, 5], [0, 2, 3, 4, 5], [1, 3, 0, 4, 5], [2, 4, 1, 0, 5], [3, 5, 2, 1, 0]]
    assert similarities[0, 0] == pytest.approx(np.cos(np.deg2rad(10)), abs=1e-6)
    assert indices.dtype == np.int64 and similarities.dtype == np.float32


def test_recall_by_hand():
    # First image of the own class at rank: 0: 2, 1: 3, 2: 3, 3: 3, 4: 3; image 5 is alone in c.
    recall = recall_at_k(ANGLES, CLASSES, ks=(4, 1, 2, 3))
    assert recall == {1: 0.0, 2: 0.2, 3: 1.0, 4: 1.0}
    assert hits_at_k(ANGLES, CLASSES, ks=(2,))[2].tolist() == [True, False, False, False, False, False]
    assert counted_queries(CLASSES).tolist() == [True] * 5 + [False]


def test_map_at_r_and_r_precision_by_hand():
    # Class a has R = 2: image 0 finds one of its two (rank 2: precision 1/2), images 2 and 4 none
    # within two; class b has R = 1: none. MAP@R = (1/2)(1/2)/5, R-precision = (1/2)/5.
    assert map_at_r(ANGLES, CLASSES) == pytest.approx(0.05)
    assert r_precision(ANGLES, CLASSES) == pytest.approx(0.1)


def test_gallery_of_its_own():
    gallery, queries = angles(0, 50, 90), angles(10, 85, 40)
    # Nearest: query 0 → gallery 0, query 1 → 2, query 2 → 1. Class z is not in the gallery.
    assert recall_at_k(queries, ["x", "x", "z"], (1, 2), gallery, ["x", "y", "y"]) == {1: 0.5, 2: 0.5}
    assert counted_queries(["x", "x", "z"], ["x", "y", "y"]).tolist() == [True, True, False]
    # The same rows as queries and as gallery: nothing is excluded, so each finds itself.
    assert recall_at_k(ANGLES, CLASSES, (1,), ANGLES, CLASSES) == {1: 1.0}


def test_k_beyond_the_gallery_takes_all_there_is():
    assert recall_at_k(ANGLES, CLASSES, ks=(5, 100)) == {5: 1.0, 100: 1.0}
    assert retrieval_scores(ANGLES, CLASSES, (5, 100)).recall == {5: 1.0, 100: 1.0}


@pytest.mark.parametrize("count", [7, 3000])  # 3000: the path by blocks, with every row crowded
def test_equal_embeddings_tie_by_index(count):
    same = np.tile(np.linspace(0.1, 1, 33, dtype=np.float32), (count, 1))
    indices, _ = nearest(same, None, 3)
    expected = np.tile([0, 1, 2], (count, 1))
    expected[0], expected[1], expected[2] = [1, 2, 3], [0, 2, 3], [0, 1, 3]
    np.testing.assert_array_equal(indices, expected)


def test_ties_among_others_by_index():
    rows, _ = clusters(1500, 1, 16, 0.0)
    gallery = np.concatenate([rows, rows[::-1], rows])  # each row at i, 2999 − i and 3000 + i
    indices, _ = nearest(rows, gallery, 3)
    place = np.arange(1500)
    np.testing.assert_array_equal(indices, np.stack([place, 2999 - place, 3000 + place], axis=1))


def test_zero_rows_are_far_from_all_but_break_nothing():
    rows = np.array([[0, 0], [1, 0], [1, 0.1]], dtype=np.float32)
    indices, similarities = nearest(rows, None, 2)
    assert indices.tolist() == [[1, 2], [2, 0], [1, 0]]
    assert similarities[0].tolist() == [0, 0]


def test_huge_and_tiny_rows_are_normalised():
    rows = np.array([[3e38, 3e38], [1e-40, 0], [0, 1e-30]], dtype=np.float32)
    np.testing.assert_allclose(np.linalg.norm(unit_rows(rows), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("chunk", [7, 1024])
def test_nearest_agrees_with_a_full_sort(k, chunk):
    rows, _ = clusters(300, 4, 24, 0.8)
    gallery, _ = clusters(1501, 1, 24, 0.0, seed=1)
    np.testing.assert_array_equal(nearest(rows, None, k, chunk=chunk)[0], slow_nearest(rows, rows, k, True))
    np.testing.assert_array_equal(nearest(rows, gallery, k, chunk=chunk)[0], slow_nearest(rows, gallery, k, False))


@pytest.mark.parametrize("count", [1024, 1025, 1700])
@pytest.mark.parametrize("k", [1, 2])
def test_tiles_agree_with_a_full_sort(monkeypatch, count, k):
    monkeypatch.setattr(neighbours, "_TILE", 512)
    rows, _ = clusters(count, 1, 24, 0.0)
    indices, similarities = nearest(rows, None, k)
    np.testing.assert_array_equal(indices, slow_nearest(rows, rows, k, True))
    np.testing.assert_allclose(similarities, (rows[indices] * rows[:, None]).sum(-1), atol=1e-6)


@pytest.mark.parametrize("tile", [512, 4096])
@pytest.mark.parametrize("dim", [16, 64])
def test_ties_of_unlike_rows_by_index(monkeypatch, tile, dim):
    # Rows of ±1: after normalisation all products are exact in float32, and most of them tie.
    monkeypatch.setattr(neighbours, "_TILE", tile)
    rows = np.unique(np.random.default_rng(0).choice([-1.0, 1.0], size=(1700, dim)), axis=0)
    rows = np.random.default_rng(1).permutation(rows)
    for k in (1, 2, 9):
        np.testing.assert_array_equal(nearest(rows, None, k)[0], slow_nearest(rows, rows, k, True))


def test_memory_of_a_search_among_themselves(monkeypatch):
    """Candidates of every tile were kept to the end: their number grew with the number of tiles."""
    import tracemalloc

    monkeypatch.setattr(neighbours, "_TILE", 512)
    peaks, counts = [], (4_096, 16_384)
    for count in counts:
        rows = unit_rows(np.random.default_rng(0).normal(size=(count, 4)))
        tracemalloc.start()
        nearest(rows, None, 2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 200 with at most 4 · 2 candidates of 20 bytes; 470 without the limit, and more the more tiles there are.
    assert (peaks[1] - peaks[0]) / (counts[1] - counts[0]) < 300


def test_nearest_agrees_with_faiss():
    faiss = pytest.importorskip("faiss")
    rows, _ = clusters(500, 5, 64, 1.0)
    index = faiss.IndexFlatIP(64)
    index.add(rows)
    theirs, places = index.search(rows, 9)
    ours = nearest(rows, rows, 9)
    np.testing.assert_allclose(ours[1], theirs, atol=1e-6)
    # Where the order differs, the two are equal up to rounding.
    differing = ours[0] != places
    gaps = np.abs((rows[ours[0]] * rows[:, None]).sum(-1) - theirs)
    assert differing.mean() < 1e-3 and gaps[differing].max(initial=0) < 1e-6


@pytest.mark.parametrize("own_gallery", [False, True])
def test_agrees_with_pytorch_metric_learning(own_gallery):
    pytest.importorskip("faiss")
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    rows, labels = clusters(80, 9, 32, 1.3)
    labels[:5] = 1000 + np.arange(5)  # classes of one image
    arguments = (rows, labels)
    if own_gallery:
        arguments = (rows[:200], labels[:200], rows[200:], labels[200:])
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    theirs = AccuracyCalculator(include=names, k="max_bin_count").get_accuracy(*arguments)
    ours = retrieval_scores(arguments[0], arguments[1], (1,), *arguments[2:])
    assert 0.1 < ours.map_at_r < 0.9
    assert ours.recall[1] == pytest.approx(theirs["precision_at_1"], abs=1e-6)
    assert ours.r_precision == pytest.approx(theirs["r_precision"], abs=1e-6)
    assert ours.map_at_r == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-6)
    assert recall_at_k(arguments[0], arguments[1], (1,), *arguments[2:]) == ours.recall
    assert ours.average_precision[ours.counted].mean() == pytest.approx(ours.map_at_r)


def test_nmi_agrees_with_pytorch_metric_learning():
    pytest.importorskip("sklearn")
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from sklearn.cluster import KMeans

    rows, labels = clusters(12, 10, 16, 0.9)

    def means(query, count):
        return KMeans(count, n_init=1, random_state=3).fit_predict(query.numpy())

    import torch

    theirs = AccuracyCalculator(
        include=("NMI",), kmeans_func=means, knn_func=lambda *_: None, device=torch.device("cpu")
    ).get_accuracy(rows, labels)["NMI"]
    assert nmi(rows, labels, seed=3) == pytest.approx(theirs, abs=1e-6)
    assert 0.3 < theirs < 0.99


def test_nmi_of_clear_and_of_collapsed_embeddings():
    pytest.importorskip("sklearn")
    rows, labels = clusters(8, 10, 32, 0.05)
    assert nmi(rows, labels, restarts=5) == pytest.approx(1.0)
    assert nmi(np.ones((20, 4)), np.arange(20) % 2) == pytest.approx(0.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 6), st.integers(1, 8), st.booleans())
def test_properties(seed, count, classes, dim, doubled):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(count, dim))
    labels = random.integers(0, classes, count)
    if doubled:
        rows = np.concatenate([rows, rows])
        labels = np.concatenate([labels, random.integers(0, classes, count)])
    if not counted_queries(labels).any():
        with pytest.raises(Failure, match="no query"):
            recall_at_k(rows, labels)
        return
    scores = retrieval_scores(rows, labels, ks=(1, 2, 4, 8, 16))
    values = list(scores.recall.values())
    assert values == sorted(values) and values[0] >= 0 and values[-1] <= 1
    assert 0 <= scores.map_at_r <= scores.r_precision + 1e-12 <= 1 + 1e-12
    # Scale of single rows does not matter.
    scaled = rows * random.uniform(0.5, 2, size=(len(rows), 1))
    assert recall_at_k(scaled, labels) is not None
    if not doubled and dim > 1:  # without ties the order of the images does not matter
        order = random.permutation(len(rows))
        moved = retrieval_scores(rows[order], labels[order], ks=(1, 2, 4, 8, 16))
        assert moved.recall == pytest.approx(scores.recall)
        assert moved.map_at_r == pytest.approx(scores.map_at_r)
        assert recall_at_k(scaled, labels, ks=(1, 2)) == {k: scores.recall[k] for k in (1, 2)}
    np.testing.assert_array_equal(nearest(rows, None, 1, chunk=3)[0], nearest(rows, None, 1)[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_broken_embeddings_fail_by_row(bad):
    rows = np.ones((4, 3), dtype=np.float32)
    rows[2, 1] = bad
    for call in (
        lambda: recall_at_k(rows, [0, 0, 1, 1]),
        lambda: map_at_r(rows, [0, 0, 1, 1]),
        lambda: nmi(rows, [0, 0, 1, 1]),
    ):
        with pytest.raises(Failure, match="row 2 contains NaN or infinity"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recall_at_k(np.zeros((0, 4)), []), "got shape"),
        (lambda: recall_at_k(np.zeros(4), [0] * 4), "got shape"),
        (lambda: recall_at_k(np.ones((2, 2), dtype=complex), [0, 0]), "expected real numbers"),
        (lambda: recall_at_k(ANGLES, CLASSES[:-1]), "labels: expected 6"),
        (lambda: recall_at_k(ANGLES, CLASSES, ks=(0, 1)), "K must be 1 or more"),
        (lambda: recall_at_k(ANGLES, CLASSES, ks=()), "K must be 1 or more"),
        (lambda: recall_at_k(ANGLES, range(6)), "no query"),
        (lambda: map_at_r(ANGLES, range(6)), "no query"),
        (lambda: recall_at_k(ANGLES[:1], [0]), "no query"),
        (lambda: recall_at_k(ANGLES, CLASSES, (1,), ANGLES), "only one was given"),
        (lambda: recall_at_k(ANGLES, CLASSES, (1,), ANGLES, CLASSES[:2]), "gallery labels: expected 6"),
        (lambda: recall_at_k(ANGLES, CLASSES, (1,), np.eye(3), ["a", "b", "c"]), "2 dimensions, the gallery 3"),
        (lambda: recall_at_k(ANGLES, CLASSES, (1,), ANGLES, range(6)), "same kind of label"),
        (lambda: nearest(ANGLES, None, 6), "6 neighbours requested, 5 available"),
        (lambda: nearest(ANGLES, None, 0), "0 neighbours requested"),
        (lambda: nearest(ANGLES, ANGLES[:2], 1, exclude_self=True), "cannot be the first rows"),
    ],
)
def test_wrong_arguments_fail_in_one_line(call, message):
    with pytest.raises(Failure, match=message) as error:
        call()
    assert "\n" not in str(error.value) and error.value.cure


def test_import_is_light():
    code = (
        "import sys, numpy as np, distill.metrics as m; m.recall_at_k(np.eye(4), [0, 0, 1, 1]);"
        "bad = {'torch', 'tensorflow', 'faiss', 'sklearn', 'scipy', 'timm'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
