"""Open images by a data spec such as ``glyphs:classes=100``, ``folder:signs`` or ``cub200:CUB_200_2011``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from distill.console.errors import Failure, UsageFailure, suggest
from distill.console.progress import warn
from distill.data.imageset import ImageSet
from distill.data.kind import DataKind
from distill.registry import Registry

__all__ = ["KINDS", "data_help", "open_data"]

KINDS: Registry[DataKind] = Registry(
    "kind of data",
    DataKind,
    {
        "glyphs": "distill.data.glyphs:KIND",
        "folder": "distill.data.folder:KIND",
        "csv": "distill.data.csv_file:KIND",
        "cub200": "distill.data.cub200:KIND",
        "cars196": "distill.data.cars196:KIND",
        "sop": "distill.data.sop:KIND",
        "lfw": "distill.data.lfw:KIND",
    },
    group="distill_to_phone.data",
)


def data_help() -> str:
    """The values of ``--data``, for help texts."""
    return f"glyphs or KIND:PATH. Kinds: {', '.join(KINDS.names())}."


def open_data(spec: str) -> ImageSet:
    """Open the images that a data spec names.

    ``glyphs`` takes options after a colon: ``glyphs:classes=100,size=64``. All other kinds take a
    path after the colon, and options after a question mark: ``folder:signs?flip=no,min_images=2``.
    A path that exists as written is never cut at a question mark; ``~`` is the home folder.

    Every kind has the options ``labels`` (``no`` opens the images without labels) and ``seed`` (of the split of images
    without labels). Every kind with a path has ``flip`` (yes or no: whether a mirrored image keeps its class)
    and ``min_images`` (classes with fewer images are dropped). Published data sets also have ``counts``
    (strict or any: whether an incomplete copy is refused, or accepted with a warning).

    Raises:
        UsageFailure: unknown kind or option, or a value out of range.
        Failure: the path does not exist, or does not contain what the kind expects.
    """
    name, colon, rest = spec.partition(":")
    if name not in KINDS and os.path.isdir(spec):
        raise UsageFailure(f"'{spec}' is a path, not a data spec", f"write folder:{spec}")
    kind = KINDS[name]
    path, options = _take_apart(spec, kind, name, colon, rest)
    values = _parse_options(spec, kind, options)
    min_images, seed = values.pop("min_images", 1), values.pop("seed", None)
    labels = None if kind.takes_labels else values.pop("labels", None)
    images = kind.opener(spec, *([_existing(path, kind, name)] if kind.path else []), **values)
    if labels is False:
        images = images.without_labels()
    if not images.labelled and min_images > 1:
        raise UsageFailure(
            f"'{spec}': min_images counts the images of a class, and these have no labels", "leave it out"
        )
    if seed is not None:
        if images.labelled:
            raise UsageFailure(f"'{spec}': seed splits images without labels, and these have some", "add labels=no")
        images = images.with_split_seed(seed)
    return _drop_small_classes(images, min_images)


def _take_apart(spec: str, kind: DataKind, name: str, colon: str, rest: str) -> tuple[str, str]:
    """Split into path and options, both as written."""
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


def _parse_options(spec: str, kind: DataKind, text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
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
            raise UsageFailure(f"'{spec}': {key}={value} is not valid", f"{key} is {expected}") from None
    return values


def _existing(text: str, kind: DataKind, name: str) -> Path:
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


def _drop_small_classes(images: ImageSet, min_images: int) -> ImageSet:
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
