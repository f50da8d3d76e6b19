"""``folder:PATH``: one folder per class, or images without labels."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

from distill.console.errors import Failure
from distill.console.progress import note, warn
from distill.data.files import IMAGE_SUFFIXES, FileImageSet, walk_images
from distill.data.kind import FILE_OPTIONS, DataKind

__all__ = ["KIND", "images_by_class", "open_folder"]

_LAYOUT = "expected one folder per class: PATH/CLASS/any.jpg (jpg, jpeg, png, webp or bmp)"
_ANY_LAYOUT = "expected images at any depth (jpg, jpeg, png, webp or bmp)"
# Names that cameras and photo libraries give to folders: 2024, 2024-05-17, 100APPLE, 101_PANA.
_NO_CLASS_NAME = re.compile(r"(19|20)\d\d([-_. ]?[01]\d([-_. ]?[0-3]\d)?)?|1\d\d_?[A-Z0-9]{4,5}")
_told: set[str] = set()


def open_folder(spec: str, root: Path, flip: bool = True, labels: bool | None = None) -> FileImageSet:
    """Open a folder of images.

    With labels, the class name is the name of the folder in ``root``; images may lie at any depth below it. Hidden
    files are ignored. Folders without an image are dropped with a warning, and images directly in ``root`` have no class
    and are left out. A class with one image is kept: it is a distractor in a gallery, but cannot be a query.

    Args:
        labels: True: one folder per class. False: all images at any depth, without labels. None: with labels if at
            least two folders in ``root`` contain images, and no more images lie directly in ``root`` than in them;
            else without, which a notice says.

    Raises:
        Failure: the folder cannot be read, or contains no image, or no class although ``labels`` is True.
    """
    if labels is False:
        return _unlabelled(spec, root, flip)
    found = images_by_class(root) if labels or _class_folders(root) else {}
    loose, keys = _loose(root), [key for images in found.values() for key in images]
    classes = [name for name, images in found.items() if images]
    if labels is None and keys + loose and (len(classes) < 2 or len(loose) > len(keys)):
        _tell(
            f"{root}: opened without labels, because {_reason(classes, len(loose), len(keys))}; labels=yes in the data spec "
            "takes its folders as classes"
        )
        return _unlabelled(spec, root, flip)
    if not keys:
        what = f"no images in {len(found)} class folders" if found else "no images"
        raise Failure(f"{root}: {what}{_suffixes(root)}", _LAYOUT if labels else _ANY_LAYOUT)
    empty = [name for name, images in found.items() if not images]
    if empty:
        warn(f"{root}: {len(empty)} folders contain no images and are not classes: {_named(empty)}")
    if loose:
        _tell(f"{root}: {len(loose)} images directly in it have no class and are left out: {_named(loose)}")
    if labels is None and all(map(_NO_CLASS_NAME.fullmatch, classes)):
        _tell(
            f"{root}: its folders are taken as classes, though their names look like dates or a camera's: {_named(classes)}; "
            "labels=no in the data spec opens it without labels"
        )
    class_names = [name for name, images in found.items() for _ in images]
    return FileImageSet(spec, "folder", root, keys, class_names, flip)


KIND = DataKind(open_folder, "a folder", FILE_OPTIONS, takes_labels=True)


def images_by_class(root: Path) -> dict[str, list[str]]:
    """Map each visible folder in ``root`` to its images, as sorted paths below ``root``.

    Raises:
        Failure: ``root`` or a folder cannot be read, or ``root`` contains no folder.
    """
    folders = _class_folders(root)
    if not folders:
        raise Failure(f"{root}: no class folders in it{_suffixes(root)}", _LAYOUT)
    return {name: [f"{name}/{path}" for path in _images(root / name)] for name in folders}


def _unlabelled(spec: str, root: Path, flip: bool) -> FileImageSet:
    keys = _images(root)
    if not keys:
        raise Failure(f"{root}: no images in it{_suffixes(root)}", _ANY_LAYOUT)
    return FileImageSet(spec, "folder", root, keys, None, flip)


def _reason(classes: list[str], loose: int, inside: int) -> str:
    if len(classes) >= 2:
        return f"{loose} images lie directly in it and {inside} in its {len(classes)} folders"
    return f"only its folder {classes[0]} contains images" if classes else "no folder in it contains images"


def _tell(text: str) -> None:
    """Print a notice once: a run opens its images several times."""
    if text not in _told:
        _told.add(text)
        note(text)


def _named(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _class_folders(root: Path) -> list[str]:
    """Return the names of the visible folders in ``root``, sorted.

    Raises:
        Failure: ``root`` cannot be read.
    """
    try:
        with os.scandir(root) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError as error:
        raise Failure(f"{root}: {error.strerror}", _LAYOUT) from None


def _loose(root: Path) -> list[str]:
    """Return the names of the visible image files directly in ``root``, sorted."""
    with os.scandir(root) as entries:
        names = [e.name for e in entries if not e.name.startswith(".") and not e.is_dir()]
    return sorted(name for name in names if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES)


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
