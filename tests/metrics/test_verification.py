"""Accuracy on pairs: by hand, and against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.console import Failure
from distill.metrics import verification_accuracy
from distill.metrics.verification import _student, accuracy_at, best_threshold, pair_similarities


def test_two_sets_by_hand():
    # Set 0: same at 0.9 and 0.6, different at 0.5 and 0.1. Set 1: same at 0.8 and 0.4, different at 0.3 and 0.2.
    similarities = [0.9, 0.6, 0.5, 0.1, 0.8, 0.4, 0.3, 0.2]
    same = [True, True, False, False] * 2
    fold = [0] * 4 + [1] * 4
    found = verification_accuracy(similarities, same, fold)
    # Set 1 separates at (0.3 + 0.4) / 2: with it, set 0 takes 0.5 for the same: 3 of 4.
    # Set 0 separates at (0.5 + 0.6) / 2: with it, set 1 takes 0.4 for different: 3 of 4.
    assert found.thresholds == pytest.approx((0.35, 0.55))
    assert found.accuracies == (0.75, 0.75) and found.accuracy == 0.75
    assert found.standard_error == 0 and found.ci95 == (0.75, 0.75)


def test_mean_error_and_interval_by_hand():
    # Both sets separate between 0.4 and 0.6; set 1 has one pair on the wrong side.
    similarities = [0.9, 0.8, 0.2, 0.1, 0.9, 0.6, 0.4, 0.95]
    same = [True, True, False, False] * 2
    found = verification_accuracy(similarities, same, [0] * 4 + [1] * 4)
    assert found.accuracies == (1.0, 0.75)
    assert found.accuracy == 0.875 and found.standard_error == pytest.approx(0.125)  # 0.1768 / √2
    assert found.ci95 == (0.0, 1.0)  # two sets say nearly nothing: ± 12.7 · 0.125


@pytest.mark.parametrize(
    ("similarities", "same", "threshold"),
    [
        ([0.2, 0.8], [False, True], 0.5),
        ([0.8, 0.2], [False, True], 0.2 - 1e-6),  # nothing helps: all the same, the lowest
        ([0.5, 0.5], [True, False], 0.5 - 1e-6),  # equal values cannot be separated
        ([0.5, 0.5, 0.5], [True, False, False], 0.5 + 1e-6),
        ([0.1, 0.2, 0.3, 0.4], [False, True, False, True], 0.15),  # as good as 0.35: the lowest
        ([0.7], [True], 0.7 - 1e-6),
    ],
)
def test_thresholds_by_hand(similarities, same, threshold):
    assert best_threshold(similarities, same) == pytest.approx(threshold, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(0, 2**32 - 1), st.booleans())
def test_no_threshold_is_better_says_scikit_learn(count, seed, coarse):
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(seed)
    same = random.permutation(np.arange(count) % 2 == 0)
    values = np.round(random.normal(size=count) + same, 1 if coarse else 9)
    false, true, _ = metrics.roc_curve(same, values, drop_intermediate=False)
    best = ((1 - false) * (~same).sum() + true * same.sum()).max() / count
    assert metrics.accuracy_score(same, values >= best_threshold(values, same)) == pytest.approx(best)


def test_ten_sets_against_scikit_learn_and_scipy():
    metrics, stats = pytest.importorskip("sklearn.metrics"), pytest.importorskip("scipy.stats")
    model_selection = pytest.importorskip("sklearn.model_selection")
    random = np.random.default_rng(0)
    fold = np.repeat(np.arange(10), 60)
    same = np.tile([True, False], 300)
    values = random.normal(size=600) + 1.5 * same
    found = verification_accuracy(values, same, fold)
    expected = []
    for train, test in model_selection.PredefinedSplit(fold).split():
        false, true, candidates = metrics.roc_curve(same[train], values[train], drop_intermediate=False)
        scores = np.round((1 - false) * (~same[train]).sum() + true * same[train].sum())  # pairs told rightly
        # roc_curve goes down: the last of the best is the lowest, and every threshold up to the next value below is the same.
        lowest = candidates[len(scores) - 1 - int(np.argmax(scores[::-1]))]
        expected.append(metrics.accuracy_score(same[test], values[test] >= lowest))
    assert np.abs(np.array(found.accuracies) - expected).max() <= 1 / 60 + 1e-9  # a test pair may lie within the gap
    assert found.accuracy == pytest.approx(np.mean(expected), abs=0.003)
    assert found.standard_error == pytest.approx(stats.sem(found.accuracies))
    assert found.ci95 == pytest.approx(stats.t.interval(0.95, 9, found.accuracy, found.standard_error), abs=1e-5)
    assert len(found.thresholds) == 10


def test_quantiles_of_student():
    stats = pytest.importorskip("scipy.stats")
    for degrees in [*range(1, 40), 99, 999]:
        assert _student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=4e-3)


def test_a_given_threshold_and_wilsons_interval():
    found = accuracy_at([0.9, 0.6, 0.5, 0.1], [True, True, False, False], 0.55)
    assert found.accuracy == 1.0 and found.ci95 == pytest.approx((0.5101, 1.0), abs=1e-4)  # 4 / (4 + 1.96²)
    found = accuracy_at([0.55, 0.6, 0.5, 0.1], [True, True, False, True], 0.55)
    assert found.accuracy == 0.75 and found.thresholds == (0.55,)  # at the threshold counts as the same


def test_similarities_of_pairs():
    rows = [[2, 0], [0, 3], [1, 1]]
    assert pair_similarities(rows, [0, 0, 2], [1, 2, 2]) == pytest.approx([0, np.sqrt(0.5), 1])


def test_what_is_refused():
    for values, same, says in [
        ([], [], "similarities"),
        ([0.1], [True, False], "similarities"),
        ([np.nan], [True], "NaN"),
    ]:
        with pytest.raises(Failure, match=says):
            best_threshold(values, same)
    with pytest.raises(Failure, match="no other to choose the threshold on"):
        verification_accuracy([0.1, 0.2], [True, False], [3, 3])
    with pytest.raises(Failure, match="set of each pair"):
        verification_accuracy([0.1, 0.2], [True, False], [3])
