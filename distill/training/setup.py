"""Everything a run needs, built from its configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from distill.console import UsageFailure
from distill.data.imageset import ImageSet
from distill.data.preprocess import Preprocessing
from distill.data.spec import open_data
from distill.data.split import split
from distill.losses.build import DistillationLoss, build_losses
from distill.losses.method import parse_method
from distill.models.checkpoint import load_checkpoint
from distill.models.embedder import Embedder, freeze_batch_norm
from distill.models.info import CheckpointInfo
from distill.models.registry import build_backbone
from distill.training.config import RunConfig, StudentConfig
from distill.training.crops import CropRule
from distill.training.data import TrainImages
from distill.training.degrade import Degrade, parse_degrade
from distill.training.reduction import reduce_teacher, reduction_for
from distill.training.stage_maps import StoredStage, stage_shapes, stored_stages
from distill.training.teacher import LiveTeacher
from distill.training.teacher_store import CachedTeacher, has_room

__all__ = ["Setup", "crop_workers", "data_record", "in_bfloat16", "native_bfloat16", "prepare"]


@dataclass
class Setup:
    """The parts of a run; see :func:`prepare`.

    Attributes:
        teacher_info: of the teacher that teaches: the reduced one where there is one.
        reduced: the teacher of fewer dimensions that was made for this run.
    """

    accelerator: Accelerator
    autocast: bool
    model: Embedder
    preprocessing: Preprocessing
    losses: DistillationLoss
    teacher: LiveTeacher | CachedTeacher | None
    teacher_info: CheckpointInfo | None
    reduced: Embedder | None
    train_set: ImageSet
    validation_set: ImageSet | None
    images: TrainImages
    rule: CropRule
    degrade: Degrade | None
    workers: int


def native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def crop_workers(config: RunConfig) -> int:
    """Processes that cut crops.

    None on a machine of two or three cores: a third busy process makes the threads of every small
    convolution wait for each other (``scripts/benchmarks/train_throughput.py`` has a row with one worker). A GPU
    leaves the cores free.
    """
    if config.workers is not None:
        return config.workers
    cores = os.cpu_count() or 1
    return min(8, max(1, cores - 1)) if torch.accelerator.is_available() else min(8, cores // 4)


def in_bfloat16(model: Embedder, precision: str, device: torch.device) -> bool:
    """Whether ``model`` runs in bfloat16 under ``--precision``.

    ``auto`` leaves networks of depthwise convolutions in float32 on a CPU: these are bound by
    memory and by the casts, and slower in bfloat16 (``scripts/benchmarks/train_throughput.py``).
    """
    if precision != "auto":
        return precision == "bfloat16"
    depthwise = any(isinstance(m, torch.nn.Conv2d) and 1 < m.groups == m.in_channels for m in model.modules())
    return native_bfloat16() and not (device.type == "cpu" and depthwise)


def prepare(config: RunConfig, out: Path) -> Setup:
    """Open the data, build networks and losses.

    Raises:
        UsageFailure: options that do not go together.
        Failure: data, weights or teacher that cannot be used.
    """
    workers = crop_workers(config)
    torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) - workers))
    torch.manual_seed(config.seed)
    method = parse_method(config.method)
    student = config if isinstance(config, StudentConfig) else None
    degrade = parse_degrade(student.student_degrade) if student else None
    if config.patience and not config.validation:
        raise UsageFailure("--patience watches the validation classes", "add --validation 0.1")

    # Without this, processes started by torchrun on a machine without a GPU would not find each other.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    cache_dir = config.cache_dir or out.parent / "cache"
    everything = open_data(config.data)
    train_set = split(everything, config.split, "train", config.validation)
    validation_set = split(everything, config.split, "validation", config.validation) if config.validation else None

    live, teacher_info = _load_teacher(student, accelerator)
    input_size = config.input_size or everything.native_size or 224
    backbone = build_backbone(config.arch, config.weights)
    # Images drawn to fill a frame have no margin that a centre crop could cut off.
    preprocessing = backbone.default_preprocessing(input_size, input_size if everything.native_size else None)
    model = Embedder(backbone, config.embedding_size)
    if config.batch_norm == "frozen":
        freeze_batch_norm(model)

    kind = student and reduction_for(
        student.teacher_reduction, method, model.embedding_size, teacher_info.embedding_size if teacher_info else None
    )
    # Less than most of a picture that fills its frame would no longer show what it is of.
    crop_scale = config.crop_scale or (0.7 if everything.native_size else 0.25)
    crop_seed = config.seed if config.crop_seed is None else config.crop_seed
    rule = CropRule(crop_scale, train_set.flip if config.flip is None else config.flip, crop_seed)
    if live is not None and live.mirror and not rule.flip:
        raise UsageFailure(
            "--teacher-mirror: these pictures are not mirrored in training", "leave it out, or add --flip"
        )
    sides = [preprocessing.resize_size] + ([live.preprocessing.resize_size] if live else [])
    with accelerator.main_process_first():
        images = TrainImages(
            train_set,
            open_data(student.unlabelled) if student and student.unlabelled else None,
            student.labelled_classes if student else 1.0,
            config.stored_size or max(sides),
            cache_dir,
        )
    reduced = None
    if kind and live is not None and teacher_info is not None:
        # What is random in it must not depend on whether it was found: the losses' weights are drawn next.
        with accelerator.main_process_first(), torch.random.fork_rng(devices=[]):
            reduced, teacher_info = reduce_teacher(
                live,
                teacher_info,
                kind,
                model.embedding_size,
                images,
                rule,
                cache_dir,
                out,
                data_record(config, train_set, images),
            )
        live = LiveTeacher(reduced, live.preprocessing, live.device, live.autocast, live.mirror)
    losses = build_losses(
        method,
        embedding_size=model.embedding_size,
        teacher_size=teacher_info.embedding_size if teacher_info else None,
        num_classes=images.num_classes,
        student_stage_channels=backbone.stage_channels,
        teacher_stage_channels=live.stage_channels if live else None,
    )
    if losses.needs_labels and config.images_per_class < 2:
        raise UsageFailure("a metric loss needs positives in the batch", "use --images-per-class 2 or more")
    teacher: LiveTeacher | CachedTeacher | None = None
    if live is not None and losses.needs_teacher:
        teacher = live
        if student and student.teacher_crops and teacher_info is not None:
            stages: list[StoredStage] = []
            if losses.needs_stages:
                shapes = [
                    stage_shapes(m, p.input_size) for m, p in ((live.model, live.preprocessing), (model, preprocessing))
                ]
                stages = stored_stages(method.teacher_maps, *shapes)
            stored = CachedTeacher(live, teacher_info.id, images, rule, cache_dir, stages)
            views = min(student.epochs * losses.views, max(student.teacher_crops, losses.views))
            # Free space is asked for once: processes must not decide differently.
            fits = [
                not stages
                or not accelerator.is_main_process
                or has_room(stored, views, student.teacher_store_gb, cache_dir)
            ]
            teacher = stored if broadcast_object_list(fits)[0] else live
    return Setup(
        accelerator,
        in_bfloat16(model, config.precision, accelerator.device),
        model,
        preprocessing,
        losses,
        teacher,
        teacher_info,
        reduced,
        train_set,
        validation_set,
        images,
        rule,
        degrade,
        workers,
    )


def data_record(config: RunConfig, train_set: ImageSet, images: TrainImages) -> dict[str, Any]:
    """What ``model.json`` says of the images of a run."""
    return {
        "spec": config.data,
        "split": config.split,
        "validation": config.validation,
        "fingerprint": train_set.fingerprint(),
        "classes": list(train_set.classes),
        "images": len(images),
    }


def _load_teacher(
    student: StudentConfig | None, accelerator: Accelerator
) -> tuple[LiveTeacher | None, CheckpointInfo | None]:
    if student is None or student.teacher is None:
        return None, None
    model, info = load_checkpoint(student.teacher)
    autocast = in_bfloat16(model, student.precision, accelerator.device)
    return LiveTeacher(model, info.preprocessing, accelerator.device, autocast, student.teacher_mirror), info
