"""A TFLite file as a teacher, run by ai-edge-litert on the CPU."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from distill.console import Failure
from distill.console.errors import first_line
from distill.files import require_file, sha256_file
from distill.training.teachers.description import read_description
from distill.training.teachers.file_model import FileModel, FileTeacher
from distill.training.teachers.kind import TeacherContext, TeacherKind

__all__ = ["TFLITE", "TfliteModel"]

_INPUTS = (np.float32, np.float16, np.uint8, np.int8)


class TfliteModel(FileModel):
    """A TFLite file. Every thread has an interpreter of its own, since one runs one batch at a time."""

    def __init__(self, path: Path) -> None:
        require_file(path, "check the path of --teacher")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise Failure(
                f"{path}: TFLite needs ai-edge-litert, which is not installed", "pip install ai-edge-litert"
            ) from None
        self._interpreter_type = Interpreter
        self._local = threading.local()
        self.path = path
        self.sha256 = sha256_file(path)
        self._content = path.read_bytes()
        try:
            interpreter = self._interpreter()
            inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        except Exception as error:  # the interpreter raises all kinds of types on a bad file
            reason = first_line(error)
            raise Failure(f"{path}: not a usable TFLite file: {reason}", "export it again") from None
        if len(inputs) != 1 or inputs[0]["dtype"] not in _INPUTS:
            held = ", ".join(f"{each['name']} {np.dtype(each['dtype'])}" for each in inputs[:6]) or "none"
            raise Failure(
                f"{path}: its inputs are {held}, expected one image of numbers", "export the image encoder alone"
            )
        # An axis of −1 in the signature is open; the interpreter itself says 1.
        signature = inputs[0].get("shape_signature", inputs[0]["shape"])
        self.input_shape = tuple(
            int(side) if int(signed) > 0 or place == 0 else None
            for place, (side, signed) in enumerate(zip(inputs[0]["shape"], signature, strict=True))
        )
        self.dtype = np.dtype(inputs[0]["dtype"])
        self._scales = {each["name"]: each["quantization"] for each in outputs}
        scale, zero_point = inputs[0]["quantization"]
        self.quantization = (float(scale) or 1.0, int(zero_point))
        self._places = {each["name"]: each["index"] for each in outputs}
        self._input = inputs[0]["index"]
        self.outputs = [(each["name"], tuple(map(int, each["shape"]))) for each in outputs]

    def run(self, values: np.ndarray, output: str) -> np.ndarray:
        interpreter = self._interpreter()
        try:
            interpreter.set_tensor(self._input, values)
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            reason = first_line(error)
            raise Failure(
                f"{self.path}: the interpreter fails on {list(values.shape)}: {reason}",
                "check 'size' and 'layout' in its description",
            ) from None
        rows = np.asarray(interpreter.get_tensor(self._places[output]), np.float32)
        scale, zero_point = self._scales[output]
        return (rows - np.float32(zero_point)) * np.float32(scale) if scale else rows

    def _interpreter(self) -> Any:
        found = getattr(self._local, "interpreter", None)
        if found is None:
            found = self._interpreter_type(model_content=self._content, num_threads=1)
            found.allocate_tensors()
            self._local.interpreter = found
        return found


def _open(path: Path, context: TeacherContext) -> FileTeacher:
    require_file(path, "check the path of --teacher")
    description = read_description(path)
    return FileTeacher(TfliteModel(path), description, context)


TFLITE = TeacherKind(
    help="a .tflite file with its .tflite.yaml", claims=lambda path: path.suffix.lower() == ".tflite", open=_open
)
