"""The documentation site builds strictly, and the Python examples of docs/api run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# In the order in which they read each other's files.
EXAMPLES = ("metrics", "registry", "training", "export", "bundle", "gallery", "benchmark")

RUN = """
import sys
for path in sys.argv[1:]:
    exec(compile(open(path, encoding="utf-8").read(), path, "exec"), {"__name__": "__main__"})
"""


def python_blocks(path: Path) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))


def test_every_api_page_with_an_example_is_run():
    pages = {path.stem for path in (ROOT / "docs" / "api").glob("*.md") if python_blocks(path)}
    assert pages == set(EXAMPLES)


def build(out: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "scripts" / "docs.py", out], capture_output=True, text=True, cwd=cwd)


def test_the_site_builds_without_a_warning(tmp_path):
    done = build(tmp_path / "site")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "docs" / "api" / "bundle.html").read_text(encoding="utf-8")
    assert 'id="export.bundle.read.load_bundle"' in page and "Raises:" in page
    fetched = [
        f"{path.name}: {link}"
        for path in (tmp_path / "site").rglob("*.html")
        for link in re.findall(r'<(?:script|img|link)\b[^>]*?(?:src|href)="(https?://[^"]+)"', path.read_text("utf-8"))
    ]
    assert not fetched  # it works offline


def test_another_folder_is_not_replaced_by_a_site(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").touch()
    done = build(tmp_path / "mine")
    assert done.returncode == 2 and "not a site" in done.stderr and (tmp_path / "mine" / "a.txt").exists()


@pytest.mark.slow
def test_the_examples_of_the_api_pages_run(tmp_path):
    scripts = []
    for name in EXAMPLES:
        scripts.append(tmp_path / f"page_{name}.py")  # export.py would hide the package
        scripts[-1].write_text(python_blocks(ROOT / "docs" / "api" / f"{name}.md"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", RUN, *scripts], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Recall@1 on unseen classes" in done.stdout and "tflite-int8 passed" in done.stdout
