"""Options of a training run: every field is a flag of ``distill-train`` and a key of a recipe.

``distill/options.py`` makes the flags from these fields, so there is one list of options. The whole
configuration is saved with the run, and an unfinished run continues only with the same options.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from distill.console import UsageFailure, suggest
from distill.data.spec import data_help
from distill.losses.registry import LABEL_LOSSES, LOSSES
from distill.models.registry import arch_help
from distill.options import Recipe, make_options
from distill.options import option as _option

__all__ = ["RunConfig", "StudentConfig", "TeacherConfig", "make_config"]


Config = TypeVar("Config", bound="RunConfig")
DATA, MODEL, METHOD, OPTIMISER, RUN = "Data", "Model", "Method", "Optimiser", "Run"


class RunConfig(BaseModel):
    """Options that teachers and students share."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: str = _option("glyphs", f"Image set: {data_help()}", DATA)
    split: str | None = _option(
        None,
        "Train classes: half (the first half of the sorted names), a number, a fraction, or official; without labels, the "
        "same of the images in a random order. Default: half; without labels 0.8.",
        DATA,
    )
    validation: float = _option(
        0.0,
        "Fraction of the train classes (without labels, of the images) held out to choose the best epoch.",
        DATA,
        ge=0,
        lt=1,
    )
    cache_dir: Path | None = _option(
        None, "Folder for decoded images and teacher embeddings. Default: 'cache' beside --out.", DATA
    )
    stored_size: int | None = _option(
        None,
        "Shorter side, in pixels, of the decoded images from which crops are cut; smaller images keep their size. "
        "Default: the size that the centre crops of teacher and student need. A larger size keeps small crops sharp.",
        DATA,
        ge=32,
        le=4096,
    )
    crop_scale: float | None = _option(
        None,
        "Smallest fraction of the image area in a random training crop; 1 takes the centre crop. "
        "Default: 0.25; glyphs: 0.7.",
        DATA,
        gt=0,
        le=1,
    )
    flip: bool | None = _option(None, "Mirror half of the training crops. Default: if the data set allows it.", DATA)

    input_size: int | None = _option(
        None, "Side of the network's input, in pixels. Default: 224; glyphs: 64.", MODEL, ge=16, le=1024
    )
    embedding_size: int = _option(
        128, "Dimensions of the embedding; 0 uses the pooled features without a linear layer.", MODEL, ge=0, le=4096
    )
    weights: str | None = _option(
        None, "Initial weights: a file (.h5, .safetensors, .pth) or imagenet. Default: random.", MODEL
    )
    keep_head: bool = _option(
        False,
        "Take the embedding layer from the last linear layer of --weights too; --embedding-size has to be its size. "
        "For networks trained to embed, such as a face recogniser.",
        MODEL,
    )
    pixel_mean: str | None = _option(
        None,
        "Mean of the pixels that --weights expect, 0 to 255: one number, or three (R,G,B). Default: that of the network.",
        MODEL,
    )
    pixel_std: str | None = _option(
        None, "Standard deviation of the pixels that --weights expect, like --pixel-mean.", MODEL
    )
    batch_norm: Literal["train", "frozen"] = _option(
        "train", "Batch norm: train uses batch statistics, frozen the stored ones (for small batches).", MODEL
    )

    epochs: int = _option(
        20, "Passes over the training images; 0 saves the network with its initial weights.", OPTIMISER, ge=0
    )
    batch_size: int = _option(128, "Images per step, over all devices.", OPTIMISER, ge=2)
    images_per_class: int = _option(4, "Images per class in a batch; 1 ignores classes.", OPTIMISER, ge=1)
    optimizer: Literal["adamw", "adam", "sgd"] = _option("adamw", "adamw, adam or sgd (momentum 0.9).", OPTIMISER)
    lr: float = _option(1e-3, "Peak learning rate.", OPTIMISER, gt=0)
    head_lr: float = _option(1.0, "Factor on the learning rate of the embedding layer.", OPTIMISER, gt=0)
    weight_decay: float = _option(1e-4, "Weight decay, except for batch norm and biases.", OPTIMISER, ge=0)
    schedule: Literal["cosine", "constant"] = _option(
        "cosine", "Learning rate after warm-up: cosine (to zero) or constant.", OPTIMISER
    )
    warmup: float = _option(0.05, "Fraction of all steps for linear warm-up.", OPTIMISER, ge=0, lt=1)
    clip: float = _option(0.0, "Maximum gradient norm; 0 disables clipping.", OPTIMISER, ge=0)
    ema: float = _option(
        0.0,
        "Decay of the exponential moving average of the weights, e.g. 0.999; 0 disables it.",
        OPTIMISER,
        ge=0,
        lt=1,
    )
    patience: int = _option(
        0,
        "Stop after this many epochs without a better validation Recall@1 (without labels: agreement with the teacher); "
        "0 never stops early. Needs --validation.",
        OPTIMISER,
        ge=0,
    )

    precision: Literal["auto", "float32", "bfloat16"] = _option(
        "auto",
        "Compute type; auto uses bfloat16 where it is faster: on GPUs and on CPUs with AMX. float32 and bfloat16 do not ask the hardware.",
        RUN,
    )
    seed: int = _option(0, "Random seed.", RUN, ge=0, lt=2**32)
    crop_seed: int | None = _option(
        None,
        "Random seed of the crops; runs with the same one share the teacher's cached embeddings. Default: --seed.",
        RUN,
        ge=0,
        lt=2**32,
    )
    threads: int = _option(0, "CPU threads; 0 uses the cores that --workers leaves free.", RUN, ge=0, le=256)
    workers: int | None = _option(
        None, "Data-loader workers; 0 loads in-process. Default: one for every four cores.", RUN, ge=0, le=64
    )

    arch: str
    method: str

    @property
    def distillation(self) -> StudentConfig | None:
        """The options of distillation; None for a teacher, which has none."""
        return None


class TeacherConfig(RunConfig):
    """Options of ``distill-train teacher``."""

    arch: str = _option("resnet18", f"Backbone: {arch_help()}", MODEL)
    method: str = _option("multi_similarity", f"Metric loss, or a weighted sum: {', '.join(LABEL_LOSSES)}.", METHOD)


class StudentConfig(RunConfig):
    """Options of ``distill-train student``."""

    arch: str = _option("mobilenet_v1_025", f"Backbone: {arch_help()}", MODEL)
    teacher: Path | tuple[Path, ...] | None = _option(
        None,
        "Teacher: folder of a run, bundle, .onnx or .tflite file; repeat it to join several. Without it: metric losses only.",
        METHOD,
    )
    teacher_embeddings: Path | None = _option(
        None, "Teacher: stored vectors, one for each image, in .npz, .npy or .parquet, with the images' names.", METHOD
    )
    teacher_weights: str | None = _option(
        None, "Weights of several teachers, joined by commas; --teacher-embeddings is the last. Default: all 1.", METHOD
    )
    teacher_missing: float = _option(
        0.0, "Fraction of the images that may lack a stored vector; they are left out.", METHOD, ge=0, lt=1
    )
    method: str = _option(
        "absolute",
        f"Loss, or a weighted sum such as 'absolute+multi_similarity:0.3': {', '.join(LOSSES.names())}.",
        METHOD,
    )
    teacher_crops: int = _option(
        8, "Cached teacher crops per image; 0 caches none and runs the teacher at every step.", METHOD, ge=0
    )
    teacher_mirror: bool = _option(
        False,
        "Average the teacher's embeddings of a crop and of its mirror image. A cached crop is then mirrored for the "
        "student every other time it is reused.",
        METHOD,
    )
    teacher_store_gb: float = _option(
        8.0,
        "Disk limit, in GB, for the teacher's cached stage maps; beyond it the teacher runs at every step.",
        METHOD,
        ge=0,
    )
    teacher_reduction: Literal["auto", "pca", "projection", "none"] = _option(
        "auto",
        "Reduce the teacher to --embedding-size dimensions: pca, projection (learned from labels) or none. auto: pca if "
        "the method learns the teacher's space and the teacher is wider, else none.",
        METHOD,
    )
    unlabelled: str | None = _option(
        None, "Additional image set, of which no labels are used, for the teacher's losses.", METHOD
    )
    unlabelled_ratio: float = _option(0.5, "Fraction of unlabelled images in a batch.", METHOD, gt=0, lt=1)
    labelled_classes: Annotated[float, Field(gt=0, le=1)] = _option(
        1.0, "Fraction of the train classes whose labels are used; the rest counts as unlabelled.", METHOD
    )
    student_degrade: str | None = _option(
        None, "Degrade the student's crops only: lowres:4, blur:2 or jpeg:20; join several with +.", METHOD
    )

    @field_validator("teacher")
    @classmethod
    def _one_as_before(cls, value: Any) -> Any:
        """Record one teacher as a path, as all versions did."""
        return (value[0] if len(value) == 1 else value or None) if isinstance(value, tuple) else value

    @property
    def teachers(self) -> tuple[Path, ...]:
        """All paths of ``--teacher``."""
        given = self.teacher
        return given if isinstance(given, tuple) else () if given is None else (given,)

    @property
    def distillation(self) -> StudentConfig:
        return self


def make_config(kind: type[Config], values: dict[str, Any], source: str = "") -> Config:
    """Build a configuration from option values.

    Args:
        kind: :class:`TeacherConfig` or :class:`StudentConfig`.
        values: option name → value.
        source: where the values come from, for error messages (``"recipes/cub.yaml"``).

    Raises:
        UsageFailure: unknown option or value out of range; the message names the flag.
    """
    where = f"{source}: " if source else ""
    for name in values:
        if name not in kind.model_fields:
            raise UsageFailure(f"{where}unknown option '{name}'", suggest(name, kind.model_fields))
    return make_options(kind, {}, Recipe(source, values))
