from __future__ import annotations

import builtins
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.console.errors import Failure
from distill.data import glyph_table
from distill.data.glyph_table import (
    FACES,
    characters,
    choose_characters,
    parse_ranges,
    shared_characters,
    to_ranges,
)
from distill.data.glyphs import open_glyphs, render_glyph
from distill.data.spec import open_data
from distill.data.split import split


def ink(code: int, face: str = "DejaVuSans", size: int = 64) -> np.ndarray:
    pixels = np.asarray(render_glyph(code, face, size))
    assert pixels.shape == (size, size, 3) and (pixels == pixels[:, :, :1]).all()
    return 255 - pixels[:, :, 0].astype(int)


def test_default_is_1929_characters_in_12_faces() -> None:
    images = open_data("glyphs")
    assert (len(images.classes), len(images)) == (1929, 1929 * 12)
    assert images.classes[0] == "U+0021" and "U+0041" in images.classes
    assert not images.flip
    assert np.bincount(images.labels).tolist() == [12] * 1929
    assert "U+0041/DejaVuSans-Bold" in images.keys
    assert list(images.classes) == [f"U+{code:04X}" for code in characters()]


@pytest.mark.slow
def test_the_table_can_be_made_again() -> None:
    again = set(choose_characters(shared_characters()))
    table = set(characters())
    # Anti-aliasing differs a little between FreeType versions: a few borderline pairs may flip.
    assert len(again & table) / len(again | table) > 0.99


def test_lookalikes_are_one_class_and_different_ones_are_not() -> None:
    table = set(characters())
    for kept, dropped in (("A", "ΑА"), ("o", "οо"), ("c", "сϲ"), ("B", "ВΒ"), ("µ", "μ"), (".", "·")):
        assert ord(kept) in table and not table & set(map(ord, dropped))
    assert set(map(ord, "ABCXYZabcxyz0123456789ΔΩЖЯλπ→∞")) <= table
    assert not table & {0x20, 0xA0, 0x2003}


@given(st.sets(st.integers(0, 500)))
def test_ranges_both_ways(codes: set[int]) -> None:
    assert parse_ranges(to_ranges(sorted(codes))) == sorted(codes)


def test_black_on_white_centred_and_in_the_frame() -> None:
    for code in characters()[::37]:
        for face in FACES:
            image = ink(code, face)
            rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
            assert rows.size and rows[0] >= 1 and rows[-1] <= 62 and columns[0] >= 1 and columns[-1] <= 62
            assert abs(rows[0] - (63 - rows[-1])) <= 1 and abs(columns[0] - (63 - columns[-1])) <= 1
    assert len(np.unique(ink(ord("S")))) > 3, "edges are anti-aliased"


def test_one_scale_for_all_but_the_largest() -> None:
    def height(text: str) -> int:
        return int(ink(ord(text)).any(1).sum())

    assert height("x") < 0.8 * height("X") < height("g")
    assert height("H") == height("E") > 30


def test_scale_follows_the_size() -> None:
    for size in (16, 33, 64, 200):
        assert 0.5 < ink(ord("H"), size=size).any(1).sum() / size < 0.65


def test_classes_are_spread_over_the_scripts() -> None:
    images = open_glyphs("s", classes=100, faces=2)
    assert len(images.classes) == 100 and len(images) == 200
    assert images.classes[0] == "U+0021" and images.classes[-1] > "U+2700"
    assert len(open_glyphs("s", classes=1929)) == 1929 * 12
    assert open_glyphs("s", classes=2).classes[1] > "U+0400"
    assert {key.partition("/")[2] for key in open_glyphs("s", faces=3).keys} == {
        "DejaVuSans",
        "DejaVuSerif",
        "DejaVuSansMono",
    }


def test_reads_what_it_names() -> None:
    images = open_data("glyphs:classes=50,size=40,faces=12,clean=yes")
    index = images.keys.index("U+0021/DejaVuSerif-Bold")
    np.testing.assert_array_equal(
        np.asarray(images.read(index)), np.asarray(render_glyph(0x21, "DejaVuSerif-Bold", 40))
    )
    assert images.read_bytes(index) is None
    test = split(images, "half", "test")
    assert np.asarray(test.read(0)).shape == (40, 40, 3) and test.keys[0].startswith(test.classes[0])


def test_no_image_is_there_twice_and_the_ink_stays_darker_than_the_paper() -> None:
    images = open_data("glyphs:classes=120")
    decoded = [np.asarray(images.read(i)) for i in range(len(images))]
    assert len({p.tobytes() for p in decoded}) == len(decoded)
    clean = open_data("glyphs:classes=120,clean=yes")
    assert len({np.asarray(clean.read(i)).tobytes() for i in range(len(clean))}) < len(clean)
    for image in decoded:
        grey = image.mean(2)
        paper = np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]))
        assert grey.min() < paper - 30


def test_threads_and_another_process_see_the_same() -> None:
    images = open_data("glyphs:classes=60")
    alone = [np.asarray(images.read(i)).tobytes() for i in range(len(images))]
    with ThreadPoolExecutor(8) as pool:
        assert [np.asarray(p).tobytes() for p in pool.map(images.read, range(len(images)))] == alone
    code = "from distill.data.spec import open_data; print(open_data('glyphs:classes=60').fingerprint())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "7"}
    )
    assert done.stdout.strip() == images.fingerprint()


def test_fingerprint_knows_the_options() -> None:
    specs = ("glyphs", "glyphs:size=32", "glyphs:faces=6", "glyphs:classes=100")
    assert len({open_data(spec).fingerprint() for spec in specs}) == 4


def test_rendering_costs_less_than_a_millisecond() -> None:
    images = open_data("glyphs:classes=100")
    images.read(0)
    best = min(_seconds(images.read, range(i, len(images), 3)) for i in range(3))
    assert best / 400 < 1e-3  # 0.05 ms on an idle machine


def _seconds(read, indices) -> float:
    started = time.perf_counter()
    for i in indices:
        read(i)
    return time.perf_counter() - started


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: object, **kwargs: object) -> object:
        if name == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    glyph_table._font_folder.cache_clear()
    with pytest.raises(Failure, match="pip install matplotlib"):
        open_data("glyphs")


def test_without_the_fonts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(glyph_table, "_font_folder", lambda: tmp_path)
    with pytest.raises(Failure, match="DejaVuSans.ttf is missing"):
        open_data("glyphs")
