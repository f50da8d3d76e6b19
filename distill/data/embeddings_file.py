"""Vectors that someone else computed, one for each image: NumPy or Parquet files with names and vectors.

An embedding service or the index of a server often holds the vectors of the images already. NumPy only (pyarrow for
Parquet), so that a computer without torch reads them too. Nothing is unpickled.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from distill.console.errors import Failure, first_line
from distill.files import require_file, sha256_file

__all__ = ["SUFFIXES", "EmbeddingsFile", "NameMatch", "read_embeddings", "write_embeddings"]

SUFFIXES = (".npz", ".npy", ".parquet")
_NAMES = ("names", "name", "paths", "path", "keys", "key", "ids", "id", "files", "file", "filename")
_VECTORS = ("embeddings", "embedding", "vectors", "vector", "features", "feature")
_LARGEST = 65_536  # dimensions
_ROWS = 8192  # rows checked at once
_FORMS = "write np.savez(FILE, names=…, embeddings=…), or Parquet with the columns name and embedding"


@dataclass(frozen=True)
class NameMatch:
    """Which row belongs to which image.

    Attributes:
        rows: int64 [K], the row of each image; −1 for none.
        missing: images without a row.
        repeated: images whose name has several, different rows, which therefore count as having none.
    """

    rows: np.ndarray
    missing: tuple[str, ...]
    repeated: tuple[str, ...]

    def summary(self, path: Path) -> str:
        """One line: how many images have no vector, and the first of them."""
        parts = []
        for names, what in ((self.missing, "have none"), (self.repeated, "have several that differ")):
            if names:
                parts.append(f"{len(names)} {what}, e.g. {names[0]}")
        return f"{path}: of {len(self.rows)} images {', '.join(parts)}"


@dataclass(frozen=True)
class EmbeddingsFile:
    """Names and vectors of a file, checked: finite, no row of zeros.

    Attributes:
        path: the file.
        names: one for each row, with ``/`` between folders.
        vectors: [N, D], floats or integers, as stored (mapped from disk for ``.npy``).
        sha256: of the file (for ``.npy``, of vectors and names), 64 hex digits.
    """

    path: Path
    names: tuple[str, ...]
    vectors: np.ndarray
    sha256: str

    @property
    def size(self) -> int:
        """Dimensions D."""
        return int(self.vectors.shape[1])

    def unit(self, rows: np.ndarray | slice) -> np.ndarray:
        """Return some rows, scaled to unit length: float32 [n, D]."""
        chosen = np.asarray(self.vectors[rows], np.float64)
        return (chosen / np.linalg.norm(chosen, axis=1, keepdims=True)).astype(np.float32)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all rows in order, of unit length: float32 [≤ 8192, D] each."""
        for start in range(0, len(self.names), _ROWS):
            yield self.unit(slice(start, start + _ROWS))

    def match(self, keys: Sequence[str]) -> NameMatch:
        """Find the row of each image.

        A name that occurs several times with equal vectors counts once.

        Args:
            keys: names of images, as in :class:`distill.data.imageset.ImageSet`: paths below the data set's folder.
        """
        index, ambiguous = self._index
        wanted = [_plain(key) for key in keys]
        rows = np.array([index.get(key, -1) for key in wanted], np.int64).reshape(-1)
        repeated = tuple(key for key, plain in zip(keys, wanted, strict=True) if plain in ambiguous)
        missing = tuple(
            key for key, plain, row in zip(keys, wanted, rows, strict=True) if row < 0 and plain not in ambiguous
        )
        return NameMatch(rows, missing, repeated)

    def require(self, keys: Sequence[str], share: float, what: str, option: str = "") -> NameMatch:
        """Do the same, but refuse if more than ``share`` of the images have no vector.

        Args:
            keys: names of images.
            share: fraction of the images that may lack a vector, 0..1.
            what: where the images come from, for the message.
            option: flag that raises the share; "" if there is none.

        Raises:
            Failure: too many, or all, are without one.
        """
        found = self.match(keys)
        lacking = len(found.missing) + len(found.repeated)
        if lacking == len(keys):
            here, there = (keys[0] if len(keys) else "none"), self.names[0]
            raise Failure(
                f"{self.path}: names no image of {what}: there '{there}', here '{here}'",
                "names are paths below the data set's folder, such as CLASS/any.jpg",
            )
        if lacking > share * len(keys):
            allow = f", or allow it with {option} {np.ceil(1000 * lacking / len(keys)) / 1000:g}" if option else ""
            raise Failure(found.summary(self.path), f"add their vectors{allow}")
        return found

    @cached_property
    def _index(self) -> tuple[dict[str, int], set[str]]:
        """Name → row, and the names whose rows differ."""
        index = {name: row for row, name in enumerate(self.names)}
        ambiguous: set[str] = set()
        if len(index) < len(self.names):
            for row, name in enumerate(self.names):
                if index[name] != row and not np.array_equal(self.vectors[index[name]], self.vectors[row]):
                    ambiguous.add(name)
            for name in ambiguous:
                del index[name]
        return index, ambiguous


def read_embeddings(path: str | Path) -> EmbeddingsFile:
    """Read and check names and vectors.

    Args:
        path: ``.npz`` with the arrays ``names`` (strings [N]) and ``embeddings`` or ``vectors`` ([N, D]); ``.npy`` with
            the vectors, and beside it a ``.txt`` with one name for each line; or ``.parquet`` with a column of
            strings and one of lists of numbers.

    Raises:
        Failure: no such file, another format, objects that would have to be unpickled, counts that differ, vectors
            that are not finite or all zero, or pyarrow is missing.
    """
    path = Path(path)
    require_file(path, "check the path")
    readers = {".npz": _read_npz, ".npy": _read_npy, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise Failure(f"{path}: not a file of embeddings", f"known: {', '.join(SUFFIXES)}; {_FORMS}")
    try:
        names, vectors, digest = readers[path.suffix.lower()](path)
    except Failure:
        raise
    except (ValueError, EOFError, KeyError, MemoryError, OverflowError, TypeError, zipfile.BadZipFile) as error:
        raise Failure(f"{path}: damaged: {first_line(error)}", "write the file again") from None
    # zipfile's and numpy's other errors: OSError is a seek to a place before the file.
    except (OSError, NotImplementedError, RuntimeError, SyntaxError, zlib.error) as error:
        raise Failure(f"{path}: cannot be read: {first_line(error)}", "write the file again") from None
    _check_vectors(path, names, vectors)
    return EmbeddingsFile(path, tuple(_plain(name) for name in names), vectors, digest)


def write_embeddings(path: Path, names: Sequence[str], vectors: np.ndarray) -> None:
    """Write an ``.npz`` that :func:`read_embeddings` reads; ``path`` is usually a temporary one.

    Args:
        path: ends in ``.npz``.
        names: [N].
        vectors: float32 [N, D].
    """
    np.savez(path, names=np.array(names, dtype=str), embeddings=vectors)


def _check_vectors(path: Path, names: Sequence[str], vectors: np.ndarray) -> None:
    if vectors.ndim != 2 or 0 in vectors.shape or vectors.dtype.kind not in "fiu":
        raise Failure(
            f"{path}: vectors are {vectors.dtype} {vectors.shape}, expected numbers [images, dimensions]", _FORMS
        )
    if vectors.shape[1] > _LARGEST:
        raise Failure(f"{path}: {vectors.shape[1]} dimensions, at most {_LARGEST} are read", "reduce them first")
    if len(names) != len(vectors):
        raise Failure(f"{path}: {len(names)} names for {len(vectors)} vectors", "write one name for each vector")
    for start in range(0, len(vectors), _ROWS):
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(vectors[start : start + _ROWS].astype(np.float64), axis=1)
        for bad, what in ((~np.isfinite(lengths), "not finite"), (lengths == 0, "all zero")):
            if bad.any():
                row = start + int(np.flatnonzero(bad)[0])
                raise Failure(
                    f"{path}: the vector of '{names[row]}' (row {row}) is {what}",
                    "leave such images out, or compute their vectors again",
                )


def _read_npz(path: Path) -> tuple[list[str], np.ndarray, str]:
    if not zipfile.is_zipfile(path):  # numpy would take it for a pickle
        raise Failure(f"{path}: not a whole .npz archive", _FORMS)
    with np.load(path, allow_pickle=False) as archive:
        stored = {name.lower(): name for name in archive.files}
        chosen = []
        for known, what in ((_NAMES, "names"), (_VECTORS, "vectors")):
            found = [stored[name] for name in known if name in stored]
            if not found:
                held = ", ".join(sorted(archive.files)[:5]) or "nothing"
                raise Failure(f"{path}: no array of {what} in it: it holds {held}", _FORMS)
            chosen.append(_unpickled(path, archive, found[0]))
    return _texts(path, chosen[0]), chosen[1], sha256_file(path)


def _unpickled(path: Path, archive: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(archive[name])
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise Failure(
                f"{path}: '{name}' holds Python objects, which are not loaded",
                "save names as np.array(names, dtype=str) and vectors as float32",
            ) from None
        raise


def _read_npy(path: Path) -> tuple[list[str], np.ndarray, str]:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        raise Failure(f"{path}: no names: {beside.name} is not beside it", "write one name for each line, in its order")
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise Failure(f"{path}: not a plain array of numbers", "save float32 vectors with np.save") from None
        raise
    try:
        text = beside.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise Failure(f"{beside}: {error.strerror}", "check its permissions") from None
    names = text.split("\n")
    names = [name.removesuffix("\r") for name in (names[:-1] if names[-1] == "" else names)]
    return names, vectors, sha256_file(path)[:32] + sha256_file(beside)[:32]


def _read_parquet(path: Path) -> tuple[list[str], np.ndarray, str]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise Failure(
            f"{path}: Parquet needs pyarrow, which is not installed", "pip install 'distill-to-phone[parquet]'"
        ) from None

    def is_text(kind: Any) -> bool:
        return pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)

    def is_list(kind: Any) -> bool:
        lists = (pyarrow.types.is_list, pyarrow.types.is_large_list, pyarrow.types.is_fixed_size_list)
        return any(test(kind) for test in lists) and (
            pyarrow.types.is_floating(kind.value_type) or pyarrow.types.is_integer(kind.value_type)
        )

    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            chosen = [
                _column(path, schema, is_text, _NAMES, "names (strings)"),
                _column(path, schema, is_list, _VECTORS, "vectors (lists of numbers)"),
            ]
            table = file.read(columns=chosen)
    except (pyarrow.ArrowException, OSError) as error:
        raise Failure(f"{path}: not a readable Parquet file: {first_line(error)}", "write the file again") from None
    names, rows = (table.column(name) for name in chosen)
    if names.null_count or rows.null_count:
        raise Failure(f"{path}: {names.null_count + rows.null_count} names or vectors are null", "leave these rows out")
    return names.to_pylist(), _matrix(path, rows), sha256_file(path)


def _column(path: Path, schema: Any, fits: Any, known: Sequence[str], what: str) -> str:
    """Return the name of the one column that fits, or of several the one with a known name."""
    fitting = [field.name for field in schema if fits(field.type)]
    chosen = [name for known_name in known for name in fitting if name.lower() == known_name]
    found = chosen[:1] or (fitting if len(fitting) == 1 else [])
    if not found or schema.names.count(found[0]) > 1:
        held = ", ".join(f"{field.name} ({field.type})" for field in list(schema)[:6]) or "none"
        raise Failure(f"{path}: no single column of {what}: it has {held}", _FORMS)
    return found[0]


def _matrix(path: Path, rows: Any) -> np.ndarray:
    import pyarrow

    array = rows.combine_chunks() if isinstance(rows, pyarrow.ChunkedArray) else rows
    values = array.flatten()
    if values.null_count:
        raise Failure(f"{path}: {values.null_count} numbers of vectors are null", "leave these rows out")
    flat = values.to_numpy(zero_copy_only=False)
    if len(array) == 0 or len(flat) == 0:
        return np.zeros((len(array), 0), np.float32)
    if pyarrow.types.is_fixed_size_list(array.type):
        return flat.reshape(len(array), -1)
    lengths = array.value_lengths().to_numpy(zero_copy_only=False)
    if (lengths != lengths[0]).any():
        row = int(np.flatnonzero(lengths != lengths[0])[0])
        raise Failure(
            f"{path}: row {row} has {int(lengths[row])} numbers, row 0 has {int(lengths[0])}",
            "all vectors need one dimension",
        )
    return flat.reshape(len(array), -1)


def _texts(path: Path, names: np.ndarray) -> list[str]:
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise Failure(
            f"{path}: names are {names.dtype} {names.shape}, expected strings [images]",
            "save them as np.array(names, dtype=str)",
        )
    if names.dtype.kind == "S":
        return [name.decode("utf-8", "surrogateescape") for name in names.tolist()]
    return names.tolist()


def _plain(name: str) -> str:
    """``.\\a\\b.jpg`` and ``./a/b.jpg`` -> ``a/b.jpg``, as keys of image sets are written."""
    return name.replace("\\", "/").removeprefix("./")
