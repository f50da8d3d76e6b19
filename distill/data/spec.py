"""One string names the data: ``glyphs:classes=100``, ``folder:photos``, ``cub200:CUB_200_2011``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from distill.console.errors import Failure, UsageFailure, suggest
from distill.console.progress import warn
from distill.data.imageset import ImageSet

__all__ = ["KINDS", "Kind", "open_data"]


@dataclass(frozen=True)
class Kind:
    """How one kind of spec is opened.

    Args:
        opener: ``module:function``, imported only when used. Called with ``(spec, [path,] **options)``.
        path: what the path is ("a folder", "a file"), or "" where none is taken.
        options: option name -> parser; a parser raises ValueError saying what is expected.
        help: one line for ``--help`` and the docs.
    """

    opener: str
    path: str
    options: dict[str, Callable[[str], object]]
    help: str


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text[:9]) <= high and len(text) < 10):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def _one_of(values: dict[str, object]) -> Callable[[str], object]:
    def parse(text: str) -> object:
        if text not in values:
            raise ValueError(" or ".join(values))
        return values[text]

    return parse


_yes_no = _one_of({"yes": True, "no": False})
_FILES = {"flip": _yes_no, "min_images": _whole(1, 1_000_000)}
_PUBLISHED = {**_FILES, "counts": _one_of({"strict": "strict", "any": "any"})}

KINDS: dict[str, Kind] = {
    "glyphs": Kind(
        "distill.data.glyphs:open_glyphs",
        "",
        {"classes": _whole(2, 1929), "faces": _whole(1, 12), "size": _whole(16, 1024), "clean": _yes_no},
        "characters in 12 typefaces, rendered on the fly (no download)",
    ),
    "folder": Kind("distill.data.folder:open_folder", "a folder", _FILES, "one folder a class"),
    "csv": Kind("distill.data.csv_file:open_csv", "a file", _FILES, "a table with the columns path, class[, split]"),
    "cub200": Kind("distill.data.cub200:open_cub200", "a folder", _PUBLISHED, "CUB-200-2011"),
    "cars196": Kind("distill.data.cars196:open_cars196", "a folder", _PUBLISHED, "Stanford Cars"),
    "sop": Kind("distill.data.sop:open_sop", "a folder", _PUBLISHED, "Stanford Online Products"),
    "lfw": Kind("distill.data.lfw:open_lfw", "a folder", _PUBLISHED, "Labeled Faces in the Wild"),
}


def open_data(spec: str) -> ImageSet:
    """Open the images that a spec string names.

    ``glyphs`` takes options after a colon: ``glyphs:classes=100,size=64``. All other kinds take a
    path after the colon, and options after a question mark: ``folder:signs?flip=no,min_images=2``.
    A path that exists as written is never cut at a question mark; ``~`` is the home folder.

    Options of every kind with a path: ``flip`` (yes, no: whether a mirrored image keeps its class)
    and ``min_images`` (classes with fewer are dropped); of the published data sets also ``counts``
    (strict, any: whether an incomplete copy is refused or taken with a warning).

    Raises:
        UsageFailure: unknown kind or option, or a value out of range.
        Failure: nothing at the path, or not what the kind expects there.
    """
    name, colon, rest = spec.partition(":")
    if name not in KINDS:
        if os.path.isdir(spec):
            raise UsageFailure(f"'{spec}' is a path, not a data spec", f"write folder:{spec}")
        raise UsageFailure(f"unknown kind of data '{name}'", suggest(name, KINDS))
    kind = KINDS[name]
    path, options = _take_apart(spec, kind, name, colon, rest)
    values = _parse_options(spec, kind, options)
    module, _, function = kind.opener.partition(":")
    opener = getattr(import_module(module), function)
    if not kind.path:
        return opener(spec, **values)
    min_images = values.pop("min_images", 1)
    return _drop_small_classes(opener(spec, _existing(path, kind, name), **values), min_images)


def _take_apart(spec: str, kind: Kind, name: str, colon: str, rest: str) -> tuple[str, str]:
    """Path and options, both as written."""
    if not kind.path:
        if colon and not rest:
            raise UsageFailure(
                f"'{spec}': nothing after the colon", f"write {name}, or {name}:{next(iter(kind.options))}=…"
            )
        return "", rest
    path, mark, options = rest, "", ""
    if "?" in rest and not os.path.exists(os.path.expanduser(rest)):
        path, mark, options = rest.rpartition("?")
    if not path:
        raise UsageFailure(f"'{spec}': no path", f"write {name}:PATH, where PATH is {kind.path}")
    if mark and not options:
        raise UsageFailure(f"'{spec}': nothing after the question mark", f"options: {', '.join(kind.options)}")
    return path, options


def _parse_options(spec: str, kind: Kind, text: str) -> dict[str, object]:
    values: dict[str, object] = {}
    for item in text.split(",") if text else ():
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise UsageFailure(
                f"'{spec}': '{item}' is not an option", f"write name=value; options: {', '.join(kind.options)}"
            )
        if key not in kind.options:
            raise UsageFailure(f"'{spec}': unknown option '{key}'", suggest(key, kind.options))
        if key in values:
            raise UsageFailure(f"'{spec}': option '{key}' is given twice", "give it once")
        try:
            values[key] = kind.options[key](value)
        except ValueError as expected:
            raise UsageFailure(f"'{spec}': {key}={value} is not possible", f"{key} is {expected}") from None
    return values


def _existing(text: str, kind: Kind, name: str) -> Path:
    try:
        path = Path(text).expanduser()
        exists, folder = path.exists(), path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        raise Failure(f"{name}: '{text}' is not a usable path: {error}", "check the path") from None
    if not exists:
        raise Failure(f"{name}: {path}: no such file or folder", f"check the path; {name}: takes {kind.path}")
    if folder != (kind.path == "a folder"):
        raise Failure(f"{name}: {path} is a {'folder' if folder else 'file'}", f"{name}: takes {kind.path}")
    return path


def _drop_small_classes(images: ImageSet, min_images: object) -> ImageSet:
    import numpy as np

    if min_images == 1:
        return images
    counts = np.bincount(images.labels, minlength=len(images.classes))
    keep = counts[images.labels] >= min_images
    if not keep.any():
        raise Failure(f"{images.spec}: no class has {min_images} images", f"the largest has {counts.max()}")
    if not keep.all():
        warn(f"{images.spec}: {(counts < min_images).sum()} classes with fewer than {min_images} images are left out")
    return images.select(keep)
