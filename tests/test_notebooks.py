"""The notebooks of examples/ run from a clean state, and their kept outputs are tidy.

python tests/test_notebooks.py      runs them and writes their outputs anew
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def run(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in ``folder``; progress, warnings and timestamps are left out."""
    notebook = nbformat.read(path, as_version=4)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([before] if before else [])])
    try:
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in code_cells(notebook):
        cell.metadata.pop("execution", None)
        cell.outputs = [output for output in cell.outputs if _kept(output)]
    return notebook


def _kept(output: nbformat.NotebookNode) -> bool:
    if output.output_type == "display_data":  # rich draws progress as HTML
        return "image/png" in output.data
    return output.get("name") != "stderr"


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """For each code cell the kinds of its outputs, which do not depend on the machine."""
    return [[output.output_type for output in cell.outputs] for cell in code_cells(notebook)]


def test_there_are_three_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["distil_and_look", "export_and_compare", "search_from_python"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_outputs_are_complete_and_of_no_machine(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(map(len, kinds(notebook))) >= 4
    text = path.read_text(encoding="utf-8")
    assert not re.search(r'"/\w|/home/|/root/|/tmp/|[A-Z]:\\\\', text)
    assert len(text) < 200_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_a_clean_state(path, tmp_path):
    found = run(path, tmp_path)  # an error in a cell is raised
    assert kinds(found) == kinds(nbformat.read(path, as_version=4))


if __name__ == "__main__":
    for notebook_path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as scratch:
            nbformat.write(run(notebook_path, Path(scratch)), notebook_path)
        print(notebook_path.name)
