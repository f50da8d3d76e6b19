from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distill.console.errors import Failure
from distill.data.files import walk_images
from distill.data.folder import open_folder
from distill.data.imageset import UnreadableImage


def test_classes_are_sorted_folders(folders: Path) -> None:
    images = open_folder("folder:folders", folders)
    assert images.classes == ("ant", "bee", "cat", "dog")
    assert images.keys[:4] == ("ant/0.png", "ant/1.png", "ant/2.png", "bee/0.png")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2, 3]
    assert images.flip and images.official is None
    assert images.read(4).size == (21, 16)
    assert images.read_bytes(4) == (folders / "bee" / "1.png").read_bytes()
    subset = images.select([9, 3])
    assert subset.classes == ("bee", "dog") and subset.read(0).size == images.read(9).size


def test_nested_and_hidden_and_suffixes(folders: Path, save_image: Callable[..., Path]) -> None:
    save_image(folders / "bee" / "garden" / "deep" / "x.JPG")
    save_image(folders / "bee" / "y.WebP")
    save_image(folders / "bee" / ".thumbs" / "z.png")
    save_image(folders / "bee" / "._1.png")
    save_image(folders / ".cache" / "z.png")
    (folders / "bee" / "notes.txt").write_text("no image")
    (folders / "readme.md").write_text("no class")
    bees = [key for key in open_folder("s", folders).keys if key.startswith("bee/")]
    assert bees == ["bee/0.png", "bee/1.png", "bee/garden/deep/x.JPG", "bee/y.WebP"]


def test_loops_of_links_end(folders: Path) -> None:
    (folders / "bee" / "again").symlink_to(folders)
    (folders / "bee" / "self").symlink_to(folders / "bee")
    started = time.monotonic()
    # "again" leads to the whole tree once; "bee" is not entered again from there.
    keys = list(walk_images(folders / "bee"))
    assert time.monotonic() - started < 1
    assert [k for k in keys if "/" not in k] == ["0.png", "1.png"]
    assert len(keys) == 2 + 3 + 4 + 1


def test_many_links_to_each_other_end(folders: Path) -> None:
    for a in range(12):
        (folders / "bee" / f"d{a}").mkdir()
        for b in range(12):
            (folders / "bee" / f"d{a}" / f"to{b}").symlink_to(folders / "bee" / f"d{b}")
    assert list(walk_images(folders / "bee")) == ["0.png", "1.png"]


def test_folder_without_images_is_no_class(folders: Path, stderr: Callable[[], str]) -> None:
    (folders / "eel").mkdir()
    (folders / "elk").mkdir()
    (folders / "elk" / "a.heic").write_bytes(b"x")
    assert open_folder("s", folders).classes == ("ant", "bee", "cat", "dog")
    assert "2 folders contain no images and are not classes: eel, elk" in stderr()


def test_no_class_at_all(tmp_path: Path, save_image: Callable[..., Path]) -> None:
    with pytest.raises(Failure, match="no images.*at any depth"):
        open_folder("s", tmp_path)
    with pytest.raises(Failure, match="no class folders.*one folder per class"):
        open_folder("s", tmp_path, labels=True)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "p.heic").write_bytes(b"x")
    with pytest.raises(Failure, match=r"no images in 1 class folders; found .*\.heic ×1"):
        open_folder("s", tmp_path)
    save_image(tmp_path / "loose.jpg")
    with pytest.raises(Failure, match=r"found \.heic ×1, \.jpg ×1|found \.jpg ×1, \.heic ×1"):
        open_folder("s", tmp_path, labels=True)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind here")
def test_folder_that_may_not_be_read(folders: Path) -> None:
    (folders / "bee").chmod(0)
    try:
        with pytest.raises(Failure, match="Permission denied"):
            open_folder("s", folders)
    finally:
        (folders / "bee").chmod(0o755)


def test_broken_link_is_unreadable_not_lost(folders: Path) -> None:
    (folders / "bee" / "gone.jpg").symlink_to(folders / "nowhere.jpg")
    images = open_folder("s", folders)
    index = images.keys.index("bee/gone.jpg")
    for read in (images.read, images.read_bytes):
        with pytest.raises(UnreadableImage, match="bee/gone.jpg: No such file"):
            read(index)
    assert len(images.fingerprint()) == 64


class TestFingerprint:
    def test_is_of_the_content_not_the_place(self, folders: Path, tmp_path: Path) -> None:
        before = open_folder("folder:a", folders).fingerprint()
        moved = shutil.move(folders, tmp_path / "moved")
        assert open_folder("folder:b", Path(moved)).fingerprint() == before

    def test_changes_with_every_change(self, folders: Path, save_image: Callable[..., Path]) -> None:
        def now() -> str:
            return open_folder("s", folders).fingerprint()

        seen = {now()}
        changes: list[Callable[[], object]] = [
            lambda: save_image(folders / "ant" / "0.png", seed=99, size=(20, 15)),
            lambda: save_image(folders / "ant" / "new.png"),
            lambda: (folders / "ant" / "new.png").rename(folders / "ant" / "newer.png"),
            lambda: (folders / "ant" / "newer.png").rename(folders / "bee" / "newer.png"),
            lambda: (folders / "bee").rename(folders / "bumblebee"),
            lambda: (folders / "cat" / "3.png").unlink(),
        ]
        for count, change in enumerate(changes, 2):
            change()
            seen.add(now())
            assert len(seen) == count
        assert open_folder("s", folders).select([0, 1]).fingerprint() not in seen

    def test_large_files_are_sampled_at_three_places(self, tmp_path: Path) -> None:
        big = tmp_path / "a" / "big.bmp"
        big.parent.mkdir()
        content = bytearray(1_000_000)
        prints = set()
        for place in (None, 10, 500_000, 999_990):
            if place is not None:
                content[place] ^= 1
            big.write_bytes(content)
            prints.add(open_folder("s", tmp_path).fingerprint())
        big.write_bytes(content + b"\0")
        prints.add(open_folder("s", tmp_path).fingerprint())
        assert len(prints) == 5

    def test_thousands_of_files_take_seconds_at_most(self, tmp_path: Path) -> None:
        content = np.random.default_rng(0).bytes(10_000)
        for label in range(30):
            folder = tmp_path / f"{label:02d}"
            folder.mkdir()
            for i in range(100):
                (folder / f"{i}.jpg").write_bytes(content)
        images = open_folder("s", tmp_path)
        started = time.monotonic()
        images.fingerprint()
        assert time.monotonic() - started < 4  # 0.2 s on an idle machine
