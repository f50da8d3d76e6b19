"""The metadata of a checkpoint, ``model.json``. Importing this module does not import torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill.console import Failure
from distill.data.preprocess import Preprocessing
from distill.files import read_json, sha256_file

__all__ = ["INFO_FILE", "SCHEMA_VERSION", "WEIGHTS_FILE", "CheckpointInfo", "read_info", "verify_weights"]

INFO_FILE = "model.json"
WEIGHTS_FILE = "model.safetensors"
SCHEMA_VERSION = 1
AGAIN = "train again, or copy the whole folder again"


class CheckpointInfo(BaseModel):
    """The contents of ``model.json``.

    Attributes:
        schema_version: Version of this file's format.
        kind: Teacher or student.
        arch: Name of the backbone, for ``build_backbone``.
        embedding_size: D, the length of an embedding (never 0 in a saved checkpoint).
        preprocessing: Applied to images before the network.
        training: Configuration of the run.
        data: Spec, split, fingerprint and classes of the training images.
        space: Id of the teacher whose embedding space the student shares, so that student queries can
            be searched in a gallery of teacher embeddings; ``None`` if there is none.
        metrics: Measured when the checkpoint was saved, fractions in 0..1.
        versions: Versions of the programs that wrote it.
        weights: Origin of the initial weights of the backbone (file name, hash, layout).
        licence: Licence of data and weights, as far as known.
        head_norm: Whether pooled features pass through the normalisation of the backbone's own head; False in
            checkpoints of versions before 0.3, which left it out.
        weights_sha256: SHA-256 of ``model.safetensors``, 64 hex digits; set by ``save_checkpoint``.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    kind: Literal["teacher", "student"]
    arch: str = Field(min_length=1)
    embedding_size: int = Field(ge=0)
    preprocessing: Preprocessing
    training: dict[str, Any] = {}
    data: dict[str, Any] = {}
    space: str | None = None
    metrics: dict[str, Any] = {}
    versions: dict[str, str] = {}
    weights: dict[str, str] = {}
    licence: str | None = None
    head_norm: bool = False
    weights_sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")

    @property
    def id(self) -> str:
        """16 hex digits that identify the embedding function: weights, network and preprocessing.

        The key of everything derived from it (cached embeddings, ``space``). It does not depend on the
        folder's name, metrics and the like.

        Raises:
            ValueError: not saved yet.
        """
        if not self.weights_sha256:
            raise ValueError("a checkpoint has an id only once it is saved")
        parts = [self.arch, self.embedding_size, self.preprocessing.model_dump(mode="json"), self.weights_sha256]
        if self.head_norm:  # added only where it applies: ids of other checkpoints stay
            parts.append("head_norm")
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def read_info(folder: str | Path) -> CheckpointInfo:
    """Read ``model.json`` of a checkpoint folder, without the weights.

    Raises:
        Failure: no checkpoint, a damaged one, or one of a newer version.
    """
    folder = Path(folder)
    path = folder / INFO_FILE
    if not folder.is_dir():
        raise Failure(f"{folder}: no such checkpoint folder", "check the path")
    if not path.is_file():
        unfinished = (folder / WEIGHTS_FILE).exists()
        what = "saving was interrupted, model.json is missing" if unfinished else "no checkpoint here (no model.json)"
        raise Failure(f"{folder}: {what}", AGAIN if unfinished else "give the --out folder of distill-train")
    content = read_json(path)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise Failure(
            f"{path}: schema version {version}, this program reads up to {SCHEMA_VERSION}", "update distill-to-phone"
        )
    try:
        return CheckpointInfo.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        raise Failure(f"{path}: {place}: {first['msg']}", AGAIN) from None


def verify_weights(folder: str | Path, info: CheckpointInfo) -> Path:
    """Return the path of ``model.safetensors`` after comparing its hash with ``info``.

    Raises:
        Failure: the file is missing or has another hash.
    """
    path = Path(folder) / WEIGHTS_FILE
    if not path.is_file():
        raise Failure(f"{path}: no such file", AGAIN)
    if sha256_file(path) != info.weights_sha256:
        raise Failure(
            f"{path}: not the weights that {INFO_FILE} describes (saving was interrupted, or the file changed)", AGAIN
        )
    return path
