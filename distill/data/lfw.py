"""``lfw:PATH``: Labeled Faces in the Wild by identity, and the pairs of its verification protocol.

Layout: ``NAME/NAME_0001.jpg`` below PATH or below ``lfw/``, ``lfw_funneled/`` or
``lfw-deepfunneled/``. The lists (``pairs.txt``, ``peopleDevTrain.txt`` …) are in PATH, beside it, or
beside the image folders. The official class-disjoint split is view 1: the people in
``peopleDevTrain.txt`` are train, those in ``peopleDevTest.txt`` test. ``pairs.txt`` is view 2: ten sets of
300 matched and 300 mismatched pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from distill.console.errors import Failure
from distill.data.files import FileImageSet
from distill.data.folder import images_by_class
from distill.data.imageset import ImageSet
from distill.data.kind import PUBLISHED_OPTIONS, DataKind
from distill.data.published import Counts, Published, from_list, read_lines
from distill.files import require_file

__all__ = ["KIND", "LFW", "Pairs", "open_lfw", "read_pairs"]

LFW = Published(
    name="Labeled Faces in the Wild",
    whole=Counts(5_749, 13_233),
    parts={"train": Counts(4_038, 9_525), "test": Counts(1_711, 3_708)},
    get="download lfw.tgz, pairs.txt, peopleDevTrain.txt and peopleDevTest.txt from http://vis-www.cs.umass.edu/lfw/ "
    "(or run sklearn.datasets.fetch_lfw_people, which keeps the funneled images in ~/scikit_learn_data/lfw_home), "
    "unpack it, and give the folder that contains one folder per person",
)

_FOLDERS = ("lfw", "lfw_funneled", "lfw-deepfunneled")


@dataclass(frozen=True)
class Pairs:
    """Pairs of a verification protocol.

    Attributes:
        left, right: int64 [P], indices into the image set.
        same: bool [P], whether both images show the same person.
        fold: int64 [P], number of the set (0 … 9 in ``pairs.txt``); its threshold is chosen on the
            other sets.
    """

    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    fold: np.ndarray

    def __len__(self) -> int:
        return len(self.same)


def open_lfw(spec: str, root: Path, flip: bool = True, counts: Literal["strict", "any"] = "strict") -> FileImageSet:
    """Open LFW; each person is a class. 4,069 people have one image: distractors, never queries.

    The official split is known only if both lists of view 1 are found.

    Raises:
        Failure: another layout, a broken list, or other counts (see ``published``).
    """
    images = next((root / name for name in _FOLDERS if (root / name).is_dir()), root)
    listed = {key: name for name, keys in images_by_class(images).items() for key in keys}
    if not listed:
        raise Failure(f"{root}: this is not {LFW.name}: no images in its folders", LFW.get)
    return from_list(spec, "lfw", images, listed, _view_1(images), LFW, flip, counts)


KIND = DataKind(open_lfw, "a folder", PUBLISHED_OPTIONS)


def _view_1(images: Path) -> dict[str, str] | None:
    official: dict[str, str] = {}
    for part, file in (("train", "peopleDevTrain.txt"), ("test", "peopleDevTest.txt")):
        path = next((folder / file for folder in (images, images.parent) if (folder / file).is_file()), None)
        if path is None:
            return None
        _, *rows = read_lines(path, None, LFW) or [[]]
        for row in rows:
            if official.setdefault(row[0], part) != part:
                raise Failure(f"{path}: {row[0]} is in both lists", LFW.get)
    return official


def read_pairs(path: str | Path, images: ImageSet) -> Pairs:
    """Read ``pairs.txt`` (or ``pairsDevTrain.txt``, ``pairsDevTest.txt``).

    The first line has the number of sets and the pairs of each kind per set (``10 300``), or only the latter.
    Then follow, set by set, matched pairs ``name i j`` and mismatched pairs ``name i other j``. Image numbers
    start at 1 and are the four digits in the file name.

    Args:
        path: The list.
        images: An ``lfw:`` set, or any set whose keys end in ``NAME/NAME_0001.jpg`` (any image suffix).

    Raises:
        Failure: the list is missing or broken, or names an image that is not in ``images``.
    """
    path = Path(path)
    require_file(path, "give the list of pairs: pairs.txt of LFW")
    rows = read_lines(path, None, LFW)
    if not rows or len(rows[0]) not in (1, 2) or not all(word.isdigit() for word in rows[0]):
        raise Failure(f"{path}: its first line is not '<sets> <pairs per kind>'", LFW.get)
    per_kind = int(rows[0][-1])
    sets = int(rows[0][0]) if len(rows[0]) == 2 else 1
    if len(rows) - 1 != 2 * sets * per_kind:
        raise Failure(f"{path}: {len(rows) - 1} pairs, but its first line declares {2 * sets * per_kind}", LFW.get)
    where = {"/".join(key.rsplit(".", 1)[0].split("/")[-2:]): i for i, key in enumerate(images.keys)}

    def find(name: str, number: str) -> int:
        wanted = f"{name}/{name}_{int(number):04d}" if number.isdigit() else ""
        if wanted not in where:
            raise Failure(f"{path}: {name} {number} is not in {images.spec}", LFW.get)
        return where[wanted]

    left, right, same = [], [], []
    for row in rows[1:]:
        if len(row) not in (3, 4):
            raise Failure(f"{path}: '{' '.join(row)}' is not a pair", LFW.get)
        matched = len(row) == 3
        left.append(find(row[0], row[1]))
        right.append(find(row[0] if matched else row[2], row[-1]))
        same.append(matched)
    fold = np.arange(len(left), dtype=np.int64) // (2 * per_kind)
    return Pairs(np.array(left, np.int64), np.array(right, np.int64), np.array(same, bool), fold)
