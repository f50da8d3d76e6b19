from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from distill.console.errors import Failure
from distill.data.batches import pixel_batches, read_ahead
from distill.data.folder import open_folder
from distill.data.preprocess import Preprocessing
from distill.data.spec import open_data

SMALL = Preprocessing(input_size=8, resize_size=9)


def damage(folders: Path, *names: str) -> None:
    for name in names:
        (folders / name).write_bytes(b"not an image")


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4, 4, 2]), (10, [10]), (64, [10]), (1, [1] * 10), (5, [5, 5])])
def test_all_images_in_order(folders: Path, batch_size: int, sizes: list[int]) -> None:
    images = open_folder("s", folders)
    batches = list(pixel_batches(images, SMALL, batch_size))
    assert [len(pixels) for pixels, _ in batches] == sizes
    indices = np.concatenate([i for _, i in batches])
    assert indices.tolist() == list(range(10)) and indices.dtype == np.int64
    for pixels, chosen in batches:
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (8, 8, 3)
        for row, index in zip(pixels, chosen, strict=True):
            np.testing.assert_array_equal(row, SMALL.pixels(images.read(index)))


def test_threads_do_not_change_the_result() -> None:
    images = open_data("glyphs:classes=40")
    one = [(p.tobytes(), i.tolist()) for p, i in pixel_batches(images, SMALL, 50, workers=1)]
    assert [(p.tobytes(), i.tolist()) for p, i in pixel_batches(images, SMALL, 50, workers=7)] == one


def test_unreadable_images_are_skipped_and_counted(folders: Path, stderr: Callable[[], str]) -> None:
    damage(folders, "ant/1.png", "cat/0.png", "cat/2.png", "dog/0.png")
    images = open_folder("folder:folders", folders)
    batches = list(pixel_batches(images, SMALL, 4))
    assert [i.tolist() for _, i in batches] == [[0, 2, 3, 4], [6, 8]]
    told = stderr()
    assert "skipped 4 of 10 images that cannot be read: ant/1.png: not a JPEG" in told and told.count("warning:") == 1
    assert "dog/0.png" not in told and "; …" in told


def test_none_readable(folders: Path) -> None:
    images = open_folder("s", folders).select([9])
    damage(folders, "dog/0.png")
    with pytest.raises(Failure, match=r"no readable image among 1, e\.g\. dog/0\.png"):
        list(pixel_batches(images, SMALL))
    with pytest.raises(Failure, match="no readable image among 0"):
        list(pixel_batches(images.select([]), SMALL))


def test_wrong_sizes_fail_at_once(folders: Path) -> None:
    images = open_folder("s", folders)
    for wrong in ({"batch_size": 0}, {"workers": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            pixel_batches(images, SMALL, **wrong)


def test_read_ahead_is_bounded_and_ordered() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def load(index: int) -> int:
        with lock:
            started.append(index)
        time.sleep(0.001 * (index % 3))
        return index

    results = read_ahead(load, range(200), workers=4, ahead=10)
    for count, index in enumerate(results, 1):
        assert index == count - 1
        with lock:
            assert len(started) <= count + 10
    assert len(started) == 200


def test_leaving_early_ends_the_threads() -> None:
    before = threading.active_count()
    results = read_ahead(lambda i: i, range(10_000), workers=4, ahead=8)
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before


def test_unexpected_errors_come_out() -> None:
    def load(index: int) -> int:
        if index == 5:
            raise ZeroDivisionError
        return index

    results = read_ahead(load, range(10), workers=2, ahead=3)
    with pytest.raises(ZeroDivisionError):
        list(results)


def test_memory_stays_bounded(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_data("glyphs:classes=200")
    alive = 0
    most = 0
    lock = threading.Lock()
    original = images.read

    def read(index: int) -> PIL.Image.Image:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return original(index)

    monkeypatch.setattr(images, "read", read)
    for pixels, _ in pixel_batches(images, SMALL, batch_size=16, workers=4):
        with lock:
            alive -= len(pixels)
    assert 16 < most <= 16 + 2 * 16 + 1
