"""The teacher of a run: opened from its options, checked against its images, and as the training loop asks it."""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from distill.console import Failure, warn
from distill.data.imageset import ImageSet
from distill.data.known import Known, named
from distill.data.preprocess import Preprocessing
from distill.losses.method import Method
from distill.models.embedder import Embedder
from distill.training.config import RunConfig, StudentConfig
from distill.training.crops import CropRule
from distill.training.data import TrainImages
from distill.training.direct import DirectTeacher
from distill.training.stage_maps import StoredStage, stage_shapes, stored_stages
from distill.training.teacher import LiveTeacher, OpenTeacher, PixelTeacher, Teacher
from distill.training.teacher_store import CachedTeacher, has_room
from distill.training.teachers.kind import TeacherContext
from distill.training.teachers.open import open_teachers

__all__ = ["learnable", "open_for_run", "teacher_of_crops", "warn_of_taught_tests"]


def open_for_run(config: RunConfig, accelerator: Accelerator) -> OpenTeacher | None:
    """Open ``--teacher`` and ``--teacher-embeddings``; None for a run without."""
    options = config.distillation
    if options is None:
        return None
    return open_teachers(
        options.teachers,
        options.teacher_embeddings,
        options.teacher_weights,
        TeacherContext(accelerator.device, config.precision, options.teacher_mirror, options.teacher_missing),
    )


def learnable(live: OpenTeacher, train: ImageSet, unlabelled: ImageSet | None) -> tuple[ImageSet, ImageSet | None]:
    """Return the training images, and those of ``--unlabelled``, that the teacher has embeddings of.

    Raises:
        Failure: more lack one than is allowed, or names do not tell images apart.
    """
    if unlabelled is not None and live.one_per_image:
        _check_names(train, unlabelled)
    known = live.with_target(train)
    more = live.with_target(unlabelled) if unlabelled is not None else None
    return (
        train if known is None else train.select(known),
        unlabelled if unlabelled is None or more is None else unlabelled.select(more),
    )


def warn_of_taught_tests(teacher: OpenTeacher, test_classes: tuple[str, ...]) -> None:
    """Warn of each teacher that was trained on test classes of this run."""
    for member in teacher.members:
        known = Known.of(member.info.data).trained.intersection(test_classes)
        if known and member.info.training.get("epochs") != 0:
            warn(
                f"{member.describe().get('path')} was trained on {len(known)} of the {len(test_classes)} test classes of "
                f"this run ({named(known)}): its student's Recall@K is not that of unseen classes. Train both with the "
                "same --split"
            )


def teacher_of_crops(
    config: RunConfig,
    method: Method,
    live: OpenTeacher,
    model: Embedder,
    preprocessing: Preprocessing,
    images: TrainImages,
    rule: CropRule,
    cache_dir: Path,
    accelerator: Accelerator,
) -> Teacher:
    """Return the teacher as the loop asks it: cached, on the batch's pixels, or directly."""
    options = config.distillation
    assert options is not None
    if options.teacher_crops and not live.stored:
        stages = _stages_to_store(method, live, model, preprocessing) if isinstance(live, LiveTeacher) else []
        cached = CachedTeacher(live, images, rule, cache_dir, stages)
        if _may_cache(options, cached, method, cache_dir, accelerator):
            return cached
    return live if isinstance(live, PixelTeacher) else DirectTeacher(live, images, rule)


def _stages_to_store(
    method: Method, live: LiveTeacher, model: Embedder, preprocessing: Preprocessing
) -> list[StoredStage]:
    if not method.needs_stages:
        return []
    teacher = stage_shapes(live.model, live.preprocessing.input_size)
    student = stage_shapes(model, preprocessing.input_size)
    return stored_stages(method.teacher_maps, teacher, student)


def _may_cache(
    options: StudentConfig, cached: CachedTeacher, method: Method, cache_dir: Path, accelerator: Accelerator
) -> bool:
    """Whether the teacher's stage maps fit on the disk. The main process decides for all."""
    if not cached.stages:
        return True
    views = min(options.epochs * method.views, max(options.teacher_crops, method.views))
    fits = [not accelerator.is_main_process or has_room(cached, views, options.teacher_store_gb, cache_dir)]
    return bool(broadcast_object_list(fits)[0])


def _check_names(train: ImageSet, unlabelled: ImageSet) -> None:
    """Refuse two images of one name, since vectors are found by name."""
    shared = set(train.keys) & set(unlabelled.keys)
    if not shared:
        return
    content = {key: digest for key, digest in zip(train.keys, train.digests(), strict=True) if key in shared}
    for key, digest in zip(unlabelled.keys, unlabelled.digests(), strict=True):
        if key in shared and content[key] != digest:
            raise Failure(
                f"--unlabelled {unlabelled.spec}: {key} is another image in {train.spec}: names do not tell them apart",
                "rename the folders of one of them, and their names in the file of embeddings",
            )
