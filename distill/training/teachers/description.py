"""How a model file from elsewhere wants its pixels, written once in a small YAML or JSON file beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import PIL.Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from distill.console import Failure
from distill.data.preprocess import Preprocessing, resize_exactly

__all__ = ["ModelDescription", "SquashedPreprocessing", "read_description"]

_SUFFIXES = (".yaml", ".yml", ".json")
_EXAMPLE = "for example 'mean: [123.675, 116.28, 103.53]' and 'std: [58.395, 57.12, 57.375]': docs/teachers.md"


def _three(value: Any) -> Any:
    """One number stands for all three channels."""
    return (value,) * 3 if isinstance(value, int | float) and not isinstance(value, bool) else value


_Side = Annotated[int, Field(ge=1, le=4096)]
_Numbers = Annotated[tuple[FiniteFloat, FiniteFloat, FiniteFloat], BeforeValidator(_three)]


class ModelDescription(BaseModel):
    """The content of ``MODEL.yaml``.

    Attributes:
        size: side of the square input, pixels; None: as the file says.
        resize: shorter side, in pixels, to which whole images are resized before the centre crop; None: ``size``.
        crop: ``center``, or ``none``: the whole image is squeezed into the square.
        mean, std: per channel, in the order R, G, B: ``(pixel − mean) / std``.
        range: largest pixel value that mean and std refer to: 255, or 1 as in torchvision.
        channels: order of the channels in the input.
        layout: order of the input's axes; None: as the file says.
        output: name of the output that is the embedding; None: the only one that can be.
        normalise: scale embeddings to unit length before dimensions are reduced. After it they always are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: _Side | None = None
    resize: _Side | None = None
    crop: Literal["center", "none"] = "center"
    mean: _Numbers
    std: Annotated[tuple[FiniteFloat, FiniteFloat, FiniteFloat], BeforeValidator(_three)]
    range: Literal[1, 255] = 255
    channels: Literal["RGB", "BGR"] = "RGB"
    layout: Literal["NCHW", "NHWC"] | None = None
    output: str | None = None
    normalise: bool = False

    @model_validator(mode="after")
    def _possible(self) -> ModelDescription:
        if min(self.std) <= 0:
            raise ValueError("std has to be above 0")
        if self.range == 255 and max(self.std) < 1:
            raise ValueError("std is below 1 although pixels go up to 255; if they go up to 1, add 'range: 1'")
        return self

    def preprocessing(self, size: int) -> Preprocessing:
        """Return how whole images become pixels of side ``size``.

        Raises:
            ValueError: ``resize`` is below ``size``.
        """
        kind = SquashedPreprocessing if self.crop == "none" else Preprocessing
        scale = 255 / self.range
        return kind(
            input_size=size,
            resize_size=size if self.crop == "none" else self.resize or size,
            mean=tuple(scale * value for value in self.mean),
            std=tuple(scale * value for value in self.std),
        )


class SquashedPreprocessing(Preprocessing):
    """Resize without regard to the aspect ratio, instead of a centre crop."""

    def pixels(self, image: PIL.Image.Image) -> np.ndarray:
        """Return uint8 [input_size, input_size, 3], RGB."""
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        return np.array(resize_exactly(rgb, (self.input_size, self.input_size)))


def read_description(model: Path) -> ModelDescription:
    """Read ``MODEL.yaml``, ``MODEL.yml`` or ``MODEL.json`` beside ``MODEL``, e.g. ``teacher.onnx.yaml``.

    Raises:
        Failure: none of them exists, or one is not readable or says something that cannot be.
    """
    import yaml

    found = [path for suffix in _SUFFIXES if (path := model.with_name(model.name + suffix)).is_file()]
    if not found:
        raise Failure(
            f"{model}: nothing says how its pixels are scaled: {model.name}.yaml is not beside it",
            f"write it, {_EXAMPLE}",
        )
    path = found[0]
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", "check its permissions") from None
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise Failure(f"{path}: not YAML: {' '.join(str(error).split())}", _EXAMPLE) from None
    if not isinstance(content, dict):
        raise Failure(f"{path}: not a list of 'name: value' lines", _EXAMPLE)
    try:
        return ModelDescription.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "as a whole"
        raise Failure(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}", _EXAMPLE) from None
