"""Java's image decoding against Python's, for every kind that docs/preprocessing.md mentions."""

from __future__ import annotations

from pathlib import Path

import image_kinds
import java_build
import numpy as np
import pytest

from distill.data.decode import decode
from export.bundle import Bundle

pytestmark = pytest.mark.slow


def test_java_decodes_as_python_does(bundle: Bundle, tmp_path: Path) -> None:
    rule = bundle.manifest.preprocessing
    files = {
        name: content for name, content in image_kinds.kinds().items() if name not in ("cmyk.jpg", "lossless.webp")
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "list").write_text("\n".join(str(tmp_path / name) for name in files))
    java_build.java("pixels", bundle.directory, tmp_path / "list", tmp_path / "out")
    found = np.fromfile(tmp_path / "out", np.uint8).reshape(len(files), rule.input_size, rule.input_size, 3)
    assert {*image_kinds.EXACT} < {*files}
    for (name, content), pixels in zip(files.items(), found, strict=True):
        apart = np.abs(pixels.astype(int) - rule.pixels(decode(content, name)))
        if name in image_kinds.EXACT:
            assert not apart.any(), f"{name}: {apart.max()} levels"
        else:
            assert apart.mean() <= 1, f"{name}: {apart.mean():.2f} levels"


@pytest.mark.parametrize(
    ("name", "why"), [("cmyk.jpg", "CMYK"), ("lossless.webp", "WebP"), ("nonsense", "picture format")]
)
def test_what_java_does_not_know_is_named(bundle: Bundle, tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "bad").write_bytes(image_kinds.kinds().get(name, b"nonsense"))
    (tmp_path / "list").write_text(str(tmp_path / "bad"))
    with pytest.raises(AssertionError, match=why):
        java_build.java("pixels", bundle.directory, tmp_path / "list", tmp_path / "out")
