"""The examples in the docstrings of the public API, run on a real gallery."""

from __future__ import annotations

import doctest
import inspect
import shutil
from pathlib import Path

import pytest

import gallery
from export.bundle import load_bundle

FUNCTIONS = [name for name in gallery.__all__ if inspect.isfunction(getattr(gallery, name))]


@pytest.fixture
def workplace(bundle_dir: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder holds ``runs/bundle``, ``photos`` and ``photos.gallery``, as the examples assume."""
    shutil.copytree(bundle_dir, tmp_path / "runs" / "bundle")
    monkeypatch.chdir(tmp_path)
    gallery.build_gallery(load_bundle("runs/bundle"), gallery.open_images("photos"), "photos.gallery")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_function_runs(name: str, workplace: None) -> None:
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(gallery, name), name, globs=vars(gallery).copy())
    assert test.examples, f"{name} has no example"
    said: list[str] = []
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append).failed == 0, "".join(said)


def test_the_example_of_the_package_runs(workplace: None, capsys: pytest.CaptureFixture[str]) -> None:
    text = inspect.getdoc(gallery) or ""
    code = inspect.cleandoc(text.partition("::\n\n")[2].partition("\n\nThe package")[0])
    exec(code.replace("holiday.jpg", "photos/IMG_0002.jpg"), {})
    assert capsys.readouterr().out.startswith("photos/IMG_0002.jpg [('IMG_0002.jpg', ")
