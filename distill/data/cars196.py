"""``cars196:PATH``: Stanford Cars in any of the three layouts in which it is distributed.

- ``cars_annos.mat`` with ``car_ims/``: one list with every image (the retrieval papers' form);
- ``devkit/`` with ``cars_train/`` and ``cars_test/`` (the test list with labels,
  ``cars_test_annos_withlabels.mat``, in ``devkit/`` or beside it);
- folders named by class, either directly below PATH or below ``train/`` and ``test/``.

The retrieval split is by class: 1–98 train, 99–196 test. The train and test parts of the lists and folders are
for classification and are not used.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from distill.console.errors import Failure
from distill.data.files import FileImageSet
from distill.data.folder import images_by_class
from distill.data.kind import PUBLISHED_OPTIONS, DataKind
from distill.data.published import Counts, Published, from_list

__all__ = ["CARS196", "KIND", "open_cars196"]

CARS196 = Published(
    name="Stanford Cars (Cars-196)",
    whole=Counts(196, 16_185),
    parts={"train": Counts(98, 8_054), "test": Counts(98, 8_131)},
    get="get car_ims.tgz and cars_annos.mat (or cars_train, cars_test and the devkit with the test labels) as listed "
    "at https://ai.stanford.edu/~jkrause/cars/car_dataset.html or from a mirror of it, unpack them side by side, and "
    "give that folder",
)

_TRAIN_CLASSES = 98


def open_cars196(spec: str, root: Path, flip: bool = True, counts: Literal["strict", "any"] = "strict") -> FileImageSet:
    """Open Cars-196; ``root`` is the folder with one of the layouts above.

    Raises:
        Failure: another layout, a broken .mat file, a .mat file without SciPy, missing
            images, or other counts (see ``published``).
    """
    if (root / "cars_annos.mat").is_file():
        listed = _one_list(root)
    elif (root / "devkit").is_dir():
        listed = _devkit(root)
    else:
        listed = _folders(root)
    official = {name: "train" if number <= _TRAIN_CLASSES else "test" for name, number in _numbers(listed).items()}
    return from_list(spec, "cars196", root, listed, official, CARS196, flip, counts)


KIND = DataKind(open_cars196, "a folder", PUBLISHED_OPTIONS)


def _numbers(listed: dict[str, str]) -> dict[str, int]:
    """Map class names to class ids, 1 … 196."""
    names = sorted(set(listed.values()))
    if all(re.match(r"\d{3}\.", name) for name in names):
        return {name: int(name[:3]) for name in names}
    # Folders have no ids, but sorting by code point puts the same 98 classes first.
    return {name: place for place, name in enumerate(names, 1)}


def _one_list(root: Path) -> dict[str, str]:
    path = root / "cars_annos.mat"
    content = _load_mat(path)
    names = _class_names(path, content)
    return {
        str(_field(path, row, "relative_im_path")): _class_name(path, names, _field(path, row, "class"))
        for row in _rows(path, content)
    }


def _devkit(root: Path) -> dict[str, str]:
    devkit = root / "devkit"
    names = _class_names(devkit / "cars_meta.mat", _load_mat(devkit / "cars_meta.mat"))
    test = next(
        (
            p
            for p in (devkit / "cars_test_annos_withlabels.mat", root / "cars_test_annos_withlabels.mat")
            if p.is_file()
        ),
        devkit / "cars_test_annos_withlabels.mat",
    )
    listed = {}
    for path, folder in ((devkit / "cars_train_annos.mat", "cars_train"), (test, "cars_test")):
        for row in _rows(path, _load_mat(path)):
            listed[f"{folder}/{_field(path, row, 'fname')}"] = _class_name(path, names, _field(path, row, "class"))
    return listed


def _folders(root: Path) -> dict[str, str]:
    listed: dict[str, str] = {}
    divided = (root / "train").is_dir() and (root / "test").is_dir()
    for part in ("train/", "test/") if divided else ("",):
        for name, keys in images_by_class(root / part).items():
            listed |= {part + key: name for key in keys}
    if not listed:
        raise Failure(f"{root}: this is not {CARS196.name}: no list and no class folders", CARS196.get)
    return listed


def _load_mat(path: Path) -> dict[str, Any]:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise Failure(
            f"{path}: reading .mat files needs SciPy",
            "pip install scipy, or arrange the images in one folder per class",
        ) from None
    try:
        return loadmat(path, squeeze_me=True)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror or error}", CARS196.get) from None
    except Exception as error:  # a damaged file can raise nearly anything in the parser
        raise Failure(f"{path}: not a readable .mat file: {type(error).__name__}: {error}", CARS196.get) from None


def _rows(path: Path, content: dict[str, Any]) -> Any:
    import numpy as np

    if "annotations" not in content:
        raise Failure(f"{path}: it has no 'annotations'", CARS196.get)
    return np.atleast_1d(content["annotations"])


def _class_names(path: Path, content: dict[str, Any]) -> list[str]:
    import numpy as np

    if "class_names" not in content:
        raise Failure(f"{path}: it has no 'class_names'", CARS196.get)
    return [str(name) for name in np.atleast_1d(content["class_names"])]


def _field(path: Path, row: Any, name: str) -> Any:
    try:
        return row[name]
    except (ValueError, IndexError, KeyError, TypeError):
        raise Failure(f"{path}: its annotations have no field '{name}'", CARS196.get) from None


def _class_name(path: Path, names: list[str], class_id: Any) -> str:
    try:
        number = int(class_id)
    except (TypeError, ValueError):
        number = 0
    if not 1 <= number <= len(names):
        raise Failure(f"{path}: class {class_id} is not one of the {len(names)}", CARS196.get)
    return f"{number:03d}.{names[number - 1]}"
