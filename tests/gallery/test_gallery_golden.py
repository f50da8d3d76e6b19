"""The committed galleries reveal a change of the format; Java reads the same files."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import golden_vectors as golden
import numpy as np
import pytest

from gallery import check_gallery, int8_codes, open_gallery, row_codes, sign_bits, write_gallery
from gallery.search import search_gallery

FOLDER = golden.FOLDER
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


def stored(name: str) -> np.ndarray:
    return np.fromfile(FOLDER / name, "<f4").reshape(-1, golden.DIMENSION)


def test_codes_and_signs() -> None:
    rows = stored("embeddings.f32")
    codes = int8_codes(rows)
    assert codes.tolist() == EXPECTED["codes"]
    assert row_codes(rows).tolist() == EXPECTED["row_codes"]
    assert codes[4, [0, 1, 63, 69]].tolist() == [64, -64, 64, -64]  # 63.5 to the even neighbour
    assert int8_codes(stored("queries.f32")).tolist() == EXPECTED["query_codes"]
    assert [[f"{w:016x}" for w in row] for row in sign_bits(codes)] == EXPECTED["bits_int8"]
    assert [[f"{w:016x}" for w in row] for row in sign_bits(rows)] == EXPECTED["bits_float32"]
    assert EXPECTED["bits_int8"][5] != EXPECTED["bits_float32"][5]


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_the_committed_file_reads(dtype: str) -> None:
    gallery = open_gallery(FOLDER / f"{dtype}.gallery")
    check_gallery(gallery)
    rows = stored("embeddings.f32")
    assert gallery.ids() == list(golden.IDS) == EXPECTED["ids"]
    kept = int8_codes(rows) if dtype == "int8" else rows
    assert np.array_equal(gallery.embeddings, kept)
    assert [[f"{w:016x}" for w in row] for row in gallery.bits] == EXPECTED[f"bits_{dtype}"]
    assert [bool(gallery.thumbnail(row)) for row in range(golden.COUNT)] == [True, *[False] * 5, True]
    assert gallery.thumbnail(0)[:2] == b"\xff\xd8"
    assert gallery.stamps[3].tolist() == [3000, 2**40 + 3]
    assert gallery.model == golden.MODEL


def test_ranking_of_the_committed_queries() -> None:
    gallery = open_gallery(FOLDER / "int8.gallery")
    found = search_gallery(gallery, stored("queries.f32"), k=golden.COUNT)
    assert found.rows.tolist() == EXPECTED["ranking"]
    assert np.allclose(found.scores, np.array(EXPECTED["products"]) / 127**2, rtol=1e-6)
    assert found.rows[0, :2].tolist() == [1, 2]  # equal images: the lower row first


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_the_writer_still_writes_these_bytes(dtype: str, tmp_path: Path) -> None:
    rows = stored("embeddings.f32")
    content = golden.content(int8_codes(rows) if dtype == "int8" else rows)
    old = open_gallery(FOLDER / f"{dtype}.gallery")
    write_gallery(tmp_path / "new", content)
    new = open_gallery(tmp_path / "new")
    for name in old.header.sections:
        if not name.startswith("thumbnail"):  # another Pillow may write another JPEG
            assert b"".join(new.section(name)) == b"".join(old.section(name)), name


def test_the_layout_without_our_reader() -> None:
    raw = (FOLDER / "int8.gallery").read_bytes()
    magic, version, length = struct.unpack("<8sII", raw[:16])
    assert (magic, version) == (b"DTPGALRY", 1)
    header = json.loads(raw[16 : 16 + length])
    assert (header["count"], header["dimension"], header["dtype"]) == (7, 70, "int8")
    place = header["sections"]["embeddings"]
    codes = np.frombuffer(raw, np.int8, place["bytes"], place["offset"]).reshape(7, 70)
    assert codes.tolist() == EXPECTED["codes"]
    assert all(place["offset"] % 64 == 0 for place in header["sections"].values())
