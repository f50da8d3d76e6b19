"""Build the parts of a training run from its configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from distill.console import Failure, UsageFailure, note, warn
from distill.data.imageset import ImageSet
from distill.data.known import named, shared_images, unlabelled_tests
from distill.data.preprocess import Preprocessing
from distill.data.spec import open_data
from distill.data.split import default_rule, part_indices, split
from distill.losses.build import DistillationLoss, build_losses
from distill.losses.method import Method, parse_method
from distill.models.embedder import Embedder, freeze_batch_norm
from distill.models.pretrained_head import keep_head, pixel_triple
from distill.models.registry import build_backbone
from distill.training.config import RunConfig
from distill.training.crops import CropRule
from distill.training.data import TrainImages
from distill.training.degrade import Degrade, parse_degrade
from distill.training.precision import in_bfloat16, native_bfloat16
from distill.training.reduction import ReductionKind, reduce_teacher, reduction_for
from distill.training.run_teacher import learnable, open_for_run, teacher_of_crops, warn_of_taught_tests
from distill.training.teacher import OpenTeacher, Teacher, TeacherInfo

__all__ = ["Setup", "crop_workers", "in_bfloat16", "native_bfloat16", "prepare"]


@dataclass(frozen=True)
class Setup:
    """The parts of a run; see :func:`prepare`.

    Attributes:
        autocast: whether the student computes in bfloat16.
        model: the network to train.
        teacher: the teacher, if a loss needs one.
        teacher_info: record of the teacher that was given, or of the one reduced from it, even if
            no loss needs it.
        images: labelled and unlabelled training images.
        record: ``data`` of ``model.json``.
        rule: how crops are cut.
        degrade: applied to the student's crops only.
        workers: number of data-loader workers.
    """

    accelerator: Accelerator
    autocast: bool
    model: Embedder
    preprocessing: Preprocessing
    losses: DistillationLoss
    teacher: Teacher | None
    teacher_info: TeacherInfo | None
    validation_set: ImageSet | None
    images: TrainImages
    record: dict[str, Any]
    rule: CropRule
    degrade: Degrade | None
    workers: int


@dataclass(frozen=True)
class _Data:
    """The image sets of a run.

    Attributes:
        rule: how the data set was split.
        test_classes: names of the test classes; empty without labels.
        seen_unlabelled: names of the test classes whose images are among the unlabelled ones.
        native_size: side in pixels of images that are drawn to fill their frame.
    """

    rule: str
    train: ImageSet
    validation: ImageSet | None
    test_classes: tuple[str, ...]
    unlabelled: ImageSet | None
    seen_unlabelled: tuple[str, ...]
    native_size: int | None


def prepare(config: RunConfig, out: Path) -> Setup:
    """Open the data, build networks and losses.

    The order of these steps is the order in which random numbers are drawn: a change of it changes the result
    of a seed.

    Raises:
        UsageFailure: options that do not go together.
        Failure: data, weights or teacher that cannot be used.
    """
    workers = crop_workers(config)
    torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) - workers))
    torch.manual_seed(config.seed)
    method, degrade = _parse_options(config)
    # Without this, processes started by torchrun on a machine without a GPU would not find each other.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    cache_dir = config.cache_dir or out.parent / "cache"
    data = _open_images(config, accelerator.is_main_process)
    if method.needs_labels and not data.train.labelled and config.epochs:
        raise _needs_labels(config, method)
    live = open_for_run(config, accelerator)
    if live is not None:
        train, unlabelled = learnable(live, data.train, data.unlabelled)
        data = replace(data, train=train, unlabelled=unlabelled)
        if accelerator.is_main_process:
            warn_of_taught_tests(live, data.test_classes)
    model, preprocessing = _build_student(config, data)
    kind = _reduction_kind(config, method, model, live)
    rule = _crop_rule(config, data, live)
    images = _open_pixels(config, data, preprocessing, live, cache_dir, accelerator)
    record = _data_record(config, data, images)
    if kind is not None and live is not None:
        # Forked, because the numbers drawn next must not depend on whether the reduction was found in a cache.
        with accelerator.main_process_first(), torch.random.fork_rng(devices=[]):
            live = reduce_teacher(live, kind, model.embedding_size, images, rule, cache_dir, out, record)
    losses = _build_losses(config, method, model, live, images)
    if data.validation is not None and not data.validation.labelled and (live is None or not method.needs_teacher):
        raise UsageFailure(
            "--validation: images without labels are validated by comparing neighbours with the teacher's",
            "leave it out, or add --teacher DIR",
        )
    teacher = None
    if live is not None and method.needs_teacher:
        teacher = teacher_of_crops(config, method, live, model, preprocessing, images, rule, cache_dir, accelerator)
    return Setup(
        accelerator=accelerator,
        autocast=in_bfloat16(model, config.precision, accelerator.device),
        model=model,
        preprocessing=preprocessing,
        losses=losses,
        teacher=teacher,
        teacher_info=live.info if live is not None else None,
        validation_set=data.validation,
        images=images,
        record=record,
        rule=rule,
        degrade=degrade,
        workers=workers,
    )


def crop_workers(config: RunConfig) -> int:
    """Return the number of data-loader workers.

    None on a machine of two or three cores: there a third busy process makes the threads of every small
    convolution wait for each other (``scripts/benchmarks/train_throughput.py`` has a row with one worker).
    With a GPU the cores are free.
    """
    if config.workers is not None:
        return config.workers
    cores = os.cpu_count() or 1
    return min(8, max(1, cores - 1)) if torch.accelerator.is_available() else min(8, cores // 4)


def _data_record(config: RunConfig, data: _Data, images: TrainImages) -> dict[str, Any]:
    """Record of a run's images for ``model.json``; :class:`distill.data.known.Known` reads it."""
    record = {
        "spec": config.data,
        "split": data.rule,
        "validation": config.validation,
        "fingerprint": data.train.fingerprint(),
        "classes": list(data.train.classes) if data.train.labelled else [],
        "images": len(images),
        "test_classes": list(data.test_classes),
    }
    optional = {
        "validation_classes": data.validation.classes if data.validation and data.validation.labelled else (),
        "unlabelled_test_classes": data.seen_unlabelled,
        "image_sample": data.train.sample(),
    }
    if not data.train.labelled:
        record["labels"] = False
    return record | {name: list(values) for name, values in optional.items() if values}


def _parse_options(config: RunConfig) -> tuple[Method, Degrade | None]:
    """Parse the options that have a grammar of their own, before any data is opened."""
    method = parse_method(config.method)
    degrade = parse_degrade(config.distillation.student_degrade) if config.distillation else None
    if config.patience and not config.validation:
        raise UsageFailure("--patience watches the validation classes", "add --validation 0.1")
    return method, degrade


def _open_images(config: RunConfig, warns: bool) -> _Data:
    everything = open_data(config.data)
    rule = config.split or default_rule(everything)
    train_set = split(everything, rule, "train", config.validation)
    validation_set = split(everything, rule, "validation", config.validation) if config.validation else None
    test_set = _test_set(everything, rule)
    if not everything.labelled and warns:
        note(
            f"{config.data}: no labels are used: {len(train_set):,} of {len(everything):,} images to train on, "
            f"{len(validation_set) if validation_set else 0:,} for validation, {len(test_set) if test_set else 0:,} to test"
        )
    more = config.distillation.unlabelled if config.distillation else None
    unlabelled = open_data(more) if more else None
    seen: tuple[str, ...] = ()
    if unlabelled is not None and test_set is not None:
        seen = _seen_unlabelled(str(more), unlabelled, test_set, warns)
    test_classes = test_set.classes if test_set and test_set.labelled else ()
    return _Data(rule, train_set, validation_set, test_classes, unlabelled, seen, everything.native_size)


def _seen_unlabelled(spec: str, unlabelled: ImageSet, tests: ImageSet, warns: bool) -> tuple[str, ...]:
    """Return the test classes of which ``unlabelled`` holds images, and warn of them."""
    if not tests.labelled:
        shared = len(shared_images(unlabelled, tests))
        if shared and warns:
            warn(
                f"--unlabelled {spec}: holds {shared} of the {len(tests)} test images: agreement with the teacher on them is "
                "not that of unseen images"
            )
        return ()
    seen = unlabelled_tests(unlabelled, tests)
    if seen and warns:
        warn(
            f"--unlabelled {spec}: holds images of {len(seen)} of the {len(tests.classes)} test "
            f"classes ({named(seen)}): Recall@K on them is not that of unseen classes. Leave these classes out of it"
        )
    return seen


def _test_set(everything: ImageSet, rule: str) -> ImageSet | None:
    """The test part, or None if there is none: that does not keep a run from training."""
    try:
        return everything.select(part_indices(everything, rule)["test"])
    except (Failure, UsageFailure):
        return None


def _build_student(config: RunConfig, data: _Data) -> tuple[Embedder, Preprocessing]:
    """Build the network to train, with its initial weights, and its preprocessing."""
    input_size = config.input_size or data.native_size or 224
    backbone = build_backbone(config.arch, config.weights)
    backbone.mean = pixel_triple(config.pixel_mean, "--pixel-mean", backbone.mean)
    backbone.std = pixel_triple(config.pixel_std, "--pixel-std", backbone.std, above_zero=True)
    # Images drawn to fill their frame have no margin that a centre crop could cut off.
    preprocessing = backbone.default_preprocessing(input_size, input_size if data.native_size else None)
    model = Embedder(backbone, config.embedding_size)
    if config.keep_head:
        keep_head(model, config.weights)
    if config.batch_norm == "frozen":
        freeze_batch_norm(model)
    return model, preprocessing


def _reduction_kind(
    config: RunConfig, method: Method, model: Embedder, live: OpenTeacher | None
) -> ReductionKind | None:
    if config.distillation is None:
        return None
    teacher_size = live.info.embedding_size if live is not None else None
    return reduction_for(config.distillation.teacher_reduction, method, model.embedding_size, teacher_size)


def _crop_rule(config: RunConfig, data: _Data, live: OpenTeacher | None) -> CropRule:
    # An image that fills its frame is no longer recognisable in a small crop.
    # Nor is a crop that shows much less than the stored vector tells of.
    mild = data.native_size or (live is not None and live.one_per_image)
    scale = config.crop_scale or (0.7 if mild else 0.25)
    flip = data.train.flip if config.flip is None else config.flip
    if live is not None and live.mirror and not flip:
        raise UsageFailure("--teacher-mirror: these images are not mirrored in training", "leave it out, or add --flip")
    return CropRule(scale, flip, config.seed if config.crop_seed is None else config.crop_seed)


def _open_pixels(
    config: RunConfig,
    data: _Data,
    preprocessing: Preprocessing,
    live: OpenTeacher | None,
    cache_dir: Path,
    accelerator: Accelerator,
) -> TrainImages:
    """Decode the training images, in one process, into the store that all processes read."""
    options = config.distillation
    sides = [preprocessing.resize_size] + ([live.resize_size] if live and live.resize_size else [])
    with accelerator.main_process_first():
        return TrainImages(
            data.train,
            data.unlabelled,
            options.labelled_classes if options else 1.0,
            config.stored_size or max(sides),
            cache_dir,
        )


def _build_losses(
    config: RunConfig, method: Method, model: Embedder, live: OpenTeacher | None, images: TrainImages
) -> DistillationLoss:
    if live is not None and live.stage_channels is None and method.teacher_maps:
        raise UsageFailure(
            f"--method {method}: this teacher has embeddings, but no stage maps",
            "use losses on embeddings, such as relative or absolute",
        )
    losses = build_losses(
        method,
        embedding_size=model.embedding_size,
        teacher_size=live.info.embedding_size if live else None,
        num_classes=max(1, images.num_classes),
        student_stage_channels=model.backbone.stage_channels,
        teacher_stage_channels=(live.stage_channels or ()) if live else None,
    )
    if losses.needs_labels and config.images_per_class < 2:
        raise UsageFailure("a metric loss needs positives in the batch", "use --images-per-class 2 or more")
    return losses


def _needs_labels(config: RunConfig, method: Method) -> UsageFailure:
    """The error for losses that compare classes, on images that have none."""
    names = " and ".join(term.name for term in method.terms if term.spec.labels)
    rest = "+".join(str(term) for term in method.terms if not term.spec.labels)
    what = f"--method {method}: {names} needs labels, and {config.data} has none"
    if config.distillation is None:
        return UsageFailure(what, "use the pretrained network as it is (--epochs 0 --embedding-size 0), or give labels")
    if rest:
        return UsageFailure(what, f"use --method {rest}")
    return UsageFailure(
        what, "use a loss on the teacher alone: --teacher DIR --method absolute (or relative, rkd, pkt …)"
    )
