"""Search against brute force and faiss; the prefilter against a naive implementation of its rule."""

from __future__ import annotations

from pathlib import Path

import golden_vectors as golden
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.console import Failure
from gallery import Content, Gallery, int8_codes, open_gallery, row_codes, sign_bits, write_gallery
from gallery import search as search_module
from gallery.search import candidate_count, search_gallery, search_rows

QUIET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, dimension: int, classes: int, seed: int) -> np.ndarray:
    """Return embeddings in classes, as in retrieval (mean cosine within a class about 0.5)."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, dimension))
    return unit(centres[random.integers(0, classes, count)] + random.normal(size=(count, dimension)))


def make(path: Path, rows: np.ndarray, bits: bool = False) -> Gallery:
    write_gallery(path, Content(golden.MODEL, [f"{i}" for i in range(len(rows))], rows, bits=bits))
    return open_gallery(path)


def brute(codes: np.ndarray, queries: np.ndarray, k: int) -> tuple[list[list[int]], list[list[int]]]:
    products = queries.astype(np.int64) @ codes.astype(np.int64).T
    rows = [sorted(range(len(codes)), key=lambda r, line=line: (-line[r], r))[:k] for line in products.tolist()]
    return rows, [[int(line[r]) for r in order] for line, order in zip(products, rows, strict=True)]


@QUIET
@given(
    st.integers(1, 300),
    st.sampled_from([1, 7, 64, 65, 128]),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_exact_is_exact(tmp_path: Path, count: int, dimension: int, k: int, seed: int, coarse: bool) -> None:
    random = np.random.default_rng(seed)
    # Coarse codes: many equal products, so that ties decide.
    codes = random.integers(-1 if coarse else -127, 2 if coarse else 128, (count, dimension)).astype(np.int8)
    queries = random.integers(-127, 128, (3, dimension)).astype(np.int8)
    found = search_rows(make(tmp_path / "g", codes), queries, k)
    rows, products = brute(codes, queries, min(k, count))
    assert found.rows.tolist() == rows
    assert np.allclose(found.scores, np.array(products) / 127**2, rtol=1e-6)


@pytest.mark.parametrize("dimension", [1024, 1025, 2500])
def test_long_rows_do_not_lose_bits(tmp_path: Path, dimension: int) -> None:
    """Products beyond 2^24, where float32 has gaps: the largest possible product, and one less."""
    codes = np.full((4, dimension), 127, np.int8)
    codes[1, 0] = codes[2, 0] = 126
    codes[0, -1] = 125
    queries = np.full((1, dimension), 127, np.int8)
    found = search_rows(make(tmp_path / "g", codes), queries, 4)
    assert found.rows.tolist() == [[3, 1, 2, 0]]
    assert found.scores[0, 0] == np.float32(dimension)


def test_agrees_with_faiss(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    rows = clustered(3000, 128, 300, 0)
    codes = int8_codes(rows)
    index = faiss.IndexFlatIP(128)
    index.add(codes.astype(np.float32))
    queries = clustered(50, 128, 300, 0)
    distances, expected = index.search(int8_codes(queries).astype(np.float32), 20)
    found = search_gallery(make(tmp_path / "g", codes), queries, 20)
    # faiss breaks ties arbitrarily: products agree everywhere, rows only where products differ.
    assert np.allclose(found.scores * 127**2, distances, atol=0.5)
    alone = np.all(np.diff(distances, axis=1) < 0, axis=1)
    assert alone.sum() > 25 and np.array_equal(found.rows[alone], expected[alone])

    plain = faiss.IndexFlatIP(128)
    plain.add(rows)
    distances, expected = plain.search(queries, 20)
    found = search_gallery(make(tmp_path / "f", rows), queries, 20)
    assert np.allclose(found.scores, distances, atol=1e-6) and (found.rows == expected).mean() > 0.999


def test_int8_ranks_nearly_as_float32(tmp_path: Path) -> None:
    rows, queries = clustered(3000, 128, 300, 1), clustered(200, 128, 300, 1)
    exact = search_gallery(make(tmp_path / "f", rows), queries, 20)
    coded = search_gallery(make(tmp_path / "i", int8_codes(rows)), queries, 20)
    shared = [len(set(a) & set(b)) / 20 for a, b in zip(exact.rows.tolist(), coded.rows.tolist(), strict=True)]
    assert np.mean(shared) > 0.97
    assert np.abs(exact.scores - coded.scores).max() < 0.02


def test_rows_are_equally_long() -> None:
    """In a dense class, a row that rounding made longer would win over a nearer one."""
    rows = unit(np.random.default_rng(0).normal(size=(1, 64)) + 0.1 * np.random.default_rng(1).normal(size=(4000, 64)))
    plain, equal = int8_codes(rows), row_codes(rows)
    spread = [np.linalg.norm(codes.astype(float), axis=1).std() / 127 for codes in (plain, equal)]
    assert spread[1] < spread[0] / 3
    assert np.abs(equal.astype(int) - plain).max() <= 2
    ranked = []
    for codes in (plain, equal):
        products = int8_codes(rows[:300]).astype(int) @ codes.astype(int).T
        true = rows[:300] @ rows.T
        for scores in (products, true):
            np.put_along_axis(scores, np.arange(300)[:, None], -(10**6), axis=1)
        ranked.append((products.argmax(axis=1) == true.argmax(axis=1)).mean())
    assert ranked[1] > ranked[0] + 0.1


@given(st.integers(1, 80), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_row_codes_by_their_rule(dimension: int, seed: int) -> None:
    rows = unit(np.random.default_rng(seed).normal(size=(2, dimension)))
    for row, codes in zip(rows.tolist(), row_codes(rows).tolist(), strict=True):
        tries = []
        for j in range(-64, 65, 2):
            q = [max(-127, min(127, round(value * 127 * (4096 + j) / 4096))) for value in row]
            tries.append((abs(sum(v * v for v in q) - 127**2), abs(j), j, q))
        assert codes == min(tries)[3]


def by_the_rule(codes: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    """The rule of docs/gallery.md, written naively."""
    signs = [[value >= 0 for value in row] for row in codes.tolist()]
    asked = [value >= 0 for value in query.tolist()]
    distances = [sum(a != b for a, b in zip(row, asked, strict=True)) for row in signs]
    count = len(codes)
    wanted = min(count, max(64 * k, -(-count // 50)))
    limit = next(t for t in range(len(asked) + 1) if sum(d <= t for d in distances) >= wanted)
    near = [row for row in range(count) if distances[row] <= limit]
    products = codes.astype(int) @ query.astype(int)
    return sorted(near, key=lambda row: (-products[row], row))[:k]


@pytest.mark.parametrize("dimension", [40, 64, 70, 128])
@pytest.mark.parametrize("seed", range(3))
def test_the_prefilter_keeps_its_rule(tmp_path: Path, dimension: int, seed: int) -> None:
    codes = int8_codes(clustered(700, dimension, 30, seed))
    queries = int8_codes(clustered(4, dimension, 30, seed + 100))
    gallery = make(tmp_path / "g", codes, bits=True)
    for k in (1, 3, 10, 11):
        found = search_rows(gallery, queries, k)
        assert found.rows.tolist() == [by_the_rule(codes, query, k) for query in queries]


def test_how_many_candidates() -> None:
    assert [candidate_count(n, 20) for n in (100, 1280, 64_000, 64_001, 100_000, 10**6)] == [
        100,
        1280,
        1280,
        1281,
        2000,
        20_000,
    ]
    assert candidate_count(100_000, 50) == 3200 and candidate_count(10, 20) == 10


def test_where_signs_say_nothing_the_search_is_exact(tmp_path: Path) -> None:
    codes = np.abs(int8_codes(clustered(2000, 32, 50, 0)))
    gallery = make(tmp_path / "g", codes, bits=True)
    queries = codes[:5]
    assert search_rows(gallery, queries, 5).rows.tolist() == brute(codes, queries, 5)[0]


def test_recall_of_the_prefilter(tmp_path: Path) -> None:
    """Compared with the exact search: neighbours in classes, and the worst case without any structure."""
    rows = clustered(20_000, 128, 2000, 3)
    gallery = make(tmp_path / "g", int8_codes(rows), bits=True)
    queries = clustered(100, 128, 2000, 3)
    found, exact = search_gallery(gallery, queries, 5), search_gallery(gallery, queries, 5, exact=True)
    assert candidate_count(20_000, 5) == 400  # 2 % of the rows
    shared = [len(set(a) & set(b)) / 5 for a, b in zip(found.rows.tolist(), exact.rows.tolist(), strict=True)]
    assert np.mean(shared) > 0.97
    assert (found.rows[:, 0] == exact.rows[:, 0]).mean() > 0.99
    noise = unit(np.random.default_rng(4).normal(size=(100, 128)))
    found, exact = search_gallery(gallery, noise, 5), search_gallery(gallery, noise, 5, exact=True)
    shared = [len(set(a) & set(b)) / 5 for a, b in zip(found.rows.tolist(), exact.rows.tolist(), strict=True)]
    assert 0.3 < np.mean(shared) < 0.99  # it is a filter: without structure it does lose some


def test_counting_bits_without_numpy_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bits = np.random.default_rng(0).integers(0, 2**64, (500, 2), dtype=np.uint64)
    query = np.array([0, 2**64 - 1], np.uint64)
    plain = [bin(int(a)).count("1") + 64 - bin(int(b)).count("1") for a, b in bits]
    assert search_module._hamming(bits, query).tolist() == plain
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert search_module._hamming(bits, query).tolist() == plain
    assert search_module._popcount(sign_bits(np.ones((3, 64), np.int8))[:, 0]).tolist() == [64] * 3


@pytest.mark.parametrize("largest", [1, 127])  # codes of -1, 0 and 1: many equal products, so that ties decide
@pytest.mark.parametrize("k", [1, 7, 60, 200])
def test_many_queries_in_parts_of_the_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int, largest: int
) -> None:
    codes = np.random.default_rng(0).integers(-largest, largest + 1, (200, 48)).astype(np.int8)
    gallery = make(tmp_path / "g", codes)
    rows, products = brute(codes, codes[:30], k)
    for queries, cells in ((1024, 2**24), (1024, 30 * 150), (1024, 30 * 33), (20, 1000), (7, 7)):
        monkeypatch.setattr(search_module, "_QUERIES", queries)
        monkeypatch.setattr(search_module, "_SCORES", cells)
        monkeypatch.setattr(search_module, "_BLOCK_BYTES", 4096)
        found = search_rows(gallery, codes[:30], k)
        assert found.rows.tolist() == rows
        assert np.allclose(found.scores, np.array(products) / 127**2, rtol=1e-6)
    assert search_rows(gallery, codes[:0], k).rows.shape == (0, k)


def test_every_row_is_read_once_for_a_thousand_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading 500,000 rows again for every 33 queries took most of the time."""
    read: list[int] = []
    inner = search_module._scores
    monkeypatch.setattr(search_module, "_scores", lambda rows, *rest: (read.append(len(rows)), inner(rows, *rest))[1])
    monkeypatch.setattr(search_module, "_SCORES", 1000)
    codes = np.random.default_rng(0).integers(-127, 128, (200, 16)).astype(np.int8)
    search_rows(make(tmp_path / "g", codes), codes, 5)
    assert sum(read) == len(codes)


def test_what_a_search_refuses(tmp_path: Path) -> None:
    gallery = make(tmp_path / "g", int8_codes(clustered(10, 16, 2, 0)))
    query = clustered(1, 16, 2, 0)
    with pytest.raises(ValueError, match="below 1"):
        search_gallery(gallery, query, 0)
    with pytest.raises(Failure, match=r"\(1, 15\), .* has 16 dimensions"):
        search_gallery(gallery, query[:, :15])
    for wrong in (query * 2, query * np.nan, query * 0):
        with pytest.raises(ValueError, match="unit length"):
            search_gallery(gallery, wrong)
    with pytest.raises(ValueError, match="gallery stores int8"):
        search_rows(gallery, query)
    with pytest.raises(Failure, match="no sign bits"):
        search_gallery(gallery, query, exact=False)
    with pytest.raises(Failure, match="empty gallery"):
        search_gallery(make(tmp_path / "e", np.zeros((0, 16), np.int8)), query)
    broken = clustered(10, 16, 2, 0)
    broken[3, 3] = np.nan
    with pytest.raises(Failure, match="not finite"):
        search_gallery(make(tmp_path / "n", broken), query)
