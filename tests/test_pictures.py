"""The pictures of the documentation can be made again."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


def script(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / f"{name}.py", *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)


def test_the_chain_is_drawn_as_readme_shows_it(tmp_path):
    """Text that leaves its box is an error of the script itself."""
    done = script("chain_figure", tmp_path / "chain.svg")
    assert done.returncode == 0, done.stderr
    drawn, shown = ((folder / "chain.svg").read_text("utf-8") for folder in (tmp_path, ROOT / "docs"))
    assert "docs/chain.svg" in (ROOT / "README.md").read_text("utf-8")
    assert drawn.count("<path") > 50 and "<image" not in drawn
    made_by = re.search(r"Matplotlib v([\d.]+)", shown)
    assert made_by
    if made_by.group(1) == version("matplotlib"):
        assert drawn == shown, "run scripts/chain_figure.py docs/chain.svg"


@pytest.mark.skipif(not any(map(shutil.which, ("chromium", "google-chrome"))), reason="no Chromium here")
def test_a_report_is_photographed_without_its_later_sections(tmp_path):
    block = "<div style='height:{}px;background:{}'></div>"
    body = f"{block.format(300, 'blue')}<section id='references'>{block.format(100, 'red')}</section>{block.format(500, 'green')}"
    (tmp_path / "report.html").write_text(f"<html><head></head><body style='margin:0'>{body}</body></html>")
    done = script("pictures", "report", tmp_path / "report.html", tmp_path / "out.png", "--width", "600")
    assert done.returncode == 0, done.stderr
    image = Image.open(tmp_path / "out.png").convert("RGB")
    assert image.size == (600, 420)
    assert [image.getpixel((300, y)) for y in (10, 390, 410)] == [(0, 0, 255), (255, 0, 0), (255, 255, 255)]
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "out.png"}


def test_screenshots_of_the_app_are_joined(tmp_path):
    for name, color in [("results-light", "red"), ("results-dark", "green"), ("photos-light", "blue")]:
        Image.new("RGB", (660, 1400), color).save(tmp_path / f"{name}.png")
    done = script("pictures", "app", tmp_path, tmp_path / "app.png")
    assert done.returncode == 1 and "about-light.png" in done.stderr and not (tmp_path / "app.png").exists()
    Image.new("RGB", (660, 1400), "white").save(tmp_path / "about-light.png")
    done = script("pictures", "app", tmp_path, tmp_path / "app.png")
    assert done.returncode == 0, done.stderr
    image = Image.open(tmp_path / "app.png").convert("RGB")
    assert image.size == (1400, 732)
    seen = [image.getpixel((16 + 346 * number + 165, 400)) for number in range(4)]
    assert seen == [(255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)]
