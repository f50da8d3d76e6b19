from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distill.console.errors import Failure
from distill.data.lfw import LFW, read_pairs
from distill.data.published import Counts
from distill.data.spec import open_data
from distill.data.split import split

PEOPLE = {"Ann_Lee": 3, "Bo_Ek": 2, "Cy_Poe": 2, "Di_Orr": 1}


def make_lfw(root: Path, save_image: Callable[..., Path], folder: str = "lfw", lists: bool = True) -> Path:
    for name, count in PEOPLE.items():
        for i in range(1, count + 1):
            save_image(root / folder / name / f"{name}_{i:04d}.png", seed=i)
    if lists:
        (root / "peopleDevTrain.txt").write_text("2\nAnn_Lee\t3\nDi_Orr\t1\n")
        (root / "peopleDevTest.txt").write_text("2\nBo_Ek\t2\nCy_Poe\t2\n")
    return root


PAIRS = "2\t2\n" + "".join(
    [
        "Ann_Lee\t1\t3\n",
        "Bo_Ek\t1\t2\n",
        "Ann_Lee\t2\tBo_Ek\t1\n",
        "Cy_Poe\t1\tDi_Orr\t1\n",
        "Cy_Poe\t1\t2\n",
        "Ann_Lee\t1\t2\n",
        "Di_Orr\t1\tBo_Ek\t2\n",
        "Cy_Poe\t2\tAnn_Lee\t3\n",
    ]
)


@pytest.mark.parametrize("folder", ["lfw", "lfw_funneled", "lfw-deepfunneled", "."])
def test_identities_and_view_1(tmp_path: Path, save_image: Callable[..., Path], folder: str) -> None:
    images = open_data(f"lfw:{make_lfw(tmp_path, save_image, folder)}?counts=any")
    assert images.classes == tuple(PEOPLE) and len(images) == 8
    assert images.keys[0] == "Ann_Lee/Ann_Lee_0001.png" and images.read(7).size == (12, 10)
    assert split(images, "official", "train").classes == ("Ann_Lee", "Di_Orr")
    assert split(images, "official", "test").classes == ("Bo_Ek", "Cy_Poe")


def test_without_the_lists_there_is_no_official_split(tmp_path: Path, save_image: Callable[..., Path]) -> None:
    images = open_data(f"lfw:{make_lfw(tmp_path, save_image, lists=False)}?counts=any,min_images=2")
    assert images.classes == ("Ann_Lee", "Bo_Ek", "Cy_Poe")
    with pytest.raises(Failure, match="no official split"):
        split(images, "official", "test")


def test_counts_and_cure(tmp_path: Path, save_image: Callable[..., Path]) -> None:
    with pytest.raises(Failure, match="8 images of 4 classes instead of 13,233 images of 5,749 classes.*lfw.tgz"):
        open_data(f"lfw:{make_lfw(tmp_path, save_image)}")
    train, test = LFW.parts["train"], LFW.parts["test"]
    assert Counts(train.classes + test.classes, train.images + test.images) == LFW.whole
    (tmp_path / "empty" / "x").mkdir(parents=True)
    with pytest.raises(Failure, match="not Labeled Faces"):
        open_data(f"lfw:{tmp_path / 'empty'}")


def test_person_in_both_lists(tmp_path: Path, save_image: Callable[..., Path]) -> None:
    root = make_lfw(tmp_path, save_image)
    (root / "peopleDevTest.txt").write_text("1\nAnn_Lee\t3\n")
    with pytest.raises(Failure, match="Ann_Lee is in both lists"):
        open_data(f"lfw:{root}?counts=any")


def test_pairs(tmp_path: Path, save_image: Callable[..., Path]) -> None:
    images = open_data(f"lfw:{make_lfw(tmp_path, save_image)}?counts=any")
    (tmp_path / "pairs.txt").write_text(PAIRS)
    pairs = read_pairs(tmp_path / "pairs.txt", images)
    assert len(pairs) == 8
    assert pairs.same.tolist() == [True, True, False, False] * 2
    assert pairs.fold.tolist() == [0] * 4 + [1] * 4
    named = [(images.keys[a], images.keys[b]) for a, b in zip(pairs.left, pairs.right, strict=True)]
    assert named[0] == ("Ann_Lee/Ann_Lee_0001.png", "Ann_Lee/Ann_Lee_0003.png")
    assert named[6] == ("Di_Orr/Di_Orr_0001.png", "Bo_Ek/Bo_Ek_0002.png")
    assert [
        images.labels[a] == images.labels[b] for a, b in zip(pairs.left, pairs.right, strict=True)
    ] == pairs.same.tolist()


def test_development_pairs_have_one_set(tmp_path: Path, save_image: Callable[..., Path]) -> None:
    images = open_data(f"lfw:{make_lfw(tmp_path, save_image)}?counts=any")
    (tmp_path / "pairsDevTrain.txt").write_text("1\nAnn_Lee\t1\t3\nDi_Orr\t1\tBo_Ek\t2\n")
    assert read_pairs(tmp_path / "pairsDevTrain.txt", images).fold.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "first line"),
        ("ten 300\n", "first line"),
        ("1 2 3\n", "first line"),
        (PAIRS[:-30], "declares 8"),
        ("1\nAnn_Lee 1 2\n", "1 pairs, but"),
        (PAIRS.replace("Ann_Lee\t1\t3", "Ann_Lee\t1\t9"), "Ann_Lee 9 is not in lfw"),
        (PAIRS.replace("Ann_Lee\t1\t3", "Ann_Lee\t1\tx"), "Ann_Lee x is not in"),
        (PAIRS.replace("Ann_Lee\t1\t3", "Ann_Lee\t1"), "'Ann_Lee 1' is not a pair"),
        (PAIRS.replace("Ann_Lee\t1\t3", "No_One\t1\t3"), "No_One 1 is not in"),
    ],
)
def test_broken_pairs(tmp_path: Path, save_image: Callable[..., Path], text: str, says: str) -> None:
    images = open_data(f"lfw:{make_lfw(tmp_path, save_image)}?counts=any")
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(Failure, match=says):
        read_pairs(tmp_path / "pairs.txt", images)
    with pytest.raises(Failure, match="no such file"):
        read_pairs(tmp_path / "no.txt", images)
