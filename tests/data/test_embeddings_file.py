"""Files of stored vectors: every form reads back what was written, and anything else is refused in one line."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distill.console import Failure
from distill.data.embeddings_file import read_embeddings, write_embeddings

NAMES = ["a/1.jpg", "a/2.jpg", "b/1.jpg"]
VECTORS = np.array([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0]], np.float32)


def write_npz(folder: Path, names: list[str], vectors: np.ndarray) -> Path:
    write_embeddings(folder / "x.npz", names, vectors)
    return folder / "x.npz"


def write_npy(folder: Path, names: list[str], vectors: np.ndarray) -> Path:
    np.save(folder / "x.npy", vectors)
    (folder / "x.txt").write_bytes("".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape"))
    return folder / "x.npy"


def write_parquet(folder: Path, names: list[str], vectors: np.ndarray) -> Path:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"id": range(len(names)), "name": names, "embedding": list(vectors)})
    parquet.write_table(table, folder / "x.parquet")
    return folder / "x.parquet"


WRITERS = [write_npz, write_npy, write_parquet]


@pytest.mark.parametrize("write", WRITERS)
def test_what_was_written_is_read(tmp_path, write):
    found = read_embeddings(write(tmp_path, NAMES, VECTORS))
    assert found.names == tuple(NAMES) and found.size == 2 and len(found.sha256) == 64
    assert np.array_equal(found.vectors, VECTORS)
    assert np.allclose(found.unit(np.array([0, 2])), [[0.6, 0.8], [-1, 0]])
    assert np.allclose(np.concatenate(list(found.blocks())), [[0.6, 0.8], [0, 1], [-1, 0]])


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(TEXT, min_size=1, max_size=6),
    size=st.integers(1, 5),
    dtype=st.sampled_from(["<f2", "<f4", "<f8", "<i1", "<i4"]),
    data=st.data(),
)
def test_any_names_and_numbers_make_the_round_trip(tmp_path_factory, names, size, dtype, data):
    numbers = st.integers(-100, 100).filter(bool)
    vectors = data.draw(hnp.arrays(np.dtype(dtype), (len(names), size), elements=numbers))
    folder = tmp_path_factory.mktemp("files")
    plain = [name.replace("\\", "/").removeprefix("./") for name in names]
    for write in (write_npz, write_npy):
        found = read_embeddings(write(folder, names, vectors))
        # NumPy's fixed-width strings drop NULs only, which names of files cannot hold.
        assert list(found.names) == plain and np.array_equal(found.vectors, vectors)
        match = found.match(names)
        for name, row in zip(names, match.rows, strict=True):
            if name not in match.repeated:
                assert np.array_equal(vectors[row], vectors[names.index(name)])


@settings(max_examples=150, deadline=None)
@given(
    suffix=st.sampled_from([".npz", ".npy", ".parquet"]),
    content=st.binary(max_size=200),
    start=st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"PAR1"]),
)
def test_any_other_bytes_are_one_line(tmp_path_factory, suffix, content, start):
    folder = tmp_path_factory.mktemp("noise")
    path = folder / f"x{suffix}"
    path.write_bytes(start + content)
    path.with_suffix(".txt").write_text("a\n")
    with pytest.raises(Failure) as found:
        read_embeddings(path)
    assert "\n" not in str(found.value) and str(path) in str(found.value)


@settings(max_examples=100, deadline=None)
@given(place=st.integers(-(10**6), 10**6), byte=st.integers(0, 255))
@example(place=-6, byte=255)  # the zip directory then begins before the file
def test_a_changed_byte_is_one_line_or_harmless(tmp_path_factory, place, byte):
    folder = tmp_path_factory.mktemp("changed")
    path = write_npz(folder, NAMES, VECTORS)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(content)
    try:
        found = read_embeddings(path)
    except Failure as failure:
        assert "\n" not in str(failure)
    else:
        assert len(found.names) == len(found.vectors) and np.isfinite(found.vectors.astype(float)).all()


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_nothing_is_unpickled(tmp_path, suffix):
    sprung = tmp_path / "sprung"
    trap = np.empty(1, object)
    trap[0] = Trap(sprung)
    path = tmp_path / f"x{suffix}"
    if suffix == ".npz":
        np.savez(path, names=trap, embeddings=VECTORS[:1])
    else:
        np.save(path, trap, allow_pickle=True)
        path.with_suffix(".txt").write_text("a\n")
    with pytest.raises(Failure, match="Python objects|plain array"):
        read_embeddings(path)
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(Failure):
        read_embeddings(path)
    assert not sprung.exists()


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def bad_value(value: float) -> np.ndarray:
    changed = VECTORS.copy()
    changed[1] = value
    return changed


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (dict(names=np.array(NAMES), embeddings=bad_value(np.nan)), "'a/2.jpg' (row 1) is not finite"),
        (dict(names=np.array(NAMES), embeddings=bad_value(np.inf)), "not finite"),
        (dict(names=np.array(NAMES), embeddings=bad_value(0)), "'a/2.jpg' (row 1) is all zero"),
        (dict(names=np.array(NAMES[:2]), embeddings=VECTORS), "2 names for 3 vectors"),
        (dict(names=np.array(NAMES), embeddings=VECTORS[0]), "expected numbers [images, dimensions]"),
        (dict(names=np.array(NAMES), embeddings=VECTORS[:, :0]), "expected numbers"),
        (dict(names=np.array(NAMES), embeddings=VECTORS.astype(complex)), "expected numbers"),
        (dict(names=np.array([1, 2, 3]), embeddings=VECTORS), "expected strings"),
        (dict(names=np.array(NAMES), pixels=VECTORS), "no array of vectors in it: it holds names, pixels"),
        (dict(embeddings=VECTORS), "no array of names"),
    ],
)
def test_arrays_that_cannot_be_meant_are_refused(tmp_path, arrays, says):
    with pytest.raises(Failure) as found:
        read_embeddings(npz(tmp_path / "x.npz", **arrays))
    assert says in str(found.value) and "\n" not in str(found.value)


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 64)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("embeddings.npy", header.getvalue() + b"\0" * 64)
        names = io.BytesIO()
        np.save(names, np.array(NAMES))
        archive.writestr("names.npy", names.getvalue())
    with pytest.raises(Failure, match="damaged"):
        read_embeddings(tmp_path / "x.npz")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(Failure, match="no such file"):
        read_embeddings(tmp_path / "none.npz")
    (tmp_path / "x.csv").write_text("a,1\n")
    with pytest.raises(Failure, match="not a file of embeddings"):
        read_embeddings(tmp_path / "x.csv")
    np.save(tmp_path / "x.npy", VECTORS)
    with pytest.raises(Failure, match="x.txt is not beside it"):
        read_embeddings(tmp_path / "x.npy")


def test_without_pyarrow_one_line_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(Failure, match=r"pip install 'distill-to-phone\[parquet\]'"):
        read_embeddings(tmp_path / "x.parquet")


def test_parquet_columns_are_found_by_type_or_name(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    values = pa.array(VECTORS.ravel())
    fixed = pa.FixedSizeListArray.from_arrays(values, 2)
    parquet.write_table(pa.table({"file": NAMES, "clip": fixed, "size": [1, 2, 3]}), path)
    assert np.array_equal(read_embeddings(path).vectors, VECTORS)
    parquet.write_table(pa.table({"title": NAMES, "path": NAMES[::-1], "vector": fixed, "other": fixed}), path)
    assert read_embeddings(path).names == tuple(NAMES[::-1])

    refused = {
        "no single column of names": pa.table({"title": NAMES, "label": NAMES, "vector": fixed}),
        "no single column of vectors": pa.table({"name": NAMES, "x": [1.0, 2.0, 3.0]}),
        "row 1 has 1 numbers, row 0 has 2": pa.table({"name": NAMES, "vector": [[1.0, 2.0], [3.0], [4.0, 5.0]]}),
        "1 names or vectors are null": pa.table({"name": [None, "b", "c"], "vector": fixed}),
        "1 numbers of vectors are null": pa.table({"name": NAMES[:1], "vector": [[1.0, None]]}),
        "expected numbers": pa.table(
            {"name": pa.array([], pa.string()), "vector": pa.array([], pa.list_(pa.float32()))}
        ),
    }
    for says, table in refused.items():
        parquet.write_table(table, path)
        with pytest.raises(Failure) as found:
            read_embeddings(path)
        assert says in str(found.value)


def test_names_are_matched_to_images(tmp_path):
    names = ["./a/1.jpg", "a\\2.jpg", "b/1.jpg", "b/1.jpg", "a/1.jpg"]
    vectors = np.array([[1, 0], [0, 1], [1, 1], [1, 2], [1, 0]], np.float32)
    file = read_embeddings(write_npz(tmp_path, names, vectors))
    found = file.match(["a/2.jpg", "a/1.jpg", "b/1.jpg", "c.jpg"])
    assert found.missing == ("c.jpg",) and found.repeated == ("b/1.jpg",)  # a/1.jpg twice, with equal vectors, is one
    assert found.rows[0] == 1 and found.rows[1] in (0, 4) and list(found.rows[2:]) == [-1, -1]
    summary = found.summary(file.path)
    assert "of 4 images 1 have none, e.g. c.jpg, 1 have several that differ, e.g. b/1.jpg" in summary


def test_a_share_may_be_missing(tmp_path):
    file = read_embeddings(write_npz(tmp_path, NAMES, VECTORS))
    keys = [*NAMES, "c.jpg"]
    assert file.require(keys, 0.25, "folder:x", "--allow").missing == ("c.jpg",)
    with pytest.raises(Failure, match=r"1 have none, e.g. c.jpg \(add their vectors, or allow it with --allow 0.25\)"):
        file.require(keys, 0.2, "folder:x", "--allow")
    with pytest.raises(Failure, match="names no image of folder:x: there 'a/1.jpg', here 'z'"):
        file.require(["z"], 1.0, "folder:x")
