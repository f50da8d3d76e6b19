"""Build the documentation site from the Markdown files, notebooks and docstrings of the repository.

    python scripts/docs.py build/site

The pages stay where they are read on a code host (README.md, docs/, examples/ …), so they are first staged in one
folder, at the same relative paths, with every file that they link to. Then Zensical builds the site strictly: a dead
link, a dead anchor or an unknown Python name ends the build. Nothing is fetched from the network.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from distill.console import DebugOption, Failure, UsageFailure, make_app, note, run_app
from distill.files import atomic_dir, check_output_folder

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^()\s#]+)(?:#[^()\s]*)?\)")
INDEX = "objects.inv"  # of the Python names: every site has one

app = make_app(__doc__ or "", default_command="build")


def pages() -> list[Path]:
    """Return every Markdown page of the site, relative to the repository."""
    names = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "android_demo/README.md", "examples/README.md")
    return [Path(name) for name in names] + sorted(path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md"))


def linked_files(page: Path) -> list[Path]:
    """Return the files that a page links to by a relative path and that are not pages themselves.

    Raises:
        Failure: a target does not exist, or is a folder, which a site cannot show.
    """
    found = []
    for target in LINK.findall((ROOT / page).read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path = Path(os.path.normpath(page.parent / target))
        if not (ROOT / path).is_file():
            raise Failure(f"{page}: links to {target}, which is not a file", "link to a file")
        if path.suffix not in (".md", ".ipynb"):
            found.append(path)
    return found


def notebook_page(path: Path) -> str:
    """Return a notebook, outputs included, as Markdown."""
    import nbformat

    parts = []
    for cell in nbformat.read(path, as_version=4).cells:
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
        parts += [_output(output) for output in cell.get("outputs", [])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _output(output: Any) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        image = data["image/png"].replace("\n", "")
        return f'<img alt="output of the cell above" src="data:image/png;base64,{image}">'
    text = output.get("text") or data.get("text/plain", "")
    return f"```text\n{text.rstrip()}\n```" if text else ""


def stage(folder: Path) -> None:
    """Copy configuration, pages and the files that they link to."""
    shutil.copy(ROOT / "mkdocs.yml", folder)
    for page in pages():
        for path in [page, *linked_files(page)]:
            (folder / "pages" / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / "pages" / path)
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        target = folder / "pages" / "examples" / path.with_suffix(".md").name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(notebook_page(path), encoding="utf-8")
    for page in (folder / "pages").rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r"\]\(([^()\s]*)\.ipynb\)", r"](\1.md)", text), encoding="utf-8")


@app.command()
def build(
    out: Annotated[Path, typer.Argument(help="Folder to write; an older site there is replaced.")],
    debug: DebugOption = False,
) -> None:
    """Build the site."""
    check_output_folder(out)
    if out.exists() and any(out.iterdir()) and not (out / INDEX).exists():
        raise UsageFailure(f"{out}: is not a site of this script", "name a new folder, such as build/site")
    with tempfile.TemporaryDirectory() as scratch:
        stage(Path(scratch))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            text = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
            print(re.sub(r"Traceback \(most recent call last\).*?(?=\n\S)", "", text, flags=re.DOTALL), file=sys.stderr)
            raise Failure("the site was not built", "see the problems above")
        with atomic_dir(out) as temporary:
            shutil.copytree(Path(scratch) / "site", temporary, dirs_exist_ok=True)
    note(f"site: {out / 'index.html'}")


if __name__ == "__main__":
    raise SystemExit(run_app(app, sys.argv[1:]))
