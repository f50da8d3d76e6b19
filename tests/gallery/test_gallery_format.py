"""A reader either reads a file or refuses it; nothing else may happen."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import golden_vectors as golden
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.console import Failure
from gallery import Content, check_gallery, int8_codes, open_gallery, sign_bits, write_gallery

RAW = (golden.FOLDER / "int8.gallery").read_bytes()
HEADER = json.loads(RAW[16 : 16 + struct.unpack("<I", RAW[12:16])[0]])
QUIET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)


FIRST = min(section["offset"] for section in HEADER["sections"].values())
ROOM = 1024  # for longer headers: the sections move back by so much
MOVED = {name: section["offset"] + ROOM for name, section in HEADER["sections"].items()}


def with_header(path: Path, change, version: int = 1, magic: bytes = b"DTPGALRY") -> Path:
    """Write the golden gallery with another header."""
    header = json.loads(json.dumps(HEADER))
    for name, section in header["sections"].items():
        section["offset"] = MOVED[name]
    found = change(header)
    text = (found if isinstance(found, bytes) else json.dumps(header).encode()).ljust(FIRST + ROOM - 16)
    assert len(text) == FIRST + ROOM - 16
    path.write_bytes(magic + struct.pack("<II", version, len(text)) + text + RAW[FIRST:])
    return path


def patched(path: Path, section: str, at: int, value: bytes) -> Path:
    """Write the golden gallery with other bytes in a section."""
    start = HEADER["sections"][section]["offset"] + at
    path.write_bytes(RAW[:start] + value + RAW[start + len(value) :])
    return path


def place(name: str, **values: int):
    return lambda header: header["sections"][name].update(values)


def test_unknown_fields_and_sections_are_ignored(tmp_path: Path) -> None:
    def change(header: dict) -> None:
        header["later"] = [1, {"a": None}]
        header["model"]["later"] = 1
        del header["model"]["preprocessing"]["mean"]  # has a default
        header["sections"]["later"] = header["sections"]["ids"] | {"offset": MOVED["embeddings"], "bytes": 0}

    gallery = open_gallery(with_header(tmp_path / "g", change))
    assert len(gallery) == 7 and gallery.ids() == list(golden.IDS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda h: h.update(count=8), "section embeddings has 490 bytes instead of 560"),
        (lambda h: h.update(count=-1), "count"),
        (lambda h: h.update(count=2**40), "count"),
        (lambda h: h.update(count="7"), "count"),
        (lambda h: h.update(count=7.0), "count"),
        (lambda h: h.update(dimension=0), "dimension"),
        (lambda h: h.update(dimension=10**30), "dimension"),
        (lambda h: h.update(dtype="float16"), "dtype"),
        (lambda h: h.update(dtype="float32", scale=1.0), "instead of 1960"),
        (lambda h: h.update(scale=0.01), "scale 0.01 instead of"),
        (lambda h: h.update(scale=float("nan")), "scale"),
        (lambda h: h.update(schema_version=2), "schema_version"),
        (lambda h: h["model"].update(sha256="0"), "model.sha256"),
        (lambda h: h["model"].pop("preprocessing"), "model.preprocessing"),
        (lambda h: h.pop("sections"), "sections"),
        (lambda h: h["sections"].pop("embeddings"), "no section 'embeddings'"),
        (lambda h: h["sections"].pop("thumbnails"), "no section 'thumbnails'"),
        (lambda h: h["sections"].pop("thumbnail_offsets"), "no section 'thumbnail_offsets'"),
        (place("ids", offset=2**52), "ends at"),
        (place("ids", offset=-64), "offset"),
        (place("ids", bytes=2**60), "bytes"),
        (place("ids", offset=0), "overlaps the header"),
        (place("embeddings", offset=MOVED["bits"]), "overlaps section"),
        (place("ids", offset=MOVED["ids"] + 1), "not a multiple of 64"),
        (place("bits", bytes=64), "section bits has 64 bytes instead of 112"),
        (lambda h: b"[]", "header"),
        (lambda h: b"{", "header"),
        (lambda h: b"\xff\xfe", "header"),
        (lambda h: b'{"a":' * 200, "header"),
    ],
)
def test_a_header_that_does_not_hold_together(tmp_path: Path, change, says: str) -> None:
    with pytest.raises(Failure, match=f"{tmp_path}.*{says}"):
        open_gallery(with_header(tmp_path / "g", change))


def test_another_magic_version_or_size(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="not a gallery"):
        open_gallery(with_header(tmp_path / "g", lambda h: None, magic=b"DTPGALRX"))
    with pytest.raises(Failure, match="format version 2, this reader supports 1.*update"):
        open_gallery(with_header(tmp_path / "g", lambda h: None, version=2))
    with pytest.raises(Failure, match="format version 0"):
        open_gallery(with_header(tmp_path / "g", lambda h: None, version=0))
    (tmp_path / "g").write_bytes(RAW[:12] + struct.pack("<I", 2**32 - 1) + RAW[16:])
    with pytest.raises(Failure, match="header"):
        open_gallery(tmp_path / "g")
    for content in (b"", b"DTP", b"DTPGALRY", b"\x89PNG\r\n\x1a\n" + bytes(100)):
        (tmp_path / "g").write_bytes(content)
        with pytest.raises(Failure, match="not a gallery|truncated"):
            open_gallery(tmp_path / "g")
    with pytest.raises(Failure, match="no such gallery.*distill-index"):
        open_gallery(tmp_path / "none")
    with pytest.raises(Failure, match="is a folder"):
        open_gallery(tmp_path)


@pytest.mark.parametrize("section", ["id_offsets", "thumbnail_offsets"])
@pytest.mark.parametrize("at, value", [(0, 1), (8, 2**64 - 1), (16, 0), (16, 2**63), (56, 5), (56, 2**64 - 8)])
def test_offsets_that_do_not_ascend(tmp_path: Path, section: str, at: int, value: int) -> None:
    if section == "thumbnail_offsets" and (at, value) == (16, 0):
        value = 10**6  # an empty thumbnail is allowed
    with pytest.raises(Failure, match=f"section {section} does not ascend"):
        open_gallery(patched(tmp_path / "g", section, at, struct.pack("<Q", value)))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"\xff", "is not UTF-8"),
        (b"\0", "holds a NUL"),
        (b"/", "is not a plain relative path"),
        (b"../..", "is not a plain relative path"),
        (b"./a.j", "is not a plain relative path"),
    ],
)
def test_ids_that_are_no_paths(tmp_path: Path, value: bytes, says: str) -> None:
    gallery = open_gallery(patched(tmp_path / "g", "ids", 0, value))
    with pytest.raises(Failure, match=says):
        gallery.id(0)
    with pytest.raises(Failure):
        check_gallery(gallery)


def test_an_id_twice_and_rows_out_of_range(tmp_path: Path) -> None:
    names = "".join(golden.IDS).encode()
    twice = names.replace(b"copies/first.jpgcopies/second.jpg", b"copies/first.jpgcopies/first.jpgX")
    gallery = open_gallery(patched(tmp_path / "g", "ids", 0, twice))
    assert gallery.id(1) == "copies/first.jpg"
    offsets = np.frombuffer(RAW, "<u8", 8, HEADER["sections"]["id_offsets"]["offset"]).copy()
    assert gallery.id(2) == "copies/first.jpgX" and offsets[2] == 21
    for row in (-1, 7):
        with pytest.raises(IndexError):
            gallery.id(row)
        with pytest.raises(IndexError):
            gallery.thumbnail(row)
    with pytest.raises(ValueError, match="given twice"):
        write_gallery(tmp_path / "h", Content(golden.MODEL, ["a", "a"], np.zeros((2, 4), np.int8)))


@QUIET
@given(st.integers(0, len(RAW) - 1))
def test_truncated_anywhere(tmp_path: Path, length: int) -> None:
    (tmp_path / "g").write_bytes(RAW[:length])
    with pytest.raises(Failure):
        open_gallery(tmp_path / "g")


@QUIET
@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_refused_found_or_harmless(tmp_path: Path, at: int, mask: int) -> None:
    """A flipped byte never causes a crash, and never goes unnoticed inside a section."""
    data = bytearray(RAW)
    data[at] ^= mask
    (tmp_path / "g").write_bytes(data)
    inside = any(s["offset"] <= at < s["offset"] + s["bytes"] for s in HEADER["sections"].values())
    try:
        gallery = open_gallery(tmp_path / "g")
        check_gallery(gallery)
    except Failure:
        return
    assert not inside
    assert gallery.ids() == list(golden.IDS)


@QUIET
@given(st.lists(st.tuples(st.integers(16, 1407), st.binary(min_size=1, max_size=12)), max_size=6))
def test_a_header_of_garbage_never_crashes(tmp_path: Path, edits: list[tuple[int, bytes]]) -> None:
    data = bytearray(RAW)
    for at, value in edits:
        data[at : at + len(value)] = value
    (tmp_path / "g").write_bytes(data[: len(RAW)])
    with contextlib.suppress(Failure):
        check_gallery(open_gallery(tmp_path / "g"))


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)


@QUIET
@given(
    st.lists(NAMES, unique=True, max_size=12),
    st.integers(1, 130),
    st.sampled_from(["int8", "float32"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_what_is_written_is_read(
    tmp_path: Path, names: list[str], dimension: int, dtype: str, bits: bool, pictures: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(len(names), dimension))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    kept = int8_codes(rows) if dtype == "int8" else rows
    small = [random.bytes(random.integers(0, 20)) for _ in names]
    header = write_gallery(
        tmp_path / "g", Content(golden.MODEL, names, kept, thumbnails=small if pictures else None, bits=bits)
    )
    gallery = open_gallery(tmp_path / "g")
    check_gallery(gallery)
    assert gallery.header == header and gallery.ids() == names
    assert np.array_equal(gallery.embeddings, kept) and gallery.embeddings.dtype == kept.dtype
    assert [gallery.thumbnail(row) for row in range(len(names))] == (small if pictures else [b""] * len(names))
    assert (gallery.bits is not None) == bits and gallery.has_thumbnails == pictures
    if bits:
        plain = [[row[d] >= 0 for d in range(dimension)] for row in kept.tolist()]
        read = [[bool(int(words[d // 64]) >> (d % 64) & 1) for d in range(dimension)] for words in gallery.bits]
        assert read == plain


def test_signs_below_and_above_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gallery.write.BITS_FROM", 3)
    rows = np.ones((3, 5), np.int8)
    for count, there in ((2, False), (3, True)):
        write_gallery(tmp_path / "g", Content(golden.MODEL, ["a", "b", "c"][:count], rows[:count]))
        assert (open_gallery(tmp_path / "g").bits is not None) == there
    assert sign_bits(rows).tolist() == [[31]] * 3


@pytest.mark.parametrize(
    "value, code", [(0.5, 64), (-0.5, -64), (1.0, 127), (-1.0, -127), (0.0, 0), (1.00001, 127), (1 / 254 - 1e-9, 0)]
)
def test_codes(value: float, code: int) -> None:
    assert int8_codes(np.array([[value]], np.float32)).tolist() == [[code]]


def test_the_product_is_not_rounded_twice() -> None:
    """A value just below 2.5 that a float32 product would round to 2.5, and so to another code."""
    value = np.float32(2.5 / 127)
    while float(value) * 127 >= 2.5:
        value = np.nextafter(value, np.float32(0))
    below = [value]
    while np.float32(value * np.float32(127)) >= 2.5 and len(below) < 4:
        value = np.nextafter(value, np.float32(0))
        below.append(value)
    exact = [round(float(v) * 127) for v in below]  # Python's round: half to even, exact product
    assert int8_codes(np.array([below], np.float32))[0].tolist() == exact


def test_codes_refuse_what_is_no_number() -> None:
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="NaN"):
            int8_codes(np.array([[value]], np.float32))


def test_what_the_writer_refuses(tmp_path: Path) -> None:
    rows = np.zeros((2, 4), np.int8)
    for content, says in [
        (Content(golden.MODEL, ["a"], rows), "1 ids for 2"),
        (Content(golden.MODEL, ["a", "b"], rows.astype(np.int16)), "int16"),
        (Content(golden.MODEL, ["a", "b"], rows[0]), "not int8 or float32"),
        (Content(golden.MODEL, ["a", "b"], rows, thumbnails=[b""]), "1 thumbnails for 2"),
        (
            Content(golden.MODEL, ["a", "b"], rows, thumbnails=[b"x", b""], thumbnail_sizes=[2, 0]),
            "bytes were written instead",
        ),
        (Content(golden.MODEL, ["a", "b"], rows, stamps=np.zeros((1, 2), np.uint64)), "stamps"),
        *((Content(golden.MODEL, ["a", bad], rows), "id ") for bad in ("", "/b", "b\0", "a/../b", "a//b", "\udc80")),
    ]:
        with pytest.raises(ValueError, match=says):
            write_gallery(tmp_path / "g", content)
    assert not list(tmp_path.iterdir())
