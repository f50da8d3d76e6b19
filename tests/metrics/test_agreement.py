"""Neighbour agreement against scipy, sets in plain Python, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.console.errors import Failure
from distill.metrics import agreement_of, bootstrap_ci, neighbour_agreement, neighbour_lists, paired_drop_ci
from distill.metrics.agreement import RANKED


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 160), st.integers(0, 2**32 - 1), st.floats(0, 2), st.sampled_from([0.0, 0.25]))
def test_against_scipy_and_sets(count: int, seed: int, noise: float, grid: float) -> None:
    random = np.random.default_rng(seed)
    first = random.normal(size=(count, 6))
    second = first + noise * random.normal(size=first.shape)
    if grid:  # coarse values: many similarities are equal
        first, second = np.round(first / grid) * grid, np.round(second / grid) * grid
    found = neighbour_agreement(first, second)
    lists = [neighbour_lists(rows) for rows in (first, second)]
    assert set(found.overlap) == {k for k in (1, 10, 20) if k < count - 1} or (count < 4 and set(found.overlap) == {1})
    depth = min(RANKED, count - 1)
    for query in range(count):
        for k, shares in found.overlaps.items():
            expected = len(set(lists[0].found[query, :k]) & set(lists[1].found[query, :k])) / k
            assert shares[query] == pytest.approx(expected)
        near = lists[0].found[query]
        assert len(set(near)) == depth and query not in near
        similarities = [one.gallery[near].astype(np.float64) @ one.queries[query].astype(np.float64) for one in lists]
        if depth > 1 and all(np.ptp(values) > 1e-6 for values in similarities):
            # Similarities that are equal but for rounding are ties for neither or for both.
            rounded = [np.round(values, 9) for values in similarities]
            assert found.correlations[query] == pytest.approx(scipy.stats.spearmanr(*rounded).statistic, abs=0.02)


def test_exact_against_scipy_without_ties() -> None:
    random = np.random.default_rng(5)
    first = random.normal(size=(300, 12))
    second = first + random.normal(size=first.shape)
    found = neighbour_agreement(first, second)
    rows = [unit(first), unit(second)]
    for query in range(0, 300, 7):
        near = np.argsort(-(rows[0] @ rows[0][query]))
        near = near[near != query][:RANKED]
        expected = scipy.stats.spearmanr(rows[0][near] @ rows[0][query], rows[1][near] @ rows[1][query]).statistic
        assert found.correlations[query] == pytest.approx(expected, abs=1e-9)
    assert found.correlation == pytest.approx(found.correlations.mean())


def test_chance_and_identity() -> None:
    random = np.random.default_rng(1)
    first, other = random.normal(size=(2, 500, 64))
    same = neighbour_agreement(first, first * 3)
    assert same.overlap == {1: 1.0, 10: 1.0, 20: 1.0} and same.correlation == pytest.approx(1)
    chance = neighbour_agreement(first, other)
    assert chance.overlap[20] == pytest.approx(20 / 499, abs=0.01)
    assert chance.correlation is not None and abs(chance.correlation) < 0.03


def test_opposite_order_of_the_same_images() -> None:
    angles = np.array([0.0, 0.1, 0.3, 0.6, 1.0])  # from the first image, all others in one order …
    first = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    second = first[[0, 4, 3, 2, 1]]  # … and in the opposite one
    found = neighbour_agreement(first, second, ks=(1, 2))
    assert found.overlaps[1][0] == 0 and found.overlaps[2][0] == 0 and found.correlations[0] == pytest.approx(-1)


def test_constant_similarities_have_no_order() -> None:
    random = np.random.default_rng(2)
    found = neighbour_agreement(random.normal(size=(30, 4)), np.ones((30, 4)))
    assert np.isnan(found.correlations).all() and found.correlation is None
    assert found.overlap[10] > 0  # lists of equal images begin with the first ones


def test_some_queries_and_another_gallery() -> None:
    random = np.random.default_rng(3)
    teacher = random.normal(size=(60, 5))
    student = teacher + 0.3 * random.normal(size=teacher.shape)
    asked = np.array([3, 17, 59])
    whole = agreement_of(neighbour_lists(teacher), neighbour_lists(student))
    part = agreement_of(neighbour_lists(teacher, asked), neighbour_lists(student, asked))
    assert part.overlaps[10].tolist() == whole.overlaps[10][asked].tolist()
    assert part.correlations.tolist() == whole.correlations[asked].tolist()
    mixed = neighbour_lists(student, asked, gallery=teacher)
    rows = unit(teacher) @ unit(student)[17]
    rows[17] = -np.inf
    assert mixed.found[1, :10].tolist() == np.argsort(-rows)[:10].tolist()


def test_copies_do_not_push_the_query_into_its_list() -> None:
    rows = np.repeat(np.eye(2, 3), 120, axis=0)  # more equal rows than are searched
    lists = neighbour_lists(rows)
    assert lists.found.shape == (240, RANKED)
    assert all(query not in found for query, found in enumerate(lists.found))


def test_mismatched_inputs_are_refused() -> None:
    rows = np.eye(5)
    with pytest.raises(Failure, match="2 images.*three or more"):
        neighbour_agreement(rows[:2], rows[:2])
    with pytest.raises(Failure, match="5 and 4 queries.*same images"):
        neighbour_agreement(rows, rows[:4])
    with pytest.raises(Failure, match="NaN"):
        neighbour_agreement(rows, np.full((5, 2), np.nan))


def test_bootstrap_over_queries_is_the_textbook_one() -> None:
    values = np.random.default_rng(4).normal(size=400)
    low, high = bootstrap_ci(values, None, resamples=4000)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert low == pytest.approx(expected.low, abs=0.01) and high == pytest.approx(expected.high, abs=0.01)
    drop = paired_drop_ci(values, values - 0.25, None)
    assert drop.value == pytest.approx(0.25) and drop.ci95 == pytest.approx((0.25, 0.25))
