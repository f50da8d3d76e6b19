"""A model file from elsewhere as a teacher: what ONNX and TFLite share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from distill.console import Failure
from distill.training.teacher import ForeignInfo, PixelTeacher
from distill.training.teachers.description import ModelDescription
from distill.training.teachers.kind import TeacherContext, teacher_id

__all__ = ["FileModel", "FileTeacher"]

Shape = tuple[int | None, ...]


class FileModel(ABC):
    """A loaded model file with one image input.

    Attributes:
        path: the file.
        sha256: of all its files together.
        input_shape: four axes; None where the file leaves an axis open.
        dtype: of the input.
        quantization: scale and zero point of an integer input.
        outputs: names and shapes of the outputs of real numbers.
    """

    path: Path
    sha256: str
    input_shape: Shape
    dtype: np.dtype
    quantization: tuple[float, int] = (1.0, 0)
    outputs: list[tuple[str, Shape]]

    @abstractmethod
    def run(self, values: np.ndarray, output: str) -> np.ndarray:
        """Return one output, float32, for a batch of the input's shape and type. Safe to call from several threads."""


class FileTeacher(PixelTeacher):
    """An ONNX or TFLite file whose pixels are prepared as its description says.

    Args:
        model: the loaded file.
        description: how its pixels are prepared, and which output is the embedding.
        context: device of the results, and whether crops are mirrored.

    Raises:
        Failure: the file does not take square RGB images, its layout or size is open and not described, it has no
            or several outputs that may be the embedding, or it does not run.
    """

    def __init__(self, model: FileModel, description: ModelDescription, context: TeacherContext) -> None:
        self._model = model
        self._layout = _layout(model, description)
        self._output = _output(model, description)
        self._normalise = description.normalise
        self._bgr = description.channels == "BGR"
        size = _size(model, self._layout, description)
        try:
            self.preprocessing = description.preprocessing(size)
        except ValueError:
            raise Failure(
                f"{model.path}: 'resize: {description.resize}' is below the input's {size} pixels",
                "leave it out, or make it larger",
            ) from None
        self.resize_size = self.preprocessing.resize_size
        self.device = context.device
        self.mirror = context.mirror
        self.info = ForeignInfo("", 0)  # until the size is known
        width = self.features(torch.full((1, 3, size, size), 128, dtype=torch.uint8)).shape[1]
        used = description.model_dump(mode="json") | {
            "size": size,
            "resize": self.resize_size,
            "layout": self._layout,
            "output": self._output,
        }
        self.info = ForeignInfo(teacher_id(model.sha256, used), width)
        self._used = used

    def describe(self) -> dict[str, Any]:
        return {
            "path": str(self._model.path),
            "id": self.info.id,
            "sha256": self._model.sha256,
            "preprocessing": self._used,
        }

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        mean, std = (
            np.array(part, np.float32).reshape(1, 3, 1, 1) for part in (self.preprocessing.mean, self.preprocessing.std)
        )
        with np.errstate(over="ignore", invalid="ignore"):  # reported below
            values = (pixels.cpu().numpy().astype(np.float32) - mean) / std
        if self._bgr:
            values = values[:, ::-1]
        if self._layout == "NHWC":
            values = values.transpose(0, 2, 3, 1)
        rows = self._run(np.ascontiguousarray(self._typed(values)))
        if not np.isfinite(rows).all():
            raise Failure(
                f"{self._model.path}: its embeddings are not finite", "check mean, std and range in its description"
            )
        found = torch.from_numpy(rows).to(self.device)
        return functional.normalize(found) if self._normalise else found

    def _typed(self, values: np.ndarray) -> np.ndarray:
        dtype = self._model.dtype
        if dtype.kind == "f":
            return values.astype(dtype)
        scale, zero_point = self._model.quantization
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(dtype)

    def _run(self, values: np.ndarray) -> np.ndarray:
        """Run any number of images, in batches of the file's size if that is fixed: float32 [N, D]."""
        step = self._model.input_shape[0] or len(values)
        parts = []
        for start in range(0, len(values), step):
            batch = values[start : start + step]
            fill = step - len(batch)
            if fill:
                batch = np.concatenate([batch, np.repeat(batch[-1:], fill, axis=0)])
            rows = self._model.run(batch, self._output)
            if len(rows) != step or rows.size // step < 2 or rows.size != step * max(rows.shape[1:], default=0):
                raise Failure(
                    f"{self._model.path}: output '{self._output}' is {list(rows.shape)} for {step} images, "
                    "expected [images, dimensions]",
                    "name the pooled embedding: 'output: NAME' in its description",
                )
            parts.append(rows.reshape(step, -1)[: step - fill])
        return np.concatenate(parts)


def _layout(model: FileModel, description: ModelDescription) -> str:
    shape = model.input_shape
    if len(shape) != 4:
        raise Failure(f"{model.path}: its input is {list(shape)}, expected images with four axes", "use another export")
    fits = [name for name, axis in (("NCHW", 1), ("NHWC", 3)) if shape[axis] in (3, None)]
    if description.layout:
        if description.layout not in fits:
            raise Failure(
                f"{model.path}: its input is {list(shape)}, which is not {description.layout} of 3 channels",
                "correct 'layout' in its description",
            )
        return description.layout
    sure = [name for name, axis in (("NCHW", 1), ("NHWC", 3)) if shape[axis] == 3]
    if len(sure) != 1:
        raise Failure(
            f"{model.path}: its input is {list(shape)}: the axis of the 3 colour channels is not clear",
            "add 'layout: NCHW' or 'layout: NHWC' to its description, or export it for RGB images",
        )
    return sure[0]


def _size(model: FileModel, layout: str, description: ModelDescription) -> int:
    height, width = model.input_shape[2:] if layout == "NCHW" else model.input_shape[1:3]
    fixed = {side for side in (height, width) if side is not None}
    if len(fixed) > 1:
        raise Failure(f"{model.path}: its input is {height} × {width} pixels", "only square inputs are supported")
    side = fixed.pop() if fixed else description.size
    if side is None:
        raise Failure(f"{model.path}: takes any size", "add 'size: PIXELS' to its description")
    if description.size not in (None, side):
        raise Failure(f"{model.path}: takes {side} pixels, its description says {description.size}", "correct 'size'")
    return side


def _output(model: FileModel, description: ModelDescription) -> str:
    names = [name for name, _ in model.outputs]
    held = ", ".join(f"{name} {list(shape)}" for name, shape in model.outputs[:6]) or "none of real numbers"
    if description.output is not None:
        if description.output not in names:
            raise Failure(f"{model.path}: no output '{description.output}'", f"it has {held}")
        return description.output
    flat = [
        name
        for name, shape in model.outputs
        if (len(shape) >= 2 and all(side == 1 for side in shape[2:])) or sum(side != 1 for side in shape[1:]) == 1
    ]
    if len(flat) != 1:
        raise Failure(
            f"{model.path}: {len(flat)} outputs can be the embedding: {held}",
            "add 'output: NAME' to its description; it has to be [images, dimensions]",
        )
    return flat[0]
