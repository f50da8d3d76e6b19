"""The example in docs/gallery.md does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gallery import Content, row_codes, write_gallery
from gallery.search import search_rows

DOCS = Path(__file__).parents[2] / "docs" / "gallery.md"


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_the_reader_of_twenty_lines(tmp_path: Path, dtype: str) -> None:
    from golden_vectors import MODEL

    program = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL).group(1)
    assert len([line for line in program.splitlines() if line.strip()]) <= 20
    rows = np.random.default_rng(0).normal(size=(40, 70))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    names = [f"ä/{number}.jpg" for number in range(40)]
    kept = row_codes(rows) if dtype == "int8" else rows
    write_gallery(tmp_path / "photos.gallery", Content(MODEL, names, kept, bits=True))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True
    )
    from gallery import open_gallery

    found = search_rows(open_gallery(tmp_path / "photos.gallery"), kept[:1], 20, exact=True)
    expected = [f"{score:.3f}  {names[row]}" for row, score in zip(found.rows[0], found.scores[0], strict=True)]
    assert done.stdout.splitlines() == expected
