"""What a kind of teacher declares about itself, and what opening one needs to know."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distill.training.teacher import OpenTeacher

__all__ = ["TeacherContext", "TeacherKind", "teacher_id"]


@dataclass(frozen=True)
class TeacherContext:
    """How a teacher is to be used.

    Attributes:
        device: where it computes, as far as it can.
        precision: ``--precision``, for networks in torch.
        mirror: average the embeddings of a crop and of its mirror image.
        missing: fraction of the images that may lack a stored vector, 0..1.
    """

    device: torch.device = torch.device("cpu")
    precision: str = "float32"
    mirror: bool = False
    missing: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TeacherKind:
    """One kind of teacher that ``--teacher`` opens.

    Attributes:
        help: what it is, in a few words, for help texts and messages.
        claims: whether a path is of this kind. Looks at names only.
        open: opens it.
    """

    help: str
    claims: Callable[[Path], bool]
    open: Callable[[Path, TeacherContext], OpenTeacher]


def teacher_id(*parts: Any) -> str:
    """Return 16 hex digits made of ``parts``, which JSON can hold: the id of an embedding space."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
