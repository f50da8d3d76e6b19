"""An ONNX file as a teacher, run by onnxruntime on the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from distill.console import Failure
from distill.console.errors import first_line
from distill.files import require_file, sha256_file
from distill.training.teachers.description import read_description
from distill.training.teachers.file_model import FileModel, FileTeacher
from distill.training.teachers.kind import TeacherContext, TeacherKind

__all__ = ["ONNX", "OnnxModel"]

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_INPUTS = {**_TYPES, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
_LARGEST = 2**31  # bytes that protobuf can hold in one message


class OnnxModel(FileModel):
    """An ONNX file. Weights in files beside it are read only from its own folder.

    One thread for each run, since the caller runs several batches at once.
    """

    def __init__(self, path: Path) -> None:
        require_file(path, "check the path of --teacher")
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise Failure(
                f"{path}: ONNX needs {error.name}, which is not installed", f"pip install {error.name}"
            ) from None
        self.path = path
        try:
            content, self.sha256 = _content(path, onnx)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 4
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except (Failure, MemoryError):
            raise
        except Exception as error:  # onnx, protobuf and onnxruntime raise all kinds of types on a bad file
            raise Failure(f"{path}: not a usable ONNX file: {first_line(error)}", "export it again") from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _INPUTS:
            held = ", ".join(f"{each.name} {each.type}" for each in inputs[:6]) or "none"
            raise Failure(
                f"{path}: its inputs are {held}, expected one image of numbers", "export the image encoder alone"
            )
        self._input = inputs[0].name
        self.input_shape = _shape(inputs[0].shape)
        self.dtype = np.dtype(_INPUTS[inputs[0].type])
        self.outputs = [(o.name, _shape(o.shape)) for o in self._session.get_outputs() if o.type in _TYPES]

    def run(self, values: np.ndarray, output: str) -> np.ndarray:
        try:
            (rows,) = self._session.run([output], {self._input: values})
        except Exception as error:  # onnxruntime's own types
            raise Failure(
                f"{self.path}: onnxruntime fails on {list(values.shape)}: {first_line(error)}",
                "check 'size' and 'layout' in its description",
            ) from None
        return np.asarray(rows, np.float32)


def _content(path: Path, onnx: Any) -> tuple[bytes, str]:
    """Return the whole model with all weights, and the SHA-256 of its files together.

    From memory, since onnxruntime would look for weights of a model in memory in the current folder.

    Raises:
        Failure: weights are outside the model's folder, or missing, or the model has 2 GiB or more.
    """
    model = onnx.load(path, load_external_data=False)
    outside = {
        entry.value
        for tensor in _tensors(model)
        if onnx.external_data_helper.uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    if not outside:
        return path.read_bytes(), sha256_file(path)
    digest = hashlib.sha256(sha256_file(path).encode())
    folder = path.resolve().parent
    total = path.stat().st_size
    for name in sorted(outside):
        file = (folder / name).resolve()
        # A link could lead outside as well.
        if not file.is_relative_to(folder):
            raise Failure(f"{path}: its weights are outside its folder: {name}", "do not trust this file")
        require_file(file, f"copy it beside {path.name}")
        total += file.stat().st_size
        digest.update(sha256_file(file).encode())
    if total >= _LARGEST:
        raise Failure(
            f"{path}: {total / 1e9:.1f} GB of weights, at most 2.1 are read",
            "embed the images elsewhere and use --teacher-embeddings",
        )
    onnx.external_data_helper.load_external_data_for_model(model, str(folder))
    return model.SerializeToString(), digest.hexdigest()


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor of a model, wherever it is: initializers, attributes, subgraphs, functions."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for each in [value] if hasattr(value, "ListFields") else value:
            if field.message_type.name == "TensorProto":
                yield each
            else:
                yield from _tensors(each)


def _shape(shape: list[Any]) -> tuple[int | None, ...]:
    """Axes without a number (a name, nothing, or 0 and less) are open."""
    return tuple(side if isinstance(side, int) and side > 0 else None for side in shape)


def _open(path: Path, context: TeacherContext) -> FileTeacher:
    require_file(path, "check the path of --teacher")
    description = read_description(path)
    return FileTeacher(OnnxModel(path), description, context)


ONNX = TeacherKind(
    help="an .onnx file with its .onnx.yaml", claims=lambda path: path.suffix.lower() == ".onnx", open=_open
)
