"""The description of one kind of data set, and parsers for its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from distill.data.imageset import ImageSet

__all__ = ["FILE_OPTIONS", "LABEL_OPTIONS", "PUBLISHED_OPTIONS", "DataKind", "one_of", "whole_number", "yes_or_no"]

OptionParser = Callable[[str], object]


@dataclass(frozen=True)
class DataKind:
    """How one kind of data spec is opened.

    Attributes:
        opener: Called with ``(spec, [path,] **options)``.
        path: Kind of path it takes, or "" if it takes none.
        options: Option name to parser. A parser raises ValueError with the expected value.
            ``open_data`` itself handles ``min_images``, ``seed`` and, unless ``takes_labels``, ``labels``.
        takes_labels: Whether the opener itself handles ``labels``: True, False, or None where the spec does not say.
    """

    opener: Callable[..., ImageSet]
    path: Literal["", "a folder", "a file"]
    options: Mapping[str, OptionParser] = field(default_factory=dict)
    takes_labels: bool = False


def whole_number(low: int, high: int) -> OptionParser:
    """Return a parser of integers from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text[:9]) <= high and len(text) < 10):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def one_of(values: Mapping[str, object]) -> OptionParser:
    """Return a parser of the words in ``values``."""

    def parse(text: str) -> object:
        if text not in values:
            raise ValueError(" or ".join(values))
        return values[text]

    return parse


yes_or_no = one_of({"yes": True, "no": False})

# Options of every kind; of every kind with a path; and of the published data sets.
LABEL_OPTIONS: dict[str, OptionParser] = {"labels": yes_or_no, "seed": whole_number(0, 999_999_999)}
FILE_OPTIONS: dict[str, OptionParser] = {"flip": yes_or_no, "min_images": whole_number(1, 1_000_000), **LABEL_OPTIONS}
PUBLISHED_OPTIONS: dict[str, OptionParser] = {**FILE_OPTIONS, "counts": one_of({"strict": "strict", "any": "any"})}
