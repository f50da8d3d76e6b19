from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest


def save_image(path: Path, seed: int = 0, size: tuple[int, int] = (12, 10)) -> Path:
    """A small random image at ``path``, (width, height) pixels; the format follows the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(name="save_image")
def save_image_fixture() -> Callable[..., Path]:
    return save_image


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Four classes with 3, 2, 4 and 1 images."""
    root = tmp_path / "folders"
    for label, (name, count) in enumerate([("ant", 3), ("bee", 2), ("cat", 4), ("dog", 1)]):
        for i in range(count):
            save_image(root / name / f"{i}.png", seed=10 * label + i, size=(20 + i, 15 + label))
    return root


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What was printed to stderr since the last call, without line breaks."""
    yield lambda: " ".join(capsys.readouterr().err.split())
