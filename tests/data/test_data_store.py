from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from distill.console.errors import Failure
from distill.data import store
from distill.data.folder import open_folder
from distill.data.imageset import UnreadableImage
from distill.data.preprocess import Preprocessing, resize_exactly
from distill.data.store import PixelStore


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cache"


def only(cache: Path, suffix: str) -> Path:
    (path,) = cache.glob(f"*{suffix}")
    return path


def no_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: Any) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(store, "_build", build)


def test_pixels_as_decoded_and_never_enlarged(folders: Path, cache: Path, save_image: Callable[..., Path]) -> None:
    save_image(folders / "ant" / "large.png", seed=3, size=(90, 61))
    images = open_folder("s", folders)
    pixels = PixelStore.open(images, 16, cache)
    assert len(pixels) == len(images) == 11 and pixels.readable.all() and pixels.readable.dtype == bool
    for i in range(11):
        image = images.read(i)
        shorter = min(image.size)
        if shorter > 16:
            image = resize_exactly(image, (image.width * 16 // shorter, image.height * 16 // shorter))
        np.testing.assert_array_equal(pixels[i], np.asarray(image))
    assert pixels[images.keys.index("ant/large.png")].shape == (16, 23, 3)
    np.testing.assert_array_equal(pixels[-1], pixels[10])
    for wrong in (11, -12):
        with pytest.raises(IndexError):
            pixels[wrong]


def test_preprocessing_of_stored_pixels_equals_that_of_the_file(
    folders: Path, cache: Path, save_image: Callable[..., Path]
) -> None:
    save_image(folders / "ant" / "large.png", seed=3, size=(90, 61))
    images = open_folder("s", folders)
    pixels = PixelStore.open(images, 16, cache)
    preprocessing = Preprocessing(input_size=13, resize_size=16)
    for i in range(len(images)):
        stored = PIL.Image.fromarray(pixels[i])
        np.testing.assert_array_equal(preprocessing.pixels(stored), preprocessing.pixels(images.read(i)))


def test_views_do_not_copy_and_cannot_be_written(folders: Path, cache: Path) -> None:
    pixels = PixelStore.open(open_folder("s", folders), 16, cache)
    assert np.shares_memory(pixels[0], pixels._flat)
    with pytest.raises(ValueError, match="read-only"):
        pixels[0][0] = 1


def test_used_again_and_keyed_by_content_and_size(
    folders: Path, cache: Path, save_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = PixelStore.open(open_folder("s", folders), 16, cache)
    with monkeypatch.context() as patch:
        no_building(patch)
        again = PixelStore.open(open_folder("other spec", folders), 16, cache)
        np.testing.assert_array_equal(again[7], first[7])
        with pytest.raises(AssertionError, match="built again"):
            PixelStore.open(open_folder("s", folders), 12, cache)
    save_image(folders / "ant" / "0.png", seed=77, size=(20, 15))
    changed = PixelStore.open(open_folder("s", folders), 16, cache)
    assert not np.array_equal(changed[0], first[0])
    assert len(list(cache.glob("*.bin"))) == 2


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _zero_tail(path: Path) -> None:
    size = path.stat().st_size
    os.truncate(path, size - 2000)
    os.truncate(path, size)


def _edit(**values: object) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return edit


@pytest.mark.parametrize(
    ("suffix", "harm"),
    [
        (".bin", _truncate),
        (".bin", _zero_tail),
        (".bin", Path.unlink),
        (".bin", lambda p: p.write_bytes(b"")),
        (".json", _truncate),
        (".json", Path.unlink),
        (".json", lambda p: p.write_text("[1]")),
        (".json", lambda p: p.write_bytes(b"\xff\x00")),
        (".json", _edit(format_version=0)),
        (".json", _edit(pillow="1.0")),
        (".json", _edit(shapes=[[1, 1]])),
        (".json", _edit(shapes=[[-1, -1]] * 10)),
        (".json", _edit(shapes="x")),
        (".json", _edit(shapes=None)),
        (".json", _edit(probes=[])),
        (".json", _edit(bytes=5)),
        (".json", _edit(bytes="5")),
        (".json", _edit(unreadable=3)),
        (".json", _edit(unreadable=[[1, 2]])),
        (".json", _edit(fingerprint="other")),
        (".json", _edit(shapes=[[2**62, 4]] * 10)),
    ],
)
def test_damaged_store_is_built_again(folders: Path, cache: Path, suffix: str, harm: Callable[[Path], object]) -> None:
    images = open_folder("s", folders)
    before = [p.tolist() for p in PixelStore.open(images, 16, cache)]
    harm(only(cache, suffix))
    assert [p.tolist() for p in PixelStore.open(images, 16, cache)] == before
    json.loads(only(cache, ".json").read_text())


def test_unreadable_images_are_told_and_excluded(folders: Path, cache: Path, stderr: Callable[[], str]) -> None:
    (folders / "bee" / "0.png").write_bytes(b"")
    images = open_folder("s", folders)
    for _ in range(2):  # built, then used again
        pixels = PixelStore.open(images, 16, cache)
        assert np.flatnonzero(~pixels.readable).tolist() == [3]
        told = stderr()
        assert "skipped 1 of 10 images" in told and "bee/0.png" in told
        with pytest.raises(UnreadableImage):
            pixels[3]
        np.testing.assert_array_equal(pixels[4], np.asarray(images.read(4)))


def test_none_readable(folders: Path, cache: Path) -> None:
    (folders / "dog" / "0.png").write_bytes(b"")
    with pytest.raises(Failure, match="no readable image"):
        PixelStore.open(open_folder("s", folders).select([9]), 16, cache)
    assert list(cache.iterdir()) == []
    with pytest.raises(ValueError, match="at least 1"):
        PixelStore.open(open_folder("s", folders), 0, cache)


def test_full_disk_is_one_clear_failure(folders: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = open

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = real(path, mode, *args, **kwargs)
        return Full(file) if mode == "wb" else file

    monkeypatch.setattr(store, "open", opened, raising=False)
    with pytest.raises(Failure, match="cannot write decoded images: No space left.*free some space"):
        PixelStore.open(open_folder("s", folders), 16, cache)
    assert list(cache.iterdir()) == [], "nothing half-written stays"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_device(folders: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = open
    monkeypatch.setattr(
        store, "open", lambda p, mode="r": real("/dev/full" if mode == "wb" else p, mode), raising=False
    )
    with pytest.raises(Failure, match="No space left"):
        PixelStore.open(open_folder("s", folders), 16, cache)


def test_cache_that_is_a_file(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(Failure, match="cannot write decoded images.*another cache folder"):
        PixelStore.open(open_folder("s", folders), 16, tmp_path / "cache")


def test_leftovers_of_a_killed_builder_are_removed(folders: Path, cache: Path) -> None:
    images = open_folder("s", folders)
    PixelStore.open(images, 16, cache)
    stem = only(cache, ".bin").stem
    old, fresh = cache / f".{stem}-old.bin", cache / f".{stem}-fresh.bin"
    for path in (old, fresh):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 9999,) * 2)
    only(cache, ".json").unlink()
    PixelStore.open(images, 16, cache)
    assert not old.exists() and fresh.exists()


def test_interrupted_build_leaves_nothing(folders: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_folder("s", folders)
    monkeypatch.setattr(store, "_probe", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        PixelStore.open(images, 16, cache)
    assert list(cache.iterdir()) == []


def test_pickle_carries_the_path_not_the_pixels(folders: Path, cache: Path) -> None:
    pixels = PixelStore.open(open_folder("s", folders), 16, cache)
    data = pickle.dumps(pixels)
    assert len(data) < 2000
    np.testing.assert_array_equal(pickle.loads(data)[5], pixels[5])


def _open_in_process(root: Path, cache: Path, start: Any, results: Any) -> None:
    images = open_folder("s", root)
    start.wait()
    pixels = PixelStore.open(images, 16, cache)
    results.put([int(p.sum()) for p in pixels])


def test_builders_at_the_same_time(folders: Path, cache: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Barrier(3), spawn.Queue()
    workers = [spawn.Process(target=_open_in_process, args=(folders, cache, start, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    sums = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    expected = [int(p.sum()) for p in PixelStore.open(open_folder("s", folders), 16, cache)]
    assert sums == [expected] * 3
    assert sorted(p.suffix for p in cache.iterdir()) == [".bin", ".json"]


def test_a_store_says_its_size_before_it_is_written(
    folders: Path, cache: Path, save_image: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """300 images of 60 x 40, reduced to 30 x 20: 540 kB."""
    for number in range(300):
        save_image(folders / "even" / f"{number}.png", seed=3, size=(60, 40))
    images = open_folder("folder:mine", folders)
    images = images.select([i for i, key in enumerate(images.keys) if key.startswith("even/")])
    pixels = PixelStore.open(images, 20, cache)
    said = " ".join(capsys.readouterr().err.split())
    assert f"folder:mine: 300 decoded images take about 0.54 MB, stored once in {cache}" in said
    assert pixels.path.stat().st_size == 540_000
    PixelStore.open(images, 20, cache)
    assert "take about" not in capsys.readouterr().err  # nothing is written


@pytest.mark.parametrize(("free", "fits"), [(1_080_000, True), (1_000_000, False), (500_000, False), (0, False)])
def test_a_store_that_would_fill_the_disk_is_not_begun(
    folders: Path, cache: Path, save_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, free: int, fits: bool
) -> None:
    for number in range(300):
        save_image(folders / "even" / f"{number}.png", seed=3, size=(60, 40))
    images = open_folder("folder:mine", folders)
    images = images.select([i for i, key in enumerate(images.keys) if key.startswith("even/")])
    monkeypatch.setattr(store.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, free))
    if fits:
        PixelStore.open(images, 20, cache)
        return
    with pytest.raises(Failure, match=r"take about 0.54 MB, and .* has .* MB free.*--cache-dir.*--stored-size"):
        PixelStore.open(images, 20, cache)
    assert not list(cache.iterdir())


def test_a_disk_that_fills_meanwhile_ends_the_store(
    folders: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = open_folder("s", folders)
    free = iter([10**12, 10**12] + [0] * 20)
    monkeypatch.setattr(store, "_CHECK_EVERY", 2)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, next(free)))
    with pytest.raises(Failure, match="nearly full.*free some space"):
        PixelStore.open(images, 16, cache)
    assert not list(cache.iterdir())


def test_a_million_photos_are_estimated_in_no_time() -> None:
    class Photos(open_folder.__globals__["FileImageSet"]):
        def read(self, index: int) -> PIL.Image.Image:
            return PIL.Image.new("RGB", (400, 300))

    images = Photos("folder:million", "folder", Path("/nowhere"), [f"a/{i}" for i in range(10**6)], ["a"] * 10**6)
    assert store._estimate(images, 256) == 10**6 * 341 * 256 * 3  # 262 GB
