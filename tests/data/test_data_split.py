from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import PIL.Image
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from distill.console.errors import Failure, UsageFailure
from distill.data.imageset import ImageSet
from distill.data.split import split


class Named(ImageSet):
    """Labels only."""

    def read(self, index: int) -> PIL.Image.Image:
        raise NotImplementedError

    def _content(self) -> Iterable[bytes]:
        return (b"" for _ in self.keys)


def named(names: list[str], official: dict[str, str] | None = None) -> Named:
    return Named("named", "named", [f"{i}" for i in range(len(names))], names, official=official)


def classes(count: int) -> Named:
    return named([f"{i // 2:04d}" for i in range(2 * count)])


PARTS = ("train", "validation", "test")


@given(
    st.lists(st.text("abcXYZé", min_size=1, max_size=3), min_size=4, max_size=60),
    st.one_of(st.just("half"), st.integers(1, 59).map(str), st.floats(0.01, 0.99).map(str)),
    st.sampled_from([0.0, 0.05, 0.3, 0.9]),
)
def test_parts_are_disjoint_and_complete(names: list[str], rule: str, validation: float) -> None:
    images = named(names)
    wanted = [p for p in PARTS if p != "validation" or validation]
    try:
        parts = {part: split(images, rule, part, validation) for part in wanted}  # type: ignore[arg-type]
    except Failure:
        assume(False)
    assert sorted(key for part in parts.values() for key in part.keys) == sorted(images.keys)
    assert sorted(name for part in parts.values() for name in part.classes) == sorted(images.classes)
    # Sorted order: train, validation, test follow one another.
    assert [name for p in wanted for name in parts[p].classes] == list(images.classes)
    for part in parts.values():
        assert len(part) and [images.labels[int(k)] for k in part.keys] == [
            images.classes.index(part.classes[label]) for label in part.labels
        ]


@pytest.mark.parametrize(
    ("count", "rule", "train"),
    [
        (200, "half", 100),
        (7, "half", 4),
        (2, "half", 1),
        (10, "3", 3),
        (10, "9", 9),
        (10, "0.7", 7),
        (5, "0.5", 3),
        (10, "0.01", 1),
    ],
)
def test_rules(count: int, rule: str, train: int) -> None:
    images = classes(count)
    assert len(split(images, rule, "train").classes) == train
    assert len(split(images, rule, "test").classes) == count - train
    assert split(images, rule, "all") is images


def test_validation_takes_the_last_train_classes() -> None:
    images = classes(20)
    assert split(images, "10", "validation", 0.2).classes == ("0008", "0009")
    assert split(images, "10", "train", 0.2).classes == tuple(f"{i:04d}" for i in range(8))
    assert split(images, "10", "test", 0.2).classes == split(images, "10", "test").classes
    assert len(split(images, "10", "validation", 0.001).classes) == 1


def test_official() -> None:
    images = named(["b", "a", "c", "d", "e"], {"a": "test", "b": "train", "c": "test", "d": "train"})
    assert split(images, "official", "train").classes == ("b", "d")
    assert split(images, "official", "test").classes == ("a", "c")
    assert split(images, "official", "validation", 0.5).classes == ("d",)
    # It survives a selection, as it is by class name.
    assert split(images.select([0, 1]), "official", "test").classes == ("a",)


@pytest.mark.parametrize(
    ("rule", "part", "validation", "says"),
    [
        ("0.0", "train", 0, "between 0 and 1"),
        ("1.0", "train", 0, "between 0 and 1"),
        ("1.5", "train", 0, "between"),
        ("nan", "train", 0, "between"),
        ("-1", "train", 0, "between"),
        ("0", "train", 0, "leaves no train class"),
        ("10", "train", 0, "leaves no test class"),
        ("11", "test", 0, "leaves no test"),
        ("0.99", "train", 0, "leaves no test"),
        ("haf", "train", 0, "did you mean 'half'"),
        ("first", "train", 0, "a fraction such as 0.7"),
        ("", "train", 0, "unknown split"),
        ("half", "trian", 0, "did you mean 'train'"),
        ("half", "validation", 0, "validation share"),
        ("half", "train", 1.0, "not in 0"),
        ("half", "train", -0.1, "not in 0"),
        ("half", "train", float("nan"), "not in 0"),
    ],
)
def test_nonsense_is_wrong_usage(rule: str, part: str, validation: float, says: str) -> None:
    with pytest.raises(UsageFailure, match=says):
        split(classes(10), rule, part, validation)  # type: ignore[arg-type]


def test_too_few_classes() -> None:
    with pytest.raises(Failure, match="too few"):
        split(classes(1), "half", "train")
    with pytest.raises(Failure, match="leaves none"):
        split(classes(2), "half", "train", 0.5)
    with pytest.raises(Failure, match="no official split"):
        split(classes(4), "official", "train")
    with pytest.raises(Failure, match="leaves no test"):
        split(named(["a", "b"], {"a": "train", "b": "train"}), "official", "train")


def test_a_single_class_is_pointed_out(stderr: Callable[[], str]) -> None:
    split(classes(3), "half", "test")
    assert "one class only" in stderr()
    split(classes(4), "half", "test")
    assert stderr() == ""


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=30), st.data())
def test_select_keeps_order_and_names(names: list[str], data: st.DataObject) -> None:
    images = named(names)
    chosen = data.draw(st.lists(st.integers(0, len(names) - 1), unique=True))
    subset = images.select(chosen)
    assert subset.keys == tuple(images.keys[i] for i in chosen)
    assert [subset.classes[label] for label in subset.labels] == [names[i] for i in chosen]
    assert subset.classes == tuple(sorted({names[i] for i in chosen}))
    assert subset.labels.dtype == np.int64


def test_select_refuses_what_it_cannot_mean() -> None:
    images = classes(3)
    assert len(images.select([])) == 0 and images.select([]).classes == ()
    assert images.select(images.labels == 1).classes == ("0001",)
    for wrong in ([6], [-1], np.array([True])):
        with pytest.raises(IndexError):
            images.select(wrong)
    with pytest.raises(ValueError, match="twice"):
        images.select([1, 1])
    with pytest.raises(ValueError, match="read-only"):
        images.labels[0] = 3
