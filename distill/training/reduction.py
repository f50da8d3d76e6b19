"""A teacher of fewer dimensions: one linear layer after its features, as a checkpoint of its own.

A student that learns the teacher's space needs its dimension. The reduction is folded into the
teacher's embedding layer, so that the result is an ordinary network: it teaches, it is exported,
and it indexes the gallery that the student's queries search.
"""

from __future__ import annotations

import json
import math
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from distill.console import Failure, UsageFailure, note
from distill.losses.method import Method
from distill.models.checkpoint import load_checkpoint, save_checkpoint
from distill.models.embedder import Embedder
from distill.models.info import CheckpointInfo, read_info
from distill.training.crops import CropRule
from distill.training.data import TrainImages
from distill.training.features import crop_features
from distill.training.pca import principal_components
from distill.training.projection import LEARNED_BY, learn_projection
from distill.training.teacher import LiveTeacher
from distill.versions import versions

__all__ = ["REDUCED_FOLDER", "Kind", "composed", "keep_reduced", "reduce_teacher", "reduction_for"]

REDUCED_FOLDER = "teacher"
Kind = Literal["pca", "projection"]

# The space depends on teacher and images, not on the run's seed: students of several runs share it.
_SEED = 0
# 0: directions as they are; 1: all of equal variance. Halfway, few strong directions no longer drown the many weak
# ones that tell unseen classes apart.
_WHITENING = 0.5
_PROJECTION_VIEWS = 4
_MOST_VIEWS = 8


def reduction_for(option: str, method: Method, student_size: int, teacher_size: int | None) -> Kind | None:
    """What ``--teacher-reduction`` comes to.

    Args:
        option: ``auto``, ``pca``, ``projection`` or ``none``.
        teacher_size: dimension of the teacher's embedding; None without a teacher.

    Raises:
        UsageFailure: a reduction of no teacher, or to more dimensions than it has.
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
    return option  # type: ignore[return-value]


def reduce_teacher(
    live: LiveTeacher,
    info: CheckpointInfo,
    kind: Kind,
    size: int,
    images: TrainImages,
    rule: CropRule,
    cache_dir: Path,
    out: Path,
    data: dict[str, Any],
) -> tuple[Embedder, CheckpointInfo]:
    """The teacher with ``size`` dimensions: that of ``out``, of ``cache_dir``, or fitted now and put into the latter.

    Args:
        live, info: the teacher.
        kind: ``pca`` (no labels), or ``projection`` (learned from the labels, started from it).
        images: what it is fitted on: seeded crops of labelled and unlabelled images.
        out: folder of the run, which may hold it from before a kill.
        data: what ``model.json`` says of the images.

    Returns:
        The reduced teacher and its ``model.json``, whose ``id`` is the space that a student records.

    Raises:
        UsageFailure: its features do not vary in ``size`` directions, or a projection without labels.
    """
    rule = CropRule(rule.scale, rule.flip, _SEED)
    key = _key(live, info, kind, size, images, rule)
    kept = cache_dir / f"reduced-{key}"
    for folder in (out / REDUCED_FOLDER, kept):
        found = _found(folder, key)
        if found is not None:
            return found
    width = info.embedding_size
    views = max(_PROJECTION_VIEWS if kind == "projection" else 1, min(_MOST_VIEWS, math.ceil(4 * width / len(images))))
    if rule.scale == 1 and not rule.flip:
        views = 1  # all crops of an image are the same
    features = crop_features(live, info.id, images, rule, views, cache_dir)
    pca = principal_components(features.flat(), size)
    if kind == "pca":
        weight = pca.directions / pca.variance[:, None] ** (_WHITENING / 2)
        bias = -weight @ pca.mean
    else:
        weight, bias = learn_projection(features.rows, images.labels[features.images], pca, _SEED)
    model = composed(live.model, weight, bias)
    record = {
        "kind": kind,
        "key": key,
        "of": info.id,
        "from_size": width,
        "crops": len(features.flat()),
        "variance_kept": pca.kept,
        "whitening": _WHITENING if kind == "pca" else 0.0,
    }
    reduced = CheckpointInfo(
        kind="teacher",
        arch=info.arch,
        embedding_size=size,
        preprocessing=info.preprocessing,
        training={"reduction": record},
        data=data,
        versions=versions(),
        weights=info.weights,
        licence=info.licence,
    )
    return model, save_checkpoint(kept, model, reduced)


def composed(teacher: Embedder, weight: np.ndarray, bias: np.ndarray) -> Embedder:
    """``weight · (teacher before its norm) + bias`` as one network.

    Args:
        weight: float64 [D, F], F the teacher's embedding size.
        bias: float64 [D].
    """
    if teacher.linear is not None:
        own_weight, own_bias = (p.detach().double().cpu().numpy() for p in (teacher.linear.weight, teacher.linear.bias))
        weight, bias = weight @ own_weight, weight @ own_bias + bias
    model = Embedder(teacher.backbone, len(weight))
    assert model.linear is not None
    with torch.no_grad():
        model.linear.weight.copy_(torch.from_numpy(weight))
        model.linear.bias.copy_(torch.from_numpy(bias))
    return model.eval()


def keep_reduced(run: Path, model: Embedder, info: CheckpointInfo) -> None:
    """Save the reduced teacher with its run, unless it is there, and say what it kept."""
    record = info.training["reduction"]
    started = "" if record["kind"] == "pca" else "a projection learned from labels, started from "
    note(
        f"the teacher is reduced from {record['from_size']} to {info.embedding_size} dimensions by {started}principal components "
        f"with {100 * record['variance_kept']:.1f} % of the variance of {record['crops']:,} crops: {run / REDUCED_FOLDER}"
    )
    if _found(run / REDUCED_FOLDER, record["key"]) is None:
        saved = save_checkpoint(run / REDUCED_FOLDER, model, info)
        assert saved.id == info.id


def _key(live: LiveTeacher, info: CheckpointInfo, kind: Kind, size: int, images: TrainImages, rule: CropRule) -> str:
    parts = [
        info.id,
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
