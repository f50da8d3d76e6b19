"""Load a bundle, and refuse one that is damaged, of another version or hostile."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from distill.console import Failure, UsageFailure, suggest
from distill.files import read_json, sha256_file
from export.bundle.schema import BUNDLE_FILE, SCHEMA_VERSION, Manifest, RawFile, Variant

__all__ = ["Bundle", "load_bundle"]

MAX_MANIFEST_BYTES = 64 * 2**20
AGAIN = "export it again, or copy the whole folder again"


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and checked.

    Attributes:
        directory: its folder.
        manifest: content of ``bundle.json``.
    """

    directory: Path
    manifest: Manifest

    def path(self, file: RawFile) -> Path:
        """Return the path of a listed file."""
        return self.directory / file.file

    def variant(self, name: str) -> Variant:
        """Return the variant of this name.

        Raises:
            UsageFailure: there is none.
        """
        for variant in self.manifest.variants:
            if variant.name == name:
                return variant
        cure = suggest(name, [variant.name for variant in self.manifest.variants])
        raise UsageFailure(f"{self.directory}: no variant '{name}'", cure)

    def golden_pixels(self) -> np.ndarray:
        """Return the golden images: uint8 ``[count, input_size, input_size, 3]``, RGB, 0..255."""
        side = self.manifest.preprocessing.input_size
        flat = np.fromfile(self.path(self.manifest.golden.pixels), dtype=np.uint8)
        return flat.reshape(self.manifest.golden.count, side, side, 3)

    def golden_embeddings(self, name: str) -> np.ndarray:
        """Return the expected embeddings of a variant or of ``pytorch``: float32 ``[count, embedding_size]``.

        Raises:
            UsageFailure: the bundle has none under this name.
        """
        expected = self.manifest.golden.expected
        if name not in expected:
            raise UsageFailure(f"{self.directory}: no golden embeddings of '{name}'", suggest(name, expected))
        flat = np.fromfile(self.path(expected[name]), dtype="<f4")
        return flat.astype(np.float32).reshape(self.manifest.golden.count, self.manifest.embedding_size)


def load_bundle(directory: str | Path, check_hashes: bool = True) -> Bundle:
    """Read a bundle's description and check its files.

    Args:
        directory: the bundle's folder.
        check_hashes: also compare the SHA-256 of every listed file. Without it, presence,
            size and location are still checked.

    Raises:
        Failure: no bundle there, an unknown schema version, an inconsistent description, or a file that is
            missing, of another size, changed, or outside the folder.
    """
    directory = Path(directory)
    manifest = _read_manifest(directory)
    for file in manifest.files():
        _check_file(directory, file, check_hashes)
    return Bundle(directory=directory, manifest=manifest)


def _read_manifest(directory: Path) -> Manifest:
    path = directory / BUNDLE_FILE
    if not path.is_file():
        what = "no such folder" if not directory.exists() else f"no {BUNDLE_FILE} in it"
        raise Failure(f"{directory}: not a bundle: {what}", "make one with distill-export RUN --out BUNDLE")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise Failure(f"{path}: {path.stat().st_size} bytes are too large for a description", AGAIN)
    raw = read_json(path)
    if not isinstance(raw, dict) or "schema_version" not in raw:
        raise Failure(f"{path}: no schema_version in it", AGAIN)
    version = raw["schema_version"]
    if version != SCHEMA_VERSION or isinstance(version, bool):
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        cure = "update distill-to-phone" if newer else "export it again with this version"
        raise Failure(f"{path}: schema version {version!r:.40}, this reader knows {SCHEMA_VERSION}", cure)
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "as a whole"
        message = first["msg"].removeprefix("Value error, ")
        raise Failure(f"{path}: {where}: {message}", AGAIN) from None


def _check_file(directory: Path, file: RawFile, check_hash: bool) -> None:
    path = directory / file.file
    # The schema refuses ".."; only a link could still lead outside.
    root = os.path.realpath(directory)
    if os.path.commonpath([root, os.path.realpath(path)]) != root:
        raise Failure(f"{path}: a link that points outside the bundle", "do not trust this bundle; export it again")
    if not path.is_file():
        raise Failure(f"{path}: missing", AGAIN)
    size = path.stat().st_size
    if size != file.size_bytes:
        raise Failure(f"{path}: {size} bytes instead of {file.size_bytes}", AGAIN)
    if check_hash and sha256_file(path) != file.sha256:
        raise Failure(f"{path}: its content changed since the export (SHA-256 differs)", AGAIN)
