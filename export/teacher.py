"""A bundle as a teacher of ``distill-train student``: the registry of teachers names it, ``distill`` imports nothing here."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch

from distill.console import Failure, suggest
from distill.training.teacher import ForeignInfo, PixelTeacher
from distill.training.teachers.kind import TeacherContext, TeacherKind, teacher_id
from export.bundle.engines.base import VariantRunner
from export.bundle.formats import FORMATS
from export.bundle.read import Bundle, load_bundle
from export.bundle.runtime import open_variant
from export.bundle.schema import BUNDLE_FILE, Variant

__all__ = ["BUNDLE", "BundleTeacher"]

_ENGINES = ("onnx", "tflite", "executorch")  # the first runs several images at once


class BundleTeacher(PixelTeacher):
    """One variant of a bundle. A float32 variant has the embedding space of the checkpoint that was exported.

    Args:
        bundle: the bundle.
        variant: the variant that teaches.
        path: as it was named, the folder or the variant's file.
        context: device of the results, and whether crops are mirrored.
    """

    def __init__(self, bundle: Bundle, variant: Variant, path: Path, context: TeacherContext) -> None:
        source = bundle.manifest.provenance.source
        self._bundle, self._variant, self._path = bundle, variant, path
        self.preprocessing = bundle.manifest.preprocessing
        self.resize_size = self.preprocessing.resize_size
        self.device = context.device
        self.mirror = context.mirror
        self._own_id = teacher_id("bundle", source.id, variant.sha256)
        is_float = _is_float(variant)
        self.info = ForeignInfo(
            source.id if is_float else self._own_id,
            bundle.manifest.embedding_size,
            {"epochs": source.training.get("epochs")},
            source.data,
        )
        self._local = threading.local()
        self._runner()

    @property
    def cache_id(self) -> str:
        return self._own_id  # its rows are of unit length already, unlike the checkpoint's features

    def describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "id": self.info.id, "sha256": self._variant.sha256}

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        rows = self._runner().embed(pixels.cpu().permute(0, 2, 3, 1).numpy())
        return torch.from_numpy(rows).to(self.device)

    def _runner(self) -> VariantRunner:
        """One engine for each thread, since some run one batch at a time."""
        found = getattr(self._local, "runner", None)
        if found is None:
            found = self._local.runner = open_variant(self._bundle, self._variant.name)
        return found


def _open(path: Path, context: TeacherContext) -> BundleTeacher:
    bundle = load_bundle(path if path.is_dir() else path.parent)
    variants = bundle.manifest.variants
    if path.is_dir():
        known = [variant for variant in variants if variant.format in FORMATS]
        if not known:
            raise Failure(f"{path}: no variant that an engine here runs", "export it again with --target onnx-float32")
        return BundleTeacher(bundle, min(known, key=_rank), path, context)
    chosen = [variant for variant in variants if variant.file == path.name]
    if not chosen:
        raise Failure(
            f"{path}: {BUNDLE_FILE} beside it does not list it",
            suggest(path.name, [variant.file for variant in variants]),
        )
    return BundleTeacher(bundle, chosen[0], path, context)


def _rank(variant: Variant) -> tuple[bool, int]:
    """The most precise variant first, then by engine."""
    engine = _ENGINES.index(variant.format) if variant.format in _ENGINES else len(_ENGINES)
    return not _is_float(variant), engine


def _is_float(variant: Variant) -> bool:
    return variant.scheme.weights == variant.scheme.activations == "float32"


def _claims(path: Path) -> bool:
    return (path / BUNDLE_FILE).is_file() or (path.is_file() and (path.parent / BUNDLE_FILE).is_file())


BUNDLE = TeacherKind(help="a bundle of distill-export, or a model file in it", claims=_claims, open=_open)
