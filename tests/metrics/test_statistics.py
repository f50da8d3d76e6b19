"""Intervals and tests on paired hits."""

from __future__ import annotations

import time
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.console import Failure
from distill.metrics import bootstrap_ci, mcnemar_exact, paired_drop_ci


def test_two_classes_by_hand():
    # Classes of means 0 and 1 and equal size: a resample has mean 0, 1/2 or 1 with chances
    # 1/4, 1/2, 1/4, so that the middle half lies within [0, 1] and the middle tenth is 1/2.
    values, labels = [0, 0, 1, 1], [0, 0, 1, 1]
    assert bootstrap_ci(values, labels) == (0.0, 1.0)
    assert bootstrap_ci(values, labels, level=0.1) == (0.5, 0.5)


def test_sizes_of_classes_weigh():
    # 3 of class a (all 1), 1 of class b (0): a resample of one each has mean 3/4, not 1/2.
    assert bootstrap_ci([1, 1, 1, 0], ["a", "a", "a", "b"], level=0.1) == (0.75, 0.75)


def test_width_is_that_of_theory():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(400), 10)
    values = random.normal(size=400)[labels] + 5
    low, high = bootstrap_ci(values, labels)
    half = 1.96 * values[::10].std() / np.sqrt(400)
    assert (high - low) / 2 == pytest.approx(half, rel=0.08)
    assert low < values.mean() < high
    # As single images they would look √10 times as certain as they are.
    alone = bootstrap_ci(values, np.arange(4000))
    assert (high - low) / (alone[1] - alone[0]) == pytest.approx(np.sqrt(10), rel=0.15)


def test_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(1)
    means = random.normal(size=60)
    theirs = stats.bootstrap((means,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(2))
    ours = bootstrap_ci(np.repeat(means, 4), np.repeat(np.arange(60), 4), resamples=5000)
    np.testing.assert_allclose(ours, theirs.confidence_interval, atol=0.03)


def test_same_seed_same_interval():
    random = np.random.default_rng(0)
    values, labels = random.normal(size=200), random.integers(0, 30, 200)
    assert bootstrap_ci(values, labels, seed=5) == bootstrap_ci(values, labels, seed=5)
    assert bootstrap_ci(values, labels, seed=5) != bootstrap_ci(values, labels, seed=6)


def test_paired_drop():
    labels = np.repeat(np.arange(50), 6)
    reference = np.random.default_rng(0).random(300) < 0.6
    none = paired_drop_ci(reference, reference, labels)
    assert none == (0.0, (0.0, 0.0))
    worse = reference.copy()
    worse[np.flatnonzero(reference)[:12]] = False
    drop = paired_drop_ci(reference, worse, labels)
    assert drop.value == pytest.approx(12 / 300)
    assert drop.ci95[0] <= drop.value <= drop.ci95[1]
    back = paired_drop_ci(worse, reference, labels)
    assert back.value == -drop.value and back.ci95 == pytest.approx((-drop.ci95[1], -drop.ci95[0]))


def test_paired_drop_leaves_out_lone_queries():
    labels, reference, hits = [0, 0, 1, 1, 2], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]
    assert paired_drop_ci(reference, hits, labels).value == 0.25
    assert paired_drop_ci(reference, hits, labels, counted=[True] * 5).value == pytest.approx(0.4)


def test_ten_thousand_queries_within_a_second():
    random = np.random.default_rng(0)
    values, labels = random.random(10_000), random.integers(0, 5000, 10_000)
    best = min(_seconds(bootstrap_ci, values, labels) for _ in range(3))
    assert best < 1.0


def _seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_ci([1, 2], [0]), "do not match"),
        (lambda: bootstrap_ci([1, 2], [0, 0]), "1 classes"),
        (lambda: bootstrap_ci([], []), "0 classes"),
        (lambda: bootstrap_ci([1, np.nan], [0, 1]), "NaN"),
        (lambda: bootstrap_ci([1, 2], [0, 1], resamples=0), "0 resamples"),
        (lambda: bootstrap_ci([1, 2], [0, 1], level=1), "level 1"),
        (lambda: paired_drop_ci([1, 2], [1], [0, 1]), "differ"),
        (lambda: paired_drop_ci([1, 2], [1, 1], [0, 1], counted=[True]), "mask of shape"),
        (lambda: mcnemar_exact([1], [1, 0]), "differ"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(Failure, match=message) as error:
        call()
    assert error.value.cure


def test_mcnemar_by_hand():
    # 8 differing queries, 1 for the variant: p = 2 · (C(8,0) + C(8,1)) / 2^8 = 18/256.
    result = mcnemar_exact([1] * 7 + [0] + [1, 0], [0] * 7 + [1] + [1, 0])
    assert result == (7, 1, pytest.approx(18 / 256, abs=1e-12))
    assert mcnemar_exact([1, 0], [1, 0]).p_value == 1.0
    assert mcnemar_exact([1, 0], [0, 1]).p_value == 1.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_tail(b, c):
    reference, variant = np.array([1] * b + [0] * c), np.array([0] * b + [1] * c)
    tail = sum(comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c)
    assert mcnemar_exact(reference, variant).p_value == pytest.approx(min(1, 2 * tail), rel=1e-9, abs=1e-12)


def test_mcnemar_agrees_with_scipy_where_powers_overflow():
    stats = pytest.importorskip("scipy.stats")
    for b, c in ((3000, 2900), (2100, 1500), (5000, 5000), (900, 200)):
        reference, variant = np.array([1] * b + [0] * c), np.array([0] * b + [1] * c)
        expected = stats.binomtest(b, b + c).pvalue
        assert mcnemar_exact(reference, variant).p_value == pytest.approx(expected, rel=1e-7, abs=1e-12)
