"""Files that an earlier export built from the very same things are taken again; their check is not.

The key is everything that a builder draws on: the checkpoint's id, the target, for int8 the calibration
pixels and the repair, the versions of the libraries and the text of this package. An entry is a folder with the file
and what was said of it; only files that passed their check are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distill.console import Failure
from distill.files import atomic_dir, read_json, sha256_file, write_json
from export.bundle.schema import Variant

__all__ = ["MOST_ENTRIES", "BuildCache", "code_hash"]

MOST_ENTRIES = 64  # about a megabyte each
_FACTS = "variant.json"


@dataclass(frozen=True)
class BuildCache:
    """Built files by what they were built from.

    Args:
        folder: where entries lie; made when the first is kept.
        base: what all targets of this export share; JSON.
    """

    folder: Path
    base: dict[str, Any]

    def take(self, what: dict[str, Any], path: Path) -> Variant | None:
        """Copy the file to ``path`` and say what it is; ``None`` where there is none, or it is damaged.

        Args:
            what: what this target was built from, besides ``base``.
            path: where the file goes; its folder is made.
        """
        entry = self._entry(what)
        try:
            variant = Variant.model_validate(read_json(entry / _FACTS))
            if sha256_file(entry / path.name) != variant.sha256 or variant.file != path.name:
                return None
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry / path.name, path)
            os.utime(entry)  # used: the last to go
        except (Failure, ValidationError, OSError):
            return None
        return variant

    def keep(self, what: dict[str, Any], path: Path, variant: Variant) -> None:
        """Keep a built file. A cache that cannot be written is no reason to fail."""
        try:
            with atomic_dir(self._entry(what)) as temporary:
                shutil.copyfile(path, temporary / path.name)
                write_json(temporary / _FACTS, variant.model_dump(mode="json", exclude={"check"}))
            self._forget()
        except OSError:
            return

    def _entry(self, what: dict[str, Any]) -> Path:
        text = json.dumps([self.base, what], sort_keys=True)
        return self.folder / f"export-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def _forget(self) -> None:
        entries = sorted(self.folder.glob("export-*"), key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in entries[MOST_ENTRIES:]:
            shutil.rmtree(entry, ignore_errors=True)


@cache
def code_hash() -> str:
    """SHA-256 over the Python files of this package: a changed builder makes other files."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
