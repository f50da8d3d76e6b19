"""CUB-200-2011, SOP and Cars-196 on miniature trees in their official layouts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distill.console.errors import Failure
from distill.data.cars196 import CARS196
from distill.data.cub200 import CUB200
from distill.data.imageset import ImageSet
from distill.data.published import Counts, Published, check_counts
from distill.data.sop import SOP
from distill.data.spec import open_data
from distill.data.split import split

SaveImage = Callable[..., Path]


def make_cub(
    root: Path, save_image: SaveImage, classes: tuple[int, ...] = (1, 2, 100, 101, 200), each: int = 2
) -> Path:
    names = {c: f"{c:03d}.Bird_{c}" for c in range(1, 201)}
    images, labels = [], []
    for c in classes:
        for i in range(each):
            images.append(f"{len(images) + 1} {names[c]}/Bird_{c}_{i:04d}.png")
            labels.append(f"{len(labels) + 1} {c}")
            save_image(root / "images" / images[-1].split()[1], seed=c + i)
    (root / "classes.txt").write_text("".join(f"{c} {name}\n" for c, name in names.items()))
    (root / "images.txt").write_text("\n".join(images) + "\n")
    (root / "image_class_labels.txt").write_text("\n".join(labels) + "\n")
    (root / "train_test_split.txt").write_text("".join(f"{i + 1} {i % 2}\n" for i in range(len(images))))
    return root


def make_sop(root: Path, save_image: SaveImage) -> Path:
    number = 0
    for part, classes in (("train", (1, 2, 11318)), ("test", (11319, 22634))):
        lines = ["image_id class_id super_class_id path"]
        for c in classes:
            for i in range(2):
                number += 1
                key = f"bicycle_final/{c}_{i}.png"
                save_image(root / key, seed=number)
                lines.append(f"{number} {c} 1 {key}")
        (root / f"Ebay_{part}.txt").write_text("\n".join(lines) + "\n")
    return root


CAR_NAMES = [f"Make {i:03d} Coupe 2012" for i in range(1, 197)]
CAR_CLASSES = (1, 98, 99, 196)


def make_cars_one_list(root: Path, save_image: SaveImage) -> Path:
    from scipy.io import savemat

    kinds = [("relative_im_path", object), ("bbox_x1", object), ("class", object), ("test", object)]
    rows = []
    for c in CAR_CLASSES:
        for i in range(2):
            key = f"car_ims/{len(rows) + 1:06d}.png"
            save_image(root / key, seed=c + i)
            rows.append((key, 5, c, i))
    content = {"annotations": np.array(rows, dtype=kinds)[None], "class_names": np.array(CAR_NAMES, object)[None]}
    savemat(root / "cars_annos.mat", content)
    return root


def make_cars_devkit(root: Path, save_image: SaveImage, labels_beside: bool) -> Path:
    from scipy.io import savemat

    devkit = root / "devkit"
    devkit.mkdir(parents=True)
    savemat(devkit / "cars_meta.mat", {"class_names": np.array(CAR_NAMES, object)[None]})
    for i, part in enumerate(("train", "test")):
        rows = []
        for c in CAR_CLASSES:
            fname = f"{len(rows) + 1:05d}.png"
            save_image(root / f"cars_{part}" / fname, seed=c + i)
            rows.append((5, c, fname))
        annotations = np.array(rows, dtype=[("bbox_x1", object), ("class", object), ("fname", object)])[None]
        folder = root if labels_beside and part == "test" else devkit
        name = "cars_train_annos.mat" if part == "train" else "cars_test_annos_withlabels.mat"
        savemat(folder / name, {"annotations": annotations})
    return root


def make_cars_folders(root: Path, save_image: SaveImage, divided: bool) -> Path:
    for part in ("train", "test") if divided else (".",):
        for name in CAR_NAMES:
            save_image(root / part / name / "0.png", size=(3, 3))
    return root


def parts(images: ImageSet) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return split(images, "official", "train").classes, split(images, "official", "test").classes


class TestCub:
    def test_official_layout_and_split(self, tmp_path: Path, save_image: SaveImage, stderr: Callable[[], str]) -> None:
        root = make_cub(tmp_path / "CUB_200_2011", save_image)
        for path in (root, tmp_path):
            images = open_data(f"cub200:{path}?counts=any")
            assert "10 images of 5 classes instead of 11,788 images of 200 classes" in stderr()
            assert len(images) == 10 and images.keys[0] == "001.Bird_1/Bird_1_0000.png"
            assert parts(images) == (("001.Bird_1", "002.Bird_2", "100.Bird_100"), ("101.Bird_101", "200.Bird_200"))
            assert images.read(0).size == (12, 10)

    def test_incomplete_copy_is_refused_by_default(self, tmp_path: Path, save_image: SaveImage) -> None:
        with pytest.raises(
            Failure, match="not the whole of CUB-200-2011.*train 6 images.*CUB_200_2011.tgz.*counts=any"
        ):
            open_data(f"cub200:{make_cub(tmp_path, save_image)}")

    def test_whole_copy_is_accepted(
        self, tmp_path: Path, save_image: SaveImage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        small = Published("mini", Counts(5, 10), "get it", {"train": Counts(3, 6), "test": Counts(2, 4)})
        monkeypatch.setattr("distill.data.cub200.CUB200", small)
        assert len(open_data(f"cub200:{make_cub(tmp_path, save_image)}")) == 10

    def test_missing_images(self, tmp_path: Path, save_image: SaveImage, stderr: Callable[[], str]) -> None:
        root = make_cub(tmp_path, save_image)
        (root / "images/002.Bird_2/Bird_2_0001.png").unlink()
        with pytest.raises(Failure, match="1 of 10 listed images are missing, e.g. 002.Bird_2/Bird_2_0001.png"):
            open_data(f"cub200:{root}")
        assert len(open_data(f"cub200:{root}?counts=any")) == 9
        assert "left out" in stderr()

    def test_what_is_not_cub(self, folders: Path) -> None:
        with pytest.raises(Failure, match="not CUB-200-2011: no images.txt.*download CUB_200_2011.tgz from https://"):
            open_data(f"cub200:{folders}")

    @pytest.mark.parametrize(
        ("file", "text", "says"),
        [
            ("classes.txt", "1\n", "classes.txt: line 1: expected 2 fields, got 1"),
            ("image_class_labels.txt", "1 1\n", "image 2 has no class"),
            ("image_class_labels.txt", "", "image 1 has no class"),
            ("images.txt", "\n\n", "name no image"),
            ("classes.txt", "x y\n", "has no class"),
            ("images.txt", "1 ../../etc/passwd.png\n", "listed images are missing"),
        ],
    )
    def test_broken_lists(self, tmp_path: Path, save_image: SaveImage, file: str, text: str, says: str) -> None:
        root = make_cub(tmp_path, save_image)
        (root / file).write_text(text)
        with pytest.raises(Failure, match=says):
            open_data(f"cub200:{root}?counts=any")

    def test_lists_that_are_missing_or_no_text(self, tmp_path: Path, save_image: SaveImage) -> None:
        root = make_cub(tmp_path, save_image)
        (root / "classes.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(Failure, match="classes.txt: not a text file"):
            open_data(f"cub200:{root}")
        (root / "classes.txt").unlink()
        with pytest.raises(Failure, match="classes.txt: No such file"):
            open_data(f"cub200:{root}")


class TestSop:
    def test_official_layout_and_split(self, tmp_path: Path, save_image: SaveImage) -> None:
        root = make_sop(tmp_path / "Stanford_Online_Products", save_image)
        images = open_data(f"sop:{tmp_path}?counts=any")
        assert len(images) == 10 and images.read(9).size == (12, 10)
        assert parts(images) == (("00001", "00002", "11318"), ("11319", "22634"))
        with pytest.raises(Failure, match="10 images of 5 classes instead of 120,053 images of 22,634 classes"):
            open_data(f"sop:{root}")

    @pytest.mark.parametrize(
        ("file", "text", "says"),
        [
            ("Ebay_test.txt", "1 1 1 a.png\n", "first line is not 'image_id class_id super_class_id path'"),
            ("Ebay_test.txt", "", "first line"),
            ("Ebay_test.txt", "image_id class_id super_class_id path\n9 1 1 a.png\n", "class 1 is in both lists"),
            ("Ebay_train.txt", "image_id class_id super_class_id path\n9 1\n", "line 2: expected 4 fields"),
        ],
    )
    def test_broken_lists(self, tmp_path: Path, save_image: SaveImage, file: str, text: str, says: str) -> None:
        root = make_sop(tmp_path, save_image)
        (root / file).write_text(text)
        with pytest.raises(Failure, match=says):
            open_data(f"sop:{root}?counts=any")

    def test_what_is_not_sop(self, folders: Path) -> None:
        with pytest.raises(Failure, match="no Ebay_train.txt.*Stanford_Online_Products.zip"):
            open_data(f"sop:{folders}")


class TestCars:
    expected = (
        ("001.Make 001 Coupe 2012", "098.Make 098 Coupe 2012"),
        ("099.Make 099 Coupe 2012", "196.Make 196 Coupe 2012"),
    )

    def test_one_list(self, tmp_path: Path, save_image: SaveImage) -> None:
        pytest.importorskip("scipy")
        images = open_data(f"cars196:{make_cars_one_list(tmp_path, save_image)}?counts=any")
        assert len(images) == 8 and images.keys[0] == "car_ims/000001.png" and images.read(7).size == (12, 10)
        assert parts(images) == self.expected

    @pytest.mark.parametrize("labels_beside", [False, True])
    def test_devkit(self, tmp_path: Path, save_image: SaveImage, labels_beside: bool) -> None:
        pytest.importorskip("scipy")
        images = open_data(f"cars196:{make_cars_devkit(tmp_path, save_image, labels_beside)}?counts=any")
        assert len(images) == 8 and {key.split("/")[0] for key in images.keys} == {"cars_train", "cars_test"}
        assert parts(images) == self.expected

    @pytest.mark.parametrize(("divided", "count"), [(False, 196), (True, 392)])
    def test_folders(self, tmp_path: Path, save_image: SaveImage, divided: bool, count: int) -> None:
        images = open_data(f"cars196:{make_cars_folders(tmp_path, save_image, divided)}?counts=any")
        assert (len(images), len(images.classes)) == (count, 196)
        assert parts(images) == (tuple(CAR_NAMES[:98]), tuple(CAR_NAMES[98:]))

    def test_counts(self, tmp_path: Path, save_image: SaveImage) -> None:
        with pytest.raises(
            Failure, match="196 images of 196 classes instead of 16,185.*train 98 images of 98 classes instead of 8,054"
        ):
            open_data(f"cars196:{make_cars_folders(tmp_path, save_image, False)}")

    def test_without_scipy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "cars_annos.mat").write_bytes(b"")
        monkeypatch.setitem(sys.modules, "scipy", None)
        monkeypatch.setitem(sys.modules, "scipy.io", None)
        with pytest.raises(
            Failure, match="needs SciPy.*pip install scipy, or arrange the images in one folder per class"
        ):
            open_data(f"cars196:{tmp_path}")

    def test_broken_mat(self, tmp_path: Path, save_image: SaveImage) -> None:
        pytest.importorskip("scipy")
        from scipy.io import savemat

        path = make_cars_one_list(tmp_path, save_image) / "cars_annos.mat"
        whole = path.read_bytes()
        wrong = np.array([("a.png", 300)], dtype=[("relative_im_path", object), ("class", object)])
        for content, says in (
            (b"", "cars_annos.mat: not a readable .mat"),
            (b"no matrix at all" * 20, "not a readable .mat"),
            (whole[: len(whole) // 2], "cars_annos.mat"),
            ({"class_names": ["x"]}, "no 'annotations'"),
            ({"annotations": wrong}, "no 'class_names'"),
            ({"annotations": wrong, "class_names": ["x"]}, "class 300 is not one of the 1"),
            ({"annotations": np.array([1.0]), "class_names": ["x"]}, "no field"),
        ):
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                savemat(path, content)
            with pytest.raises(Failure, match=says):
                open_data(f"cars196:{tmp_path}?counts=any")

    def test_what_is_not_cars(self, tmp_path: Path) -> None:
        with pytest.raises(Failure, match="no class folders"):
            open_data(f"cars196:{tmp_path}")
        (tmp_path / "a").mkdir()
        with pytest.raises(Failure, match="not Stanford Cars.*cars_annos.mat"):
            open_data(f"cars196:{tmp_path}")


def test_published_counts_add_up() -> None:
    for published in (CUB200, SOP, CARS196):
        train, test = published.parts["train"], published.parts["test"]
        assert Counts(train.classes + test.classes, train.images + test.images) == published.whole


def test_check_counts_names_only_what_differs(tmp_path: Path, save_image: SaveImage) -> None:
    images = open_data(f"cub200:{make_cub(tmp_path, save_image)}?counts=any")
    right = Published("mini", Counts(5, 10), "get it", {"train": Counts(3, 6), "test": Counts(2, 4)})
    check_counts(images, right)
    with pytest.raises(Failure) as caught:
        check_counts(images, Published("mini", Counts(5, 10), "get it", {"train": Counts(3, 6), "test": Counts(2, 5)}))
    assert caught.value.what.endswith("mini: test 4 images of 2 classes instead of 5 images of 2 classes")
