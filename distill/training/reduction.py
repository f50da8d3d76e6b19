"""A teacher of fewer dimensions: a linear layer after its features, saved as a checkpoint of its own.

A student that learns the teacher's space needs the teacher's dimension. The reduction of a checkpoint is folded into its
embedding layer, so the result is an ordinary network: it teaches, it can be exported, and it
indexes the gallery that the student's queries search.
"""

from __future__ import annotations

import json
import math
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from distill.console import Failure, UsageFailure
from distill.losses.method import Method
from distill.models.checkpoint import load_checkpoint, save_checkpoint
from distill.models.embedder import Embedder
from distill.models.info import CheckpointInfo, read_info
from distill.training.crops import CropRule
from distill.training.data import TrainImages
from distill.training.features import crop_features
from distill.training.pca import principal_components
from distill.training.projection import LEARNED_BY, learn_projection
from distill.training.teacher import LiveTeacher, OpenTeacher
from distill.training.teachers.composite_file import FOLDER, read_composite, write_composite
from distill.training.teachers.layer import Layer
from distill.training.teachers.projected import ProjectedTeacher, note_reduction
from distill.versions import versions

__all__ = ["REDUCED_FOLDER", "ReducedTeacher", "ReductionKind", "composed", "reduce_teacher", "reduction_for"]

REDUCED_FOLDER = FOLDER
ReductionKind = Literal["pca", "projection"]

# The space depends on teacher and images, not on the run's seed: students of several runs share it.
_SEED = 0
# 0 keeps the variances, 1 makes them equal. Halfway, a few strong directions no longer drown the many weak ones that
# tell unseen classes apart.
_WHITENING = 0.5
_PROJECTION_VIEWS = 4
_MOST_VIEWS = 8


class ReducedTeacher(LiveTeacher):
    """A teacher whose dimensions were reduced for this run."""

    @property
    def reduction(self) -> dict[str, Any]:
        return self.info.training["reduction"]

    def keep(self, run: Path) -> None:
        """Save the reduced teacher with its run, if it is not saved yet, and report how much variance it keeps."""
        folder = run / REDUCED_FOLDER
        note_reduction(self, folder)
        if _found(folder, self.reduction["key"]) is None:
            saved = save_checkpoint(folder, self.model, self.info)
            assert saved.id == self.info.id


def reduction_for(option: str, method: Method, student_size: int, teacher_size: int | None) -> ReductionKind | None:
    """Resolve ``--teacher-reduction``.

    Args:
        option: ``auto``, ``pca``, ``projection`` or ``none``.
        teacher_size: dimensions of the teacher's embedding; None without a teacher.

    Raises:
        UsageFailure: a reduction without a teacher, or to more dimensions than the teacher has.
    """
    if option == "none" or (option == "auto" and (teacher_size is None or not method.needs_teacher)):
        return None
    if teacher_size is None or not method.needs_teacher:
        raise UsageFailure(
            f"--teacher-reduction {option}: --method {method} has no teacher to reduce",
            "add --teacher DIR, or leave it out",
        )
    if option == "auto":
        return "pca" if method.space == "teacher" and student_size < teacher_size else None
    if student_size > teacher_size:
        raise UsageFailure(
            f"--teacher-reduction {option}: --embedding-size {student_size} is more than the teacher's {teacher_size} dimensions",
            f"use --embedding-size {teacher_size} or less",
        )
    return cast(ReductionKind, option)


def reduce_teacher(
    live: OpenTeacher,
    kind: ReductionKind,
    size: int,
    images: TrainImages,
    rule: CropRule,
    cache_dir: Path,
    out: Path,
    data: dict[str, Any],
) -> OpenTeacher:
    """Reduce the teacher to ``size`` dimensions.

    The result is read from ``out`` or ``cache_dir`` if it is there, else fitted and saved in ``cache_dir``.

    Args:
        live: the teacher.
        kind: ``pca`` (no labels), or ``projection`` (started from it and learned from labels).
        images: labelled and unlabelled images; the reduction is fitted on seeded crops of them.
        out: folder of the run, which holds the reduced teacher if the run was started before.
        data: record of the images for ``model.json``.

    Returns:
        The reduced teacher. Its ``info.id`` names the space that a student records.

    Raises:
        UsageFailure: the features do not vary in ``size`` directions, or a projection without labels.
    """
    rule = CropRule(rule.scale, rule.flip, _SEED)
    key = _key(live, kind, size, images, rule)
    kept = cache_dir / f"reduced-{key}"
    for folder in (out / REDUCED_FOLDER, kept):
        found = _reduced_before(folder, key, live)
        if found is not None:
            return found
    width = live.info.embedding_size
    views = max(_PROJECTION_VIEWS if kind == "projection" else 1, min(_MOST_VIEWS, math.ceil(4 * width / len(images))))
    if live.stored or (rule.scale == 1 and not rule.flip):
        views = 1  # all crops of an image are the same
    features = crop_features(live, images, rule, views, cache_dir)
    pca = principal_components(features.flat(), size)
    if kind == "pca":
        weight = pca.directions / pca.variance[:, None] ** (_WHITENING / 2)
        bias = -weight @ pca.mean
    else:
        weight, bias = learn_projection(features.rows, images.labels[features.images], pca, _SEED)
    record = {
        "kind": kind,
        "key": key,
        "of": live.info.id,
        "from_size": width,
        "crops": len(features.flat()),
        "variance_kept": pca.kept,
        "whitening": _WHITENING if kind == "pca" else 0.0,
    }
    if not isinstance(live, LiveTeacher):
        layer = Layer(np.ascontiguousarray(weight, np.float32), np.ascontiguousarray(bias, np.float32))
        projected = ProjectedTeacher(live, layer, record, data)
        write_composite(kept, projected, live, layer)
        return projected
    model = composed(live.model, weight, bias)
    info = CheckpointInfo(
        kind="teacher",
        arch=live.info.arch,
        embedding_size=size,
        preprocessing=live.info.preprocessing,
        training={"reduction": record},
        data=data,
        versions=versions(),
        weights=live.info.weights,
        licence=live.info.licence,
    )
    return _teaching(model, save_checkpoint(kept, model, info), live)


def composed(teacher: Embedder, weight: np.ndarray, bias: np.ndarray) -> Embedder:
    """Fold ``weight · features + bias`` into the teacher's embedding layer.

    Args:
        weight: float64 [D, F], F the teacher's embedding size.
        bias: float64 [D].
    """
    if teacher.linear is not None:
        old_weight, old_bias = (p.detach().double().cpu().numpy() for p in (teacher.linear.weight, teacher.linear.bias))
        weight, bias = weight @ old_weight, weight @ old_bias + bias
    model = Embedder(teacher.backbone, len(weight))
    assert model.linear is not None
    with torch.no_grad():
        model.linear.weight.copy_(torch.from_numpy(weight))
        model.linear.bias.copy_(torch.from_numpy(bias))
    return model.eval()


def _teaching(model: Embedder, info: CheckpointInfo, live: LiveTeacher) -> ReducedTeacher:
    return ReducedTeacher(model, info, live.device, live.autocast, live.mirror)


def _reduced_before(folder: Path, key: str, live: OpenTeacher) -> OpenTeacher | None:
    """Return the teacher as it was reduced under ``key`` and saved in ``folder``, if it was."""
    if isinstance(live, LiveTeacher):
        found = _found(folder, key)
        return None if found is None else _teaching(*found, live)
    try:
        record, layer = read_composite(folder)
    except Failure:  # absent, or a kill came between its two files
        return None
    if layer is None or record.reduction is None or record.reduction.get("key") != key:
        return None
    return ProjectedTeacher(live, layer, record.reduction, record.data)


def _key(live: OpenTeacher, kind: ReductionKind, size: int, images: TrainImages, rule: CropRule) -> str:
    parts = [
        live.cache_id,
        kind,
        _WHITENING,
        size,
        rule.scale,
        rule.flip,
        rule.seed,
        images.fingerprint,
        images.size,
        live.autocast,
        [images.num_classes, LEARNED_BY] if kind == "projection" else None,
    ]
    return sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _found(folder: Path, key: str) -> tuple[Embedder, CheckpointInfo] | None:
    try:
        if read_info(folder).training.get("reduction", {}).get("key") != key:
            return None
        return load_checkpoint(folder)
    except Failure:  # absent, or a kill came between its two files
        return None
