"""The folder of a teacher that is made of others: ``teacher.json``, and ``layer.safetensors`` if it is reduced.

It names the files of the other teachers and their ids; it does not copy them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill.console import Failure
from distill.files import atomic_path, read_json, sha256_file, write_json
from distill.training.teacher import OpenTeacher
from distill.training.teachers.layer import Layer

__all__ = ["COMPOSITE_FILE", "CompositeRecord", "read_composite", "save_composite", "write_composite"]

COMPOSITE_FILE = "teacher.json"
FOLDER = "teacher"
_LAYER = "layer.safetensors"
_AGAIN = "train again, or copy the whole folder again"


class CompositeRecord(BaseModel):
    """The content of ``teacher.json``.

    Attributes:
        id: of the embedding space.
        embedding_size: dimensions.
        of: the teacher behind the layer: ``path`` and ``id``, or ``joined``, a list of such, with ``weights``.
        reduction: record of the reduction; None without one.
        data: record of the images that the reduction was fitted to.
        layer_sha256: of ``layer.safetensors``; "" without one.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    id: str = Field(pattern="^[0-9a-f]{16}$")
    embedding_size: int = Field(ge=1)
    of: dict[str, Any]
    reduction: dict[str, Any] | None = None
    data: dict[str, Any] = {}
    layer_sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")


def save_composite(run: Path, teacher: OpenTeacher, of: OpenTeacher, layer: Layer | None = None) -> tuple[Path, bool]:
    """Save a teacher in ``RUN/teacher``, unless it is there.

    Args:
        run: folder of the run.
        teacher: the teacher.
        of: what it is made of; itself, if it has no layer.
        layer: its layer.

    Returns:
        The folder, and whether it was written.
    """
    folder = run / FOLDER
    try:
        if read_composite(folder)[0].id == teacher.info.id:
            return folder, False
    except Failure:  # absent, or a kill came between its two files
        pass
    write_composite(folder, teacher, of, layer)
    return folder, True


def write_composite(folder: Path, teacher: OpenTeacher, of: OpenTeacher, layer: Layer | None) -> None:
    """Write the layer first, then ``teacher.json`` with its hash."""
    digest = ""
    if layer is not None:
        from safetensors.numpy import save_file

        with atomic_path(folder / _LAYER) as temporary:
            save_file({"weight": layer.weight, "bias": layer.bias}, temporary)
            digest = sha256_file(temporary)
    record = CompositeRecord(
        id=teacher.info.id,
        embedding_size=teacher.info.embedding_size,
        of=_located(of.describe(), folder),
        reduction=teacher.reduction,
        data=teacher.info.data,
        layer_sha256=digest,
    )
    write_json(folder / COMPOSITE_FILE, record.model_dump(mode="json"))


def read_composite(folder: Path) -> tuple[CompositeRecord, Layer | None]:
    """Read both files and compare them.

    Raises:
        Failure: absent, damaged, or not of each other.
    """
    path = folder / COMPOSITE_FILE
    try:
        record = CompositeRecord.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        raise Failure(f"{path}: {place}: {first['msg']}", _AGAIN) from None
    if not record.layer_sha256:
        return record, None
    file = folder / _LAYER
    if not file.is_file() or sha256_file(file) != record.layer_sha256:
        raise Failure(f"{file}: not the layer that {COMPOSITE_FILE} describes", _AGAIN)
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(file)
        layer = Layer(tensors["weight"].astype(np.float32), tensors["bias"].astype(np.float32))
    except (SafetensorError, KeyError) as error:
        raise Failure(f"{file}: not a layer: {error}", _AGAIN) from None
    if layer.weight.ndim != 2 or layer.bias.shape != layer.weight.shape[:1] or len(layer.bias) != record.embedding_size:
        raise Failure(f"{file}: shapes {layer.weight.shape} and {layer.bias.shape} are not a layer's", _AGAIN)
    return record, layer


def _located(described: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Add to each path what leads to it from ``folder``, so that both may move together."""
    if "joined" in described:
        return described | {"joined": [_located(each, folder) for each in described["joined"]]}
    path = Path(described["path"]).resolve()
    try:
        relative = os.path.relpath(path, folder.resolve())
    except ValueError:  # another drive
        relative = str(path)
    return described | {"path": str(path), "relative": relative}
