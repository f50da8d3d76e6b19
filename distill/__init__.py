"""Stage 1: images to checkpoint.

The names below are the public Python interface (``docs/api``). They are imported when first used: torch takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.lazy import lazy_names

if TYPE_CHECKING:
    from distill.api import evaluate, train_student, train_teacher
    from distill.console.errors import Failure, UsageFailure
    from distill.data.spec import open_data
    from distill.evaluation import embed_images
    from distill.models.checkpoint import load_checkpoint

__all__ = [
    "Failure",
    "UsageFailure",
    "embed_images",
    "evaluate",
    "load_checkpoint",
    "open_data",
    "train_student",
    "train_teacher",
]

_HOMES = {
    "Failure": "distill.console.errors",
    "UsageFailure": "distill.console.errors",
    "embed_images": "distill.evaluation",
    "evaluate": "distill.api",
    "load_checkpoint": "distill.models.checkpoint",
    "open_data": "distill.data.spec",
    "train_student": "distill.api",
    "train_teacher": "distill.api",
}

if not TYPE_CHECKING:  # a type checker reads the imports above
    __getattr__ = lazy_names(__name__, _HOMES)
