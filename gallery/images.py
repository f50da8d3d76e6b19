"""Select the images for a gallery: a plain folder or a data spec. Also change stamps and thumbnails."""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image

from distill.console.errors import Failure, UsageFailure, suggest
from distill.console.progress import warn
from distill.data.files import IMAGE_SUFFIXES, FileImageSet, walk_images
from distill.data.imageset import ImageSet
from distill.data.spec import KINDS, open_data
from distill.data.split import split

__all__ = ["change_stamps", "open_images", "thumbnail"]

# Formats of phones and cameras that the decoder does not read. Leaving them out deserves a warning.
_OTHER_SUFFIXES = frozenset({".heic", ".heif", ".avif", ".dng", ".gif", ".tif", ".tiff"})
_QUALITY = 80


def open_images(text: str, part: str = "all", rule: str | None = None, limit: int | None = None) -> ImageSet:
    """Open the images that ``text`` names.

    Args:
        text: A folder (all images in it, at any depth, with or without one folder per class), or a data spec
            such as ``glyphs`` or ``csv:FILE``.
        part: ``train``, ``test`` or ``all`` of a data spec.
        rule: Rule that splits a data spec into these parts, see :func:`distill.data.split.split`; None: ``half``, or 0.8
            without labels.
        limit: Maximum number of images, evenly spread over the set; None: all.

    Raises:
        UsageFailure: ``text`` is neither folder nor spec, or a part of a plain folder is asked for.
        Failure: there are no images.

    Example:
        >>> from gallery import open_images
        >>> images = open_images("photos")
        >>> len(images), images.keys[-1]
        (9, 'IMG_0005.jpg')
    """
    kind = text.partition(":")[0]
    folder = Path(text).expanduser()
    if kind in KINDS and not (folder.is_dir() and ":" not in text and KINDS[kind].path):
        images = split(open_data(text), rule, part)  # type: ignore[arg-type]
    elif folder.is_dir():
        if part != "all":
            raise UsageFailure(
                f"--part {part}: {text} is a plain folder of images without parts", f"write folder:{text}"
            )
        images = _open_folder(text, folder)
    elif folder.exists():
        raise UsageFailure(f"{text}: is a file", "give a folder of images, or a data spec such as csv:FILE")
    elif ":" in text:
        return open_data(text)  # raises the fitting error
    else:
        near = suggest(text, KINDS)
        known = f"give a folder of images, or a data spec: {', '.join(KINDS)}"
        raise UsageFailure(f"{text}: no such folder", near if near.startswith("did you mean") else known)
    if not len(images):
        raise Failure(f"{text}: no images in the {part} part", "choose another --part or --split")
    if limit is not None and limit < len(images):
        images = images.select(np.arange(limit) * len(images) // limit)
    return images


def _open_folder(text: str, folder: Path) -> ImageSet:
    try:
        keys = list(walk_images(folder))
    except OSError as error:
        raise Failure(
            f"{error.filename or folder}: {error.strerror}", "make it readable, or move it elsewhere"
        ) from None
    others = _count_others(folder)
    if not keys:
        there = f", but {_named(others)}" if others else ""
        raise Failure(f"{folder}: no images in it ({', '.join(sorted(IMAGE_SUFFIXES))}){there}", "check the folder")
    if others:
        warn(
            f"{folder}: {_named(others)} left out: these formats are not supported; convert the files to JPEG to index them"
        )
    return FileImageSet(text, "photos", folder, keys, [key.rpartition("/")[0] for key in keys])


def _count_others(folder: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for _, _, names in os.walk(folder):
        found.update(
            s for name in names if (s := os.path.splitext(name)[1].lower()) in _OTHER_SUFFIXES and name[0] != "."
        )
    return found


def _named(others: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))


def change_stamps(images: ImageSet) -> np.ndarray:
    """Return a stamp for each image that changes when the image changes: uint64 [N, 2].

    For a file: its size and modification time in nanoseconds, without reading it (0, 0 if missing). For other
    images: the first 16 bytes of the digest of their content.
    """
    found = np.zeros((len(images), 2), np.uint64)
    if isinstance(images, FileImageSet):
        for index in range(len(images)):
            try:
                facts = os.stat(images.path(index))
            except OSError:
                continue
            found[index] = facts.st_size, facts.st_mtime_ns & (2**64 - 1)
        return found
    for index, digest in enumerate(images.digests()):
        found[index] = np.frombuffer(digest[:16].ljust(16, b"\0"), "<u8")
    return found


def thumbnail(image: PIL.Image.Image, side: int) -> bytes:
    """Encode a small JPEG without metadata; the longer side has ``side`` pixels. Images are never enlarged."""
    small = image.copy()
    small.thumbnail((side, side), PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)
    small.info.clear()  # otherwise Pillow writes the comment
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
