"""Write files atomically, under a temporary name that is renamed at the end, and read them with clear errors."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distill.console.errors import Failure, UsageFailure

__all__ = [
    "atomic_dir",
    "atomic_path",
    "check_output",
    "check_output_folder",
    "named_errors",
    "read_json",
    "require_file",
    "sha256_file",
    "write_json",
]


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, delete it on error.

    A device or a pipe (``/dev/stdout``, ``/dev/null``) is yielded itself, because renaming would replace it by a file.

    Raises:
        OSError: the file cannot be written; ``filename`` is ``path``, not the temporary name.

    Example:
        >>> with atomic_path("model.tflite") as temporary:
        ...     temporary.write_bytes(data)
    """
    path = Path(path)
    if _is_stream(path):
        with named_errors(path, path):
            yield path
        return
    with named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Keep the suffix: some writers choose the format by it.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:100]}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with named_errors(path, temporary):
            yield temporary
            # mkstemp makes private files; outputs should be as readable as any other file.
            temporary.chmod(0o666 & ~_umask())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_stream(path: Path) -> bool:
    if str(path).startswith(("/dev/fd/", "/proc/")) or str(path) in ("/dev/stdout", "/dev/stderr"):
        return True  # a file only if the shell redirected it to one
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def named_errors(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Put the name of the output file into errors of writing it; the error of a full disk has no name."""
    try:
        yield
    except OSError as error:
        if temporary is None or error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise


@contextmanager
def atomic_dir(path: str | Path) -> Iterator[Path]:
    """Do the same for a folder: an existing ``path`` is replaced only when the new one is complete."""
    path = Path(path)
    with named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}-", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
            os.replace(path, old / "was")
            os.replace(temporary, path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_output(path: Path | None, inputs: Iterable[Path] = ()) -> None:
    """Refuse, before any work, an output that cannot be written or would overwrite an input.

    Args:
        path: File to be written, or None.
        inputs: Files and folders that are read.

    Raises:
        UsageFailure: ``path`` is a folder, an input, or inside an input.
        Failure: a parent is a file or is not writable.
    """
    if path is None:
        return
    if path.is_dir():
        raise UsageFailure(f"{path}: is a folder", "give the name of a file")
    target = path.resolve()
    for source in inputs:
        if target == source.resolve():
            raise UsageFailure(f"{path}: is an input, and would be overwritten", "write it elsewhere")
        if source.is_dir() and target.is_relative_to(source.resolve()):
            raise UsageFailure(f"{path}: is inside {source}, which must not change", "write it elsewhere")
    _check_parent(target)


def check_output_folder(path: Path) -> None:
    """Do the same for a folder that is written as a whole.

    Raises:
        UsageFailure: it is the current folder, or contains it.
        Failure: a parent is a file or is not writable.
    """
    target = path.resolve()
    if Path.cwd().resolve().is_relative_to(target):
        raise UsageFailure(f"{path}: is the current folder or contains it", "name a new folder, such as runs/new")
    _check_parent(target)


def _check_parent(target: Path) -> None:
    parent = next(folder for folder in target.parents if folder.exists())
    if not parent.is_dir():
        raise Failure(f"{parent}: not a folder", "choose another place to write to")
    if not _is_stream(target) and not os.access(parent, os.W_OK | os.X_OK):
        raise Failure(f"{parent}: not writable", "check its permissions, or choose another place")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` atomically as indented UTF-8 JSON. NaN and infinity raise ValueError."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def require_file(path: Path, cure: str) -> None:
    """Check that ``path`` is a file.

    Raises:
        Failure: it does not exist, or is a folder.
    """
    if not path.is_file():
        raise Failure(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}", cure)


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        Failure: the file is missing or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_int=_parse_int)
    except FileNotFoundError:
        raise Failure(f"{path}: no such file", "check the path") from None
    except (ValueError, RecursionError) as error:
        raise Failure(f"{path}: not valid JSON: {error}", "the file is damaged: create it again") from None


def _parse_int(text: str) -> int:
    # Integers beyond the range of floats raise OverflowError in arithmetic later on.
    if len(text) > 100:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
