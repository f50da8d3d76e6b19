"""``cub200:PATH``: Caltech-UCSD Birds-200-2011 in its official layout.

``images.txt`` (``<image id> <path below images/>``), ``image_class_labels.txt`` (``<image id>
<class id>``), ``classes.txt`` (``<class id> <class name>``), ``images/``. The retrieval split is by
class: 1–100 train, 101–200 test. ``train_test_split.txt`` is for classification and is not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from distill.console.errors import Failure
from distill.data.files import FileImageSet
from distill.data.kind import PUBLISHED_OPTIONS, DataKind
from distill.data.published import Counts, Published, find_root, from_list, read_lines

__all__ = ["CUB200", "KIND", "open_cub200"]

CUB200 = Published(
    name="CUB-200-2011",
    whole=Counts(200, 11_788),
    parts={"train": Counts(100, 5_864), "test": Counts(100, 5_924)},
    get="download CUB_200_2011.tgz from https://www.vision.caltech.edu/datasets/cub_200_2011/, unpack it, "
    "and give the folder that contains images.txt",
)

_TRAIN_CLASSES = 100


def open_cub200(spec: str, root: Path, flip: bool = True, counts: Literal["strict", "any"] = "strict") -> FileImageSet:
    """Open CUB-200-2011; ``root`` is the folder of ``images.txt`` or its parent.

    Raises:
        Failure: another layout, a broken list, missing images, or other counts (see ``published``).
    """
    root = find_root(root, ["images.txt"], CUB200, ["CUB_200_2011"])
    # Official names start with the zero-padded id (001.Black_footed_Albatross), so sorting by name sorts by id.
    names = dict(read_lines(root / "classes.txt", 2, CUB200))
    labels = dict(read_lines(root / "image_class_labels.txt", 2, CUB200))
    listed: dict[str, str] = {}
    official: dict[str, str] = {}
    for image_id, path in read_lines(root / "images.txt", 2, CUB200):
        class_id = labels.get(image_id)
        if class_id is None or class_id not in names or not class_id.isdigit():
            raise Failure(f"{root / 'images.txt'}: image {image_id} has no class in the other lists", CUB200.get)
        listed[path] = names[class_id]
        official[names[class_id]] = "train" if int(class_id) <= _TRAIN_CLASSES else "test"
    return from_list(spec, "cub200", root / "images", listed, official, CUB200, flip, counts)


KIND = DataKind(open_cub200, "a folder", PUBLISHED_OPTIONS)
