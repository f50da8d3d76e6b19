"""Images without labels: what is a class folder, the split by images, and what a run knows of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

import distill.data.folder as folder_module
from distill.console.errors import Failure, UsageFailure
from distill.data.imageset import ImageSet
from distill.data.known import Known, part_for, shared_images, unlabelled_tests, warn_of_trained
from distill.data.spec import open_data
from distill.data.split import default_rule, part_indices, split

Save = Callable[..., Path]


@pytest.fixture(autouse=True)
def tell_again() -> None:
    folder_module._told.clear()


def open_at(root: Path, options: str = "") -> ImageSet:
    return open_data(f"folder:{root}{'?' + options if options else ''}")


class TestWhatIsAClassFolder:
    def test_a_flat_folder_has_no_labels(self, tmp_path: Path, save_image: Save, stderr: Callable[[], str]) -> None:
        for i in range(3):
            save_image(tmp_path / f"{i}.jpg", seed=i)
        images = open_at(tmp_path)
        assert not images.labelled and images.keys == ("0.jpg", "1.jpg", "2.jpg") and "no labels" in repr(images)
        assert "opened without labels, because no folder in it contains images" in stderr()
        open_at(tmp_path)
        assert stderr() == ""  # said once
        with pytest.raises(Failure, match="no class folders"):
            open_at(tmp_path, "labels=yes")

    def test_one_folder_is_no_class(self, tmp_path: Path, save_image: Save, stderr: Callable[[], str]) -> None:
        save_image(tmp_path / "DCIM" / "100APPLE" / "a.jpg")
        save_image(tmp_path / "DCIM" / "101APPLE" / "b.jpg")
        (tmp_path / "empty").mkdir()
        images = open_at(tmp_path)
        assert not images.labelled and images.keys == ("DCIM/100APPLE/a.jpg", "DCIM/101APPLE/b.jpg")
        assert "only its folder DCIM contains images" in stderr()
        assert open_at(tmp_path, "labels=yes").classes == ("DCIM",)

    def test_two_folders_are_classes(self, folders: Path, stderr: Callable[[], str]) -> None:
        assert open_at(folders).classes == ("ant", "bee", "cat", "dog") and stderr() == ""
        bare = open_at(folders, "labels=no")
        assert not bare.labelled and bare.keys == open_at(folders).keys and stderr() == ""

    def test_a_few_images_beside_the_classes_are_left_out(
        self, folders: Path, save_image: Save, stderr: Callable[[], str]
    ) -> None:
        for i in range(10):
            save_image(folders / f"loose{i}.png")
        assert len(open_at(folders)) == 10
        assert "10 images directly in it have no class and are left out: loose0.png" in stderr()
        save_image(folders / "loose10.png")
        images = open_at(folders)
        assert not images.labelled and len(images) == 21
        assert "11 images lie directly in it and 10 in its 4 folders" in stderr()
        assert open_at(folders, "labels=yes").classes == ("ant", "bee", "cat", "dog")

    def test_folders_named_like_dates_are_classes_with_a_notice(
        self, tmp_path: Path, save_image: Save, stderr: Callable[[], str]
    ) -> None:
        for name in ("2023", "2024-05", "101APPLE"):
            save_image(tmp_path / name / "a.jpg")
        assert open_at(tmp_path).labelled
        assert "look like dates or a camera's" in (told := stderr()) and "labels=no" in told
        assert len(open_at(tmp_path, "labels=no")) == 3 and stderr() == ""
        save_image(tmp_path / "7" / "a.jpg")  # digits, say
        folder_module._told.clear()
        assert open_at(tmp_path).labelled and stderr() == ""

    def test_no_image_at_all(self, tmp_path: Path) -> None:
        for options in ("", "labels=no"):
            with pytest.raises(Failure, match="no images.*at any depth"):
                open_at(tmp_path, options)


def test_any_kind_opens_without_labels(tmp_path: Path, folders: Path) -> None:
    glyphs = open_data("glyphs:classes=4,faces=2,labels=no")
    assert not glyphs.labelled and glyphs.keys == open_data("glyphs:classes=4,faces=2").keys
    table = tmp_path / "list.csv"
    table.write_text("path\nfolders/ant/0.png\nfolders/bee/1.png\n")
    assert open_data(f"csv:{table}?labels=no").keys == ("folders/ant/0.png", "folders/bee/1.png")
    with pytest.raises(Failure, match=r"no column 'class'.*labels=no"):
        open_data(f"csv:{table}")
    table.write_text("path,class,split\nfolders/ant/0.png,x,train\nfolders/bee/1.png,,\n")
    bare = open_data(f"csv:{table}?labels=no")
    assert len(bare) == 2 and not bare.labelled and bare.official is None


def test_options_that_need_labels_or_none(folders: Path) -> None:
    with pytest.raises(UsageFailure, match="min_images.*no labels"):
        open_at(folders, "labels=no,min_images=2")
    with pytest.raises(UsageFailure, match="seed splits images without labels"):
        open_at(folders, "seed=1")
    with pytest.raises(Failure, match="has no official split.*a number of images"):
        split(open_at(folders, "labels=no"), "official", "test")


def test_labels_that_are_not_there_are_one_line(folders: Path) -> None:
    images = open_at(folders, "labels=no")
    for read in (lambda: images.labels, lambda: images.classes):
        with pytest.raises(Failure, match="these images have no labels"):
            read()
    assert images.select([3, 1]).keys == (images.keys[3], images.keys[1])


def test_the_fingerprint_is_of_the_images_and_of_having_no_labels(folders: Path, tmp_path: Path) -> None:
    prints = {open_at(folders, options).fingerprint() for options in ("", "labels=no", "labels=no,seed=3")}
    assert len(prints) == 2  # the seed is no property of the images
    moved = Path(shutil.copytree(folders, tmp_path / "moved"))
    assert open_at(moved, "labels=no").fingerprint() == open_at(folders, "labels=no").fingerprint()
    assert open_at(folders, "labels=no").sample() == open_at(folders).sample()


class Bare(ImageSet):
    """Keys alone."""

    def read(self, index: int) -> PIL.Image.Image:
        raise NotImplementedError

    def _content(self) -> Iterable[bytes]:
        return (key.encode().ljust(8) for key in self.keys)


def bare(count: int, seed: int = 0) -> ImageSet:
    return Bare("bare", "bare", [f"{i:05d}" for i in range(count)], None).with_split_seed(seed)


@given(
    st.integers(2, 80),
    st.one_of(st.none(), st.just("half"), st.integers(1, 79).map(str), st.floats(0.01, 0.99).map(str)),
    st.sampled_from([0.0, 0.2]),
    st.integers(0, 5),
)
def test_parts_hold_every_image_once(count: int, rule: str | None, validation: float, seed: int) -> None:
    images = bare(count, seed)
    try:
        found = part_indices(images, rule or default_rule(images), validation)
    except Failure:
        return
    assert np.sort(np.concatenate(list(found.values()))).tolist() == list(range(count))
    assert len(found["train"]) and len(found["test"]) and bool(len(found["validation"])) == bool(validation)
    keys = split(images, rule, "test", validation).keys
    assert keys == tuple(images.keys[i] for i in found["test"]) and list(keys) == sorted(keys)


def test_the_split_is_by_seed_and_stays_when_images_are_added() -> None:
    assert len(split(bare(1000), None, "test")) == 200  # a fifth
    first, again, other = (set(split(bare(1000, seed), None, "test").keys) for seed in (0, 0, 1))
    assert first == again and 20 < len(first & other) < 60  # 40 by chance
    more = set(split(bare(1010), None, "test").keys)
    assert len(first - more) < 10


class TestWhatARunKnows:
    def record(self, images: ImageSet, rule: str) -> dict:
        train = split(images, rule, "train")
        return {
            "spec": images.spec, "split": rule, "validation": 0.0, "classes": [], "labels": False,
            "test_classes": [], "fingerprint": train.fingerprint(), "image_sample": list(train.sample()),
        }  # fmt: skip

    def test_the_same_images_are_split_as_the_run_was(self, folders: Path, tmp_path: Path) -> None:
        images = open_at(folders, "labels=no")
        record = self.record(images, "0.6")
        expected = split(images, "0.6", "test").keys
        assert part_for(images, record, "test")[0].keys == expected
        copy = open_at(Path(shutil.copytree(folders, tmp_path / "copy")), "labels=no")
        assert part_for(copy, record, "test")[0].keys == expected  # another spec, the same images

    def test_trained_images_are_reported(self, folders: Path, stderr: Callable[[], str]) -> None:
        images = open_at(folders, "labels=no")
        known = Known.of(self.record(images, "0.6"))
        assert not known.labelled
        warn_of_trained(split(images, "0.6", "test"), known, "runs/a", "the test part")
        assert stderr() == ""
        warn_of_trained(images, known, "runs/a", "the test part")
        assert "6 or more of the 10 images of the test part are images that runs/a was trained on" in stderr()
        # With labels, measured from outside.
        warn_of_trained(open_at(folders), known, "runs/a", "the test part")
        assert "hold images that runs/a was trained on, without labels" in stderr()

    def test_unlabelled_images_are_found_among_the_tests(self, folders: Path) -> None:
        tests, flat = open_at(folders).select([5, 6, 9]), open_at(folders, "labels=no").select([0, 6, 9])
        assert unlabelled_tests(flat, tests) == ("cat", "dog")
        assert shared_images(flat, tests).tolist() == [1, 2]
