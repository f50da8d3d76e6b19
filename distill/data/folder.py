"""``folder:PATH``: one folder per class."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from distill.console.errors import Failure
from distill.console.progress import warn
from distill.data.files import IMAGE_SUFFIXES, FileImageSet, walk_images
from distill.data.kind import FILE_OPTIONS, DataKind

__all__ = ["KIND", "images_by_class", "open_folder"]

_LAYOUT = "expected one folder per class: PATH/CLASS/any.jpg (jpg, jpeg, png, webp or bmp)"


def open_folder(spec: str, root: Path, flip: bool = True) -> FileImageSet:
    """Open a folder of class folders.

    The class name is the folder's name; images may lie at any depth below it. Hidden files are
    ignored. Folders without an image are dropped with a warning. A class with one image is kept:
    it is a distractor in a gallery, but cannot be a query.

    Raises:
        Failure: the folder cannot be read, or contains no class.
    """
    found = images_by_class(root)
    keys = [key for images in found.values() for key in images]
    class_names = [name for name, images in found.items() for _ in images]
    empty = [name for name, images in found.items() if not images]
    if not keys:
        raise Failure(f"{root}: no images in {len(found)} class folders{_suffixes(root)}", _LAYOUT)
    if empty:
        more = ", …" if len(empty) > 3 else ""
        warn(f"{root}: {len(empty)} folders contain no images and are not classes: {', '.join(empty[:3])}{more}")
    return FileImageSet(spec, "folder", root, keys, class_names, flip)


KIND = DataKind(open_folder, "a folder", FILE_OPTIONS)


def images_by_class(root: Path) -> dict[str, list[str]]:
    """Map each visible folder in ``root`` to its images, as sorted paths below ``root``.

    Raises:
        Failure: ``root`` or a folder cannot be read, or ``root`` contains no folder.
    """
    return {name: [f"{name}/{path}" for path in _images(root / name)] for name in _class_folders(root)}


def _class_folders(root: Path) -> list[str]:
    """Return the names of the visible folders in ``root``, sorted.

    Raises:
        Failure: ``root`` cannot be read, or contains no folder.
    """
    try:
        with os.scandir(root) as entries:
            folders = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError as error:
        raise Failure(f"{root}: {error.strerror}", _LAYOUT) from None
    if not folders:
        raise Failure(f"{root}: no class folders in it{_suffixes(root)}", _LAYOUT)
    return folders


def _images(folder: Path) -> list[str]:
    try:
        return list(walk_images(folder))
    except OSError as error:
        raise Failure(f"{error.filename or folder}: {error.strerror}", "make it readable, or move it away") from None


def _suffixes(root: Path) -> str:
    """Describe the files that are there instead, e.g. "; found .heic ×12"."""
    counts: Counter[str] = Counter()
    for _, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        counts.update(os.path.splitext(name)[1].lower() or "no suffix" for name in files if not name.startswith("."))
        if sum(counts.values()) > 10_000:
            break
    common = [f"{suffix} ×{count}" for suffix, count in counts.most_common(3) if suffix not in IMAGE_SUFFIXES]
    loose = [f"{suffix} ×{count}" for suffix, count in counts.most_common(3) if suffix in IMAGE_SUFFIXES]
    return f"; found {', '.join(loose + common)}" if common or loose else ""
