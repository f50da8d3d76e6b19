"""Shared parts of the openers of published data sets: reading lists, checking counts.

Results on a published data set are comparable only if the data set is complete. A copy whose
counts differ is therefore refused (``Failure``); ``?counts=any`` in the spec accepts it with a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from distill.console.errors import Failure
from distill.console.progress import warn
from distill.data.files import FileImageSet, walk_images
from distill.data.imageset import ImageSet

__all__ = ["Counts", "Published", "check_counts", "find_root", "from_list", "read_lines"]


@dataclass(frozen=True)
class Counts:
    """Numbers of classes and images."""

    classes: int
    images: int

    def __str__(self) -> str:
        return f"{self.images:,} images of {self.classes:,} classes"


@dataclass(frozen=True)
class Published:
    """A published data set.

    Args:
        name: Name in messages.
        whole: Counts of the whole data set.
        get: How to get it, as the cure of an error.
        parts: Counts of the official "train" and "test" parts.
    """

    name: str
    whole: Counts
    get: str
    parts: Mapping[str, Counts] = field(default_factory=dict)


def check_counts(images: ImageSet, published: Published, counts: Literal["strict", "any"] = "strict") -> None:
    """Compare the counts of ``images`` with the published ones.

    Args:
        images: The data set as found.
        published: The data set as published. Parts are compared only if ``images.official`` is known.
        counts: What to do about a difference: fail ("strict") or warn ("any").

    Raises:
        Failure: they differ and ``counts`` is "strict".
    """
    wrong = [
        f"{what}{found} instead of {expected}"
        for what, found, expected in _compared(images, published)
        if found != expected
    ]
    if not wrong:
        return
    text = f"{images.spec}: not the whole of {published.name}: {'; '.join(wrong)}"
    if counts == "strict":
        raise Failure(text, f"{published.get}; or add ?counts=any to use it as it is")
    warn(f"{text}; its results are not comparable with published ones")


def _compared(images: ImageSet, published: Published) -> list[tuple[str, Counts, Counts]]:
    rows = [("", Counts(len(images.classes), len(images)), published.whole)]
    if images.official is not None:
        per_class = np.bincount(images.labels, minlength=len(images.classes))
        for part, expected in published.parts.items():
            chosen = np.array([images.official.get(name) == part for name in images.classes], bool)
            rows.append((f"{part} ", Counts(int(chosen.sum()), int(per_class[chosen].sum())), expected))
    return rows


def find_root(root: Path, markers: Sequence[str], published: Published, below: Sequence[str] = ()) -> Path:
    """Return the folder that contains one of ``markers``: ``root`` itself or one of the folders ``below`` it.

    Raises:
        Failure: none contains one.
    """
    for candidate in (root, *(root / name for name in below)):
        if any((candidate / marker).exists() for marker in markers):
            return candidate
    raise Failure(f"{root}: this is not {published.name}: no {' or '.join(markers)} in it", published.get)


def read_lines(path: Path, fields: int | None, published: Published) -> list[list[str]]:
    """Return the whitespace-separated fields of each line that is not blank; the last field may contain blanks.

    Args:
        path: Text file, UTF-8.
        fields: Number of fields that each line must have, None for any number.
        published: Data set, for the cure of an error.

    Raises:
        Failure: missing, not text, or a line with another number of fields.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Failure(f"{path}: not a text file", published.get) from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", published.get) from None
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        row = line.split(None, fields - 1 if fields else -1)
        if not row:
            continue
        if fields and len(row) != fields:
            raise Failure(f"{path}: line {number}: expected {fields} fields, got {len(row)}", published.get)
        rows.append([word.strip() for word in row])
    return rows


def from_list(
    spec: str,
    kind: str,
    root: Path,
    listed: Mapping[str, str],
    official: Mapping[str, str] | None,
    published: Published,
    flip: bool,
    counts: Literal["strict", "any"],
) -> FileImageSet:
    """Build the image set from the list that comes with the data set, and check the files and counts.

    Args:
        listed: Key (path below ``root``) to class name, in the order of the images.
        official: Class name to "train" or "test", None if unknown.
        counts: "strict": every listed file must exist and the counts must be the published ones; "any": warn.

    Raises:
        Failure: files are missing or counts differ and ``counts`` is "strict", or no file exists.
    """
    present = set(walk_images(root))
    found = [key for key in listed if key in present]
    missing = len(listed) - len(found)
    if missing:
        example = next(key for key in listed if key not in present)
        text = f"{spec}: {missing:,} of {len(listed):,} listed images are missing, e.g. {example}"
        if counts == "strict" or not found:
            raise Failure(text, published.get)
        warn(f"{text}; left out")
    if not found:
        raise Failure(f"{spec}: its lists name no image", published.get)
    images = FileImageSet(spec, kind, root, found, [listed[key] for key in found], flip, official)
    check_counts(images, published, counts)
    return images
