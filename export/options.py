"""Options of an export: every field that is made with ``option`` is a flag of ``distill-export`` and a key of a recipe.

``distill/options.py`` makes the flags from these fields; ``export/option_help.py`` completes the help of those whose
values are registered formats, targets and repairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from distill.options import option
from export.int8.repair.settings import QatSettings

if TYPE_CHECKING:
    from export.bundle.schema import Tolerance

    Tolerances = dict[str, Tolerance]
else:
    Tolerances = dict[str, Any]  # export.bundle imports NumPy, which --help does not need

__all__ = ["ExportOptions"]

WHAT, IMAGES, INT8, CHECK, BUNDLE = "Files", "Images", "Int8", "Check", "Bundle"
QAT = QatSettings()


def _tolerances(value: Any) -> Any:
    """Return tolerances by name, from ``["int8=0.9"]`` (flags) or ``{"int8": 0.9}`` (a recipe)."""
    from export.bundle.schema import Tolerance
    from export.check import parse_tolerances
    from export.targets import all_targets

    if isinstance(value, Mapping):
        if all(isinstance(each, Tolerance) for each in value.values()):
            return value
        value = [f"{name}={cosine}" for name, cosine in value.items()]
    if not isinstance(value, list):
        raise ValueError("write NAME=COSINE, e.g. int8=0.9")
    rows = all_targets()
    known = dict.fromkeys([*(row.name for row in rows), *(row.precision for row in rows)])
    return parse_tolerances([str(each) for each in value], list(known))


class ExportOptions(BaseModel):
    """Options of ``distill-export run`` besides the checkpoint and the output folder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    target: str = option("all", "Formats.", WHAT)
    quantize: str = option("none,int8", "Quantization schemes.", WHAT)
    io: str = option("auto", "Input and output type.", WHAT)

    calibration_data: str | None = option(
        None,
        "Images for calibration and for the check, e.g. folder:photos. "
        "Default: the train part of the checkpoint's own data.",
        IMAGES,
    )
    calibration_images: int = option(200, "Number of calibration images.", IMAGES, ge=1, le=100_000)
    seed: int = option(0, "Seed for the choice of images.", IMAGES, ge=0, lt=2**32)

    repair: str = option("auto", "Before quantization.", INT8)
    qat_steps: int = option(QAT.steps, "Number of training batches of qat, 32 crops each.", INT8, ge=1, le=1_000_000)
    qat_lr: float = option(QAT.lr, "Initial step size of qat, relative to the weights.", INT8, ge=1e-8, le=1)
    calibration_range: str = option(
        "minmax", "Ranges of int8 activations: minmax, percentile:99.99 (share of values kept), mse.", INT8
    )
    exclude_layers: str = option(
        "",
        "Layers of int8 files that stay float32: the N most sensitive ones, or names separated by commas.",
        INT8,
        coerce_numbers_to_str=True,
    )
    debug_layers: Path | None = option(
        None, "Compare int8 with float layer by layer: print a table, write csv, svg and png to this folder.", INT8
    )

    tolerances: Annotated[Tolerances, BeforeValidator(_tolerances)] = option(
        {},
        "NAME=COSINE: smallest cosine allowed, by scheme or variant, e.g. int8=0.9 or onnx-int8=0.8. Repeatable.",
        CHECK,
        flag="--tolerance",
        parse_as=list[str],
    )

    name: str = option("", "Name in the bundle. Default: name of the checkpoint folder.", BUNDLE)
    licence: str = option("", "Licence of the model, recorded in the bundle.", BUNDLE)
    data_licence: str = option("", "Licence of the training data, recorded in the bundle.", BUNDLE)
    cache_dir: Path | None = option(
        None, "Folder of built files, reused by the next export. Default: cache beside --out.", BUNDLE
    )
    use_cache: bool = option(
        True, "Whether to reuse built files; --no-cache builds everything again, and keeps nothing.", BUNDLE,
        flag="--cache/--no-cache",
    )  # fmt: skip

    overwrite: bool = False  # replace an existing bundle
    debug: bool = False  # show tracebacks and the messages of converters

    @property
    def qat(self) -> QatSettings:
        """Settings of quantization-aware training."""
        return QatSettings(steps=self.qat_steps, lr=self.qat_lr, seed=self.seed)
