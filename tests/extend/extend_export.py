"""A tiny student to export, and an example of ``examples/extend`` as a module of its own folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "export"))

from export_helpers import picture_folder, student, write_checkpoint

__all__ = ["copy_example", "tiny_checkpoint"]


def tiny_checkpoint(folder: Path) -> Path:
    """A random student and the images that its record names."""
    images = picture_folder(folder / "images", each=6)
    write_checkpoint(folder / "student", student(batches=2), {"spec": f"folder:{images}", "split": "half"})
    return folder / "student"


def copy_example(name: str, module: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy an example to ``folder`` as ``module``, and make it importable for this test."""
    path = Path(shutil.copyfile(ROOT / "examples" / "extend" / name, folder / f"{module}.py"))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)
    return path
