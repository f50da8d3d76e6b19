"""``sop:PATH``: Stanford Online Products in its official layout.

``Ebay_train.txt`` and ``Ebay_test.txt``, each with the header ``image_id class_id super_class_id
path`` and one image per line; the paths are relative to the same folder (``bicycle_final/…``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from distill.console.errors import Failure
from distill.data.files import FileImageSet
from distill.data.kind import PUBLISHED_OPTIONS, DataKind
from distill.data.published import Counts, Published, find_root, from_list, read_lines

__all__ = ["KIND", "SOP", "open_sop"]

SOP = Published(
    name="Stanford Online Products",
    whole=Counts(22_634, 120_053),
    parts={"train": Counts(11_318, 59_551), "test": Counts(11_316, 60_502)},
    get="download Stanford_Online_Products.zip from https://cvgl.stanford.edu/projects/lifted_struct/, unpack it, "
    "and give the folder that contains Ebay_train.txt",
)

_HEADER = ["image_id", "class_id", "super_class_id", "path"]


def open_sop(spec: str, root: Path, flip: bool = True, counts: Literal["strict", "any"] = "strict") -> FileImageSet:
    """Open Stanford Online Products; ``root`` is the folder of the lists or its parent.

    Class names are the class ids, padded to five digits.

    Raises:
        Failure: another layout, a broken list, missing images, or other counts (see ``published``).
    """
    root = find_root(root, ["Ebay_train.txt"], SOP, ["Stanford_Online_Products"])
    listed: dict[str, str] = {}
    official: dict[str, str] = {}
    for part in ("train", "test"):
        path = root / f"Ebay_{part}.txt"
        header, *rows = read_lines(path, 4, SOP) or [[]]
        if header != _HEADER:
            raise Failure(f"{path}: its first line is not '{' '.join(_HEADER)}'", SOP.get)
        for _, class_id, _, key in rows:
            name = class_id.zfill(5)
            if official.setdefault(name, part) != part:
                raise Failure(f"{path}: class {class_id} is in both lists", SOP.get)
            listed[key] = name
    return from_list(spec, "sop", root, listed, official, SOP, flip, counts)


KIND = DataKind(open_sop, "a folder", PUBLISHED_OPTIONS)
