"""``folder:PATH``: one folder a class."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from distill.console.errors import Failure
from distill.console.progress import warn
from distill.data.files import IMAGE_SUFFIXES, FileImageSet, walk_images

__all__ = ["class_folders", "open_folder"]

_LAYOUT = "expected one folder a class: PATH/CLASS/any.jpg (jpg, jpeg, png, webp or bmp)"


def open_folder(spec: str, root: Path, flip: bool = True) -> FileImageSet:
    """Open a folder of class folders.

    The class name is the folder's name; images may lie at any depth below it. Hidden files are
    ignored. Folders without an image are dropped with a warning. A class with one image is kept:
    it is a distractor in a gallery, but cannot be a query.

    Raises:
        Failure: the folder cannot be read or holds no class.
    """
    folders = class_folders(root)
    keys: list[str] = []
    class_names: list[str] = []
    empty: list[str] = []
    for name in folders:
        found = _images(root / name)
        keys += [f"{name}/{path}" for path in found]
        class_names += [name] * len(found)
        if not found:
            empty.append(name)
    if not keys:
        raise Failure(f"{root}: no images in {len(folders)} class folders{_endings(root)}", _LAYOUT)
    if empty:
        more = ", …" if len(empty) > 3 else ""
        warn(f"{root}: {len(empty)} folders hold no images and are not classes: {', '.join(empty[:3])}{more}")
    return FileImageSet(spec, "folder", root, keys, class_names, flip)


def class_folders(root: Path) -> list[str]:
    """Names of the visible folders in ``root``, sorted.

    Raises:
        Failure: ``root`` cannot be read or holds none.
    """
    try:
        with os.scandir(root) as entries:
            folders = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError as error:
        raise Failure(f"{root}: {error.strerror}", _LAYOUT) from None
    if not folders:
        raise Failure(f"{root}: no class folders in it{_endings(root)}", _LAYOUT)
    return folders


def _images(folder: Path) -> list[str]:
    try:
        return list(walk_images(folder))
    except OSError as error:
        raise Failure(f"{error.filename or folder}: {error.strerror}", "make it readable, or move it away") from None


def _endings(root: Path) -> str:
    """What is there instead, e.g. " (found .heic ×12)"."""
    counts: Counter[str] = Counter()
    for _, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        counts.update(os.path.splitext(name)[1].lower() or "no ending" for name in files if not name.startswith("."))
        if sum(counts.values()) > 10_000:
            break
    common = [f"{suffix} ×{count}" for suffix, count in counts.most_common(3) if suffix not in IMAGE_SUFFIXES]
    loose = [f"{suffix} ×{count}" for suffix, count in counts.most_common(3) if suffix in IMAGE_SUFFIXES]
    return f"; found {', '.join(loose + common)}" if common or loose else ""
