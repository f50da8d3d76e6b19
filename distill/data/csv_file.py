"""``csv:FILE``: a table with a path and a class in each row."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from distill.console.errors import Failure
from distill.data.files import FileImageSet
from distill.data.kind import FILE_OPTIONS, DataKind

__all__ = ["KIND", "open_csv"]

_COLUMNS = {
    "path": ("path", "image", "file", "filename"),
    "class": ("class", "label", "class_name"),
    "split": ("split", "part"),
}
_CURE = "the first line names the columns: path,class and optionally split (train or test)"


def open_csv(spec: str, file: Path, flip: bool = True, labels: bool | None = None) -> FileImageSet:
    """Open the images that a CSV file lists.

    The first line names the columns, in any order and case: ``path`` (or image, file, filename),
    ``class`` (or label, class_name) and optionally ``split`` (or part); others are ignored. Fields
    are separated by commas, semicolons or tabs, as in the first line; the encoding is UTF-8. Paths are
    absolute or relative to the folder of the CSV file. The ``split`` column (``train`` or ``test``, the
    same for all images of a class) becomes the official split. With ``labels`` False, only paths are read.

    Raises:
        Failure: not such a table, an empty or contradictory row (with its line), or none of the images exists.
    """
    reader = _reader(file)
    try:
        columns = _find_columns(file, reader.fieldnames or [], labels is not False)
    except csv.Error as error:
        raise Failure(f"{file}: line 1: {error}", _CURE) from None
    keys: list[str] = []
    class_names: list[str] = []
    official: dict[str, str] = {}
    seen: dict[str, int] = {}
    try:
        for row in reader:
            line = reader.line_num
            key, name, part = ((row[columns[c]] or "").strip() if c in columns else "" for c in _COLUMNS)
            if not key or ("class" in columns and not name):
                raise Failure(f"{file}: line {line}: no {'class' if key else 'path'}", "fill it in, or remove the row")
            if "\0" in key:
                raise Failure(f"{file}: line {line}: not a path", "check the file")
            if key in seen:
                raise Failure(f"{file}: line {line}: {key} was already in line {seen[key]}", "list each image once")
            seen[key] = line
            keys.append(key)
            class_names.append(name)
            if "split" in columns:
                _note_part(file, line, name, part.lower(), official)
    except csv.Error as error:
        # The row is incomplete, so reader.line_num does not count its line yet.
        raise Failure(f"{file}: line {reader.reader.line_num}: {error}", "check the file") from None
    if not keys:
        raise Failure(f"{file}: lists no image", _CURE)
    names = class_names if "class" in columns else None
    images = FileImageSet(spec, "csv", file.parent, keys, names, flip, official or None)
    if not any(images.path(i).is_file() for i in range(len(images))):
        raise Failure(
            f"{file}: none of its {len(keys)} images exists, e.g. {images.path(0)}",
            "paths are relative to the CSV file's folder",
        )
    return images


KIND = DataKind(open_csv, "a file", FILE_OPTIONS, takes_labels=True)


def _reader(file: Path) -> csv.DictReader:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Failure(f"{file}: not UTF-8 text", "save it as CSV in UTF-8") from None
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}", "check the file") from None
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    return csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restkey="", strict=True)


def _find_columns(file: Path, header: Sequence[str], labels: bool) -> dict[str, str]:
    by_name = {name.strip().lower(): name for name in reversed(header) if name}
    found = {
        column: by_name[alias]
        for column, aliases in _COLUMNS.items()
        for alias in reversed(aliases)
        if alias in by_name
    }
    if not labels:
        if "path" not in found:
            raise Failure(f"{file}: no column 'path' in its first line", _CURE)
        return {"path": found["path"]}
    for column in ("path", "class"):
        if column not in found:
            cure = _CURE + ("; or open it without labels: ?labels=no" if column == "class" else "")
            raise Failure(f"{file}: no column '{column}' in its first line", cure)
    return found


def _note_part(file: Path, line: int, name: str, part: str, official: dict[str, str]) -> None:
    if part not in ("train", "test"):
        raise Failure(f"{file}: line {line}: split is '{part}'", "write train or test")
    if official.setdefault(name, part) != part:
        raise Failure(
            f"{file}: line {line}: class {name} is both in train and in test",
            "give all images of a class the same split: retrieval is measured on unseen classes",
        )
