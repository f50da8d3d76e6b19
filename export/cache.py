"""Cache of built files: a second export of the same checkpoint reuses the files of the first and checks them again.

The key covers everything that a builder uses: the checkpoint's id, the target, for int8 the calibration
pixels and the repair, the versions of the libraries and the source text of this package. An entry is a folder with
the file and its description; only files that passed their check are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distill.console import Failure
from distill.files import atomic_dir, read_json, sha256_file, write_json
from export.bundle.schema import Variant

__all__ = ["MOST_ENTRIES", "BuildCache", "code_hash", "foreign_code"]

MOST_ENTRIES = 64  # about a megabyte each
_FACTS = "variant.json"


@dataclass(frozen=True)
class BuildCache:
    """A folder of built files, found by what they were built from.

    Args:
        folder: folder of the entries; created with the first.
        base: the part of the key that all targets of this export share; JSON.
    """

    folder: Path
    base: dict[str, Any]

    def take(self, what: dict[str, Any], path: Path) -> Variant | None:
        """Copy a file to ``path`` and return its description; ``None`` if there is none, or it is damaged.

        Args:
            what: the rest of the key: what this target is built from.
            path: where the file goes; its folder is created.
        """
        entry = self._entry(what)
        try:
            variant = Variant.model_validate(read_json(entry / _FACTS))
            if sha256_file(entry / path.name) != variant.sha256 or variant.file != path.name:
                return None
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry / path.name, path)
            os.utime(entry)  # just used, so the last to be deleted
        except (Failure, ValidationError, OSError):
            return None
        return variant

    def keep(self, what: dict[str, Any], path: Path, variant: Variant) -> None:
        """Keep a built file. A cache that cannot be written is not an error."""
        try:
            with atomic_dir(self._entry(what)) as temporary:
                shutil.copyfile(path, temporary / path.name)
                write_json(temporary / _FACTS, variant.model_dump(mode="json", exclude={"check"}))
            self._delete_oldest()
        except OSError:
            return

    def _entry(self, what: dict[str, Any]) -> Path:
        text = json.dumps([self.base, what], sort_keys=True)
        return self.folder / f"export-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def _delete_oldest(self) -> None:
        entries = sorted(self.folder.glob("export-*"), key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in entries[MOST_ENTRIES:]:
            shutil.rmtree(entry, ignore_errors=True)


@cache
def code_hash() -> str:
    """Return the SHA-256 of the Python files of this package: a changed builder makes other files."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def foreign_code(function: Callable[..., Any]) -> dict[str, str]:
    """Return the key's part for a builder or repair step outside this package: its file's SHA-256, not in ``code_hash``."""
    name = function.__module__
    file = getattr(sys.modules.get(name), "__file__", None)
    if name.partition(".")[0] == "export" or file is None:
        return {}
    return {"builder": sha256_file(Path(file))}
