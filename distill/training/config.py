"""What a training run is: every field is a flag of ``distill-train`` and a key of a recipe.

``distill/cli.py`` makes the flags from these fields, so that there is one list of options.
The whole configuration is saved with the run; a run goes on only under the same one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill.console import UsageFailure, suggest
from distill.models.registry import arch_help

__all__ = ["RunConfig", "StudentConfig", "TeacherConfig", "make_config"]


def _option(default: Any, help_text: str, panel: str, **limits: Any) -> Any:
    return Field(default, description=help_text, json_schema_extra={"panel": panel}, **limits)


DATA, MODEL, METHOD, OPTIMISER, RUN = "Data", "Model", "Method", "Optimiser", "Run"


class RunConfig(BaseModel):
    """Options that teachers and students share."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: str = _option(
        "glyphs", "Images: glyphs, folder:PATH, csv:FILE, cub200:PATH, cars196:PATH, sop:PATH, lfw:PATH.", DATA
    )
    split: str = _option(
        "half", "Which classes train: half (first half of the sorted names), a number, a fraction, official.", DATA
    )
    validation: float = _option(0.0, "Share of the train classes held out to choose the best epoch.", DATA, ge=0, lt=1)
    cache_dir: Path | None = _option(
        None, "Where decoded images and teacher embeddings are kept. Default: CACHE beside --out.", DATA
    )
    stored_size: int | None = _option(
        None,
        "Shorter side in pixels to which decoded images are reduced before crops are cut from them (smaller ones stay as they are). "
        "Default: what the centre crops of teacher and student need; more keeps small crops sharp.",
        DATA,
        ge=32,
        le=4096,
    )
    crop_scale: float | None = _option(
        None,
        "Smallest share of the image area in a random training crop; 1 takes the centre crop. Default: 0.25, glyphs 0.7.",
        DATA,
        gt=0,
        le=1,
    )
    flip: bool | None = _option(None, "Mirror half of the training crops. Default: where the data set allows it.", DATA)

    input_size: int | None = _option(
        None, "Side of the network's input in pixels. Default: 224, glyphs 64.", MODEL, ge=16, le=1024
    )
    embedding_size: int = _option(
        128, "Dimension of the embedding; 0 takes the pooled features without a linear layer.", MODEL, ge=0, le=4096
    )
    weights: str | None = _option(
        None, "Start from: a file (.h5, .safetensors, .pth) or imagenet. Default: random.", MODEL
    )
    batch_norm: Literal["train", "frozen"] = _option(
        "train", "Batch statistics, or the stored ones (for small batches).", MODEL
    )

    epochs: int = _option(20, "Passes over the training images; 0 saves the network as it starts.", OPTIMISER, ge=0)
    batch_size: int = _option(128, "Images a step (over all devices).", OPTIMISER, ge=2)
    images_per_class: int = _option(
        4, "Images of one class in a batch; 1 draws images whatever their class.", OPTIMISER, ge=1
    )
    optimizer: Literal["adamw", "adam", "sgd"] = _option("adamw", "adamw, adam or sgd (momentum 0.9).", OPTIMISER)
    lr: float = _option(1e-3, "Highest learning rate.", OPTIMISER, gt=0)
    head_lr: float = _option(1.0, "Factor on the learning rate of the embedding layer.", OPTIMISER, gt=0)
    weight_decay: float = _option(1e-4, "Weight decay; not on batch norm and biases.", OPTIMISER, ge=0)
    schedule: Literal["cosine", "constant"] = _option("cosine", "cosine (to zero) or constant.", OPTIMISER)
    warmup: float = _option(0.05, "Share of all steps over which the learning rate rises.", OPTIMISER, ge=0, lt=1)
    clip: float = _option(0.0, "Largest gradient norm; 0 does not clip.", OPTIMISER, ge=0)
    ema: float = _option(
        0.0, "Decay of the exponential moving average of the weights (0.999, say); 0 for none.", OPTIMISER, ge=0, lt=1
    )
    patience: int = _option(
        0,
        "Stop after this many epochs without a better validation Recall@1; 0 never stops. Needs --validation.",
        OPTIMISER,
        ge=0,
    )

    precision: Literal["auto", "float32", "bfloat16"] = _option(
        "auto", "auto takes bfloat16 where the processor computes it natively and it is faster.", RUN
    )
    seed: int = _option(0, "Seed of everything random.", RUN, ge=0, lt=2**32)
    crop_seed: int | None = _option(
        None,
        "Seed of the crops alone; runs that share it share the teacher's stored embeddings. Default: --seed.",
        RUN,
        ge=0,
        lt=2**32,
    )
    threads: int = _option(0, "CPU threads; 0 takes the cores that --workers leave.", RUN, ge=0, le=256)
    workers: int | None = _option(
        None,
        "Processes that cut crops ahead of the training; 0 cuts them in between. Default: one for every four cores.",
        RUN,
        ge=0,
        le=64,
    )


class TeacherConfig(RunConfig):
    """``distill-train teacher``."""

    arch: str = _option("resnet18", arch_help(), MODEL)
    method: str = _option(
        "multi_similarity", "Metric loss, or a sum: triplet, multi_similarity, proxy_anchor, contrastive.", METHOD
    )


class StudentConfig(RunConfig):
    """``distill-train student``."""

    arch: str = _option("mobilenet_v1_025", arch_help(), MODEL)
    teacher: Path | None = _option(None, "Folder of the trained teacher; without it, only metric losses.", METHOD)
    method: str = _option(
        "relative",
        "Loss, or a sum with weights: absolute, relative, hint, attention, rkd, pkt, … + a metric loss, e.g. 'relative:1+triplet:1'.",
        METHOD,
    )
    teacher_crops: int = _option(
        8,
        "Crops an image whose teacher embeddings are computed once and reused; 0 runs the teacher at every step.",
        METHOD,
        ge=0,
    )
    teacher_mirror: bool = _option(
        False,
        "The teacher's embedding of a crop is the mean of the crop's and its mirror image's; when a stored crop comes round again, "
        "the student sees it mirrored.",
        METHOD,
    )
    teacher_store_gb: float = _option(
        8.0,
        "Most disk space, in GB, for stored stage maps of the teacher; where they need more, it runs at every step.",
        METHOD,
        ge=0,
    )
    teacher_reduction: Literal["auto", "pca", "projection", "none"] = _option(
        "auto",
        "A teacher of --embedding-size dimensions: pca, or projection (learned from labels); auto: pca where the method learns the "
        "teacher's space and it is wider.",
        METHOD,
    )
    unlabelled: str | None = _option(None, "More images (a data spec), seen by the teacher's losses alone.", METHOD)
    unlabelled_ratio: float = _option(0.5, "Share of unlabelled images in a batch.", METHOD, gt=0, lt=1)
    labelled_classes: Annotated[float, Field(gt=0, le=1)] = _option(
        1.0, "Share of the train classes whose labels are used; the rest counts as unlabelled.", METHOD
    )
    student_degrade: str | None = _option(
        None, "The student's view of the teacher's crop: lowres:4, blur:2 or jpeg:20; joined by + for several.", METHOD
    )


def make_config(kind: type[RunConfig], values: dict[str, Any], source: str = "") -> RunConfig:
    """Build a configuration; errors name the flag and the cure.

    Args:
        kind: :class:`TeacherConfig` or :class:`StudentConfig`.
        values: option name → value; unknown names are refused.
        source: where the values come from, for messages (``"recipes/cub.yaml"``).

    Raises:
        UsageFailure: unknown option or value out of range.
    """
    where = f"{source}: " if source else ""
    for name in values:
        if name not in kind.model_fields:
            raise UsageFailure(f"{where}unknown option '{name}'", suggest(name, kind.model_fields))
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        raise UsageFailure(
            f"{where}{flag} {first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}", f"see --help for {flag}"
        ) from None
