"""The engines behind one face: ai-edge-litert for TFLite, onnxruntime for ONNX.

Standard library and NumPy only, and no type of the bundle's schema: this file also runs on devices
that have nothing but Python, NumPy and an engine (``benchmark/devices``). What the bundle says of a
tensor comes in as any object with its attributes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from distill.console.errors import Failure
from export.bundle.quiet import quiet_stderr

__all__ = ["ENGINES", "MAX_THREADS", "Border", "VariantRunner", "interpreter_for", "load_engine", "open_engine"]

# XNNPACK ends the process where it cannot start as many threads as it was told to.
MAX_THREADS = 256
_TINY = 1e-12  # a row of zeros stays a row of zeros


class Border(Protocol):
    """A tensor at the model's border, as ``InputSpec`` and ``OutputSpec`` describe it.

    An input also has ``layout``, ``hwc`` and ``dynamic_batch``.
    """

    shape: Any
    dtype: Any
    scale: Any
    zero_point: Any


def interpreter_for(content: bytes, threads: int = 1, delegates: bool = True) -> Any:
    """A TFLite interpreter over the file's content, with XNNPACK unless ``delegates`` is off.

    Raises:
        Failure: ai-edge-litert is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        raise Failure("ai-edge-litert is not installed", "pip install ai-edge-litert") from None
    options = {} if delegates else {"experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    with quiet_stderr():
        interpreter = Interpreter(model_content=content, num_threads=threads, **options)
        interpreter.allocate_tensors()
    return interpreter


class VariantRunner(ABC):
    """One loaded model. ``embed`` is for results; ``prepare``, ``invoke``, ``output`` for timing."""

    def __init__(self, spec: Any, output: Any, table: np.ndarray) -> None:
        self.input_spec = spec
        self.output_spec = output
        self._table = table
        self._grey = bool((self._table == self._table[:, :1]).all())
        offset = np.arange(256) - 128
        self._is_offset = spec.dtype == "int8" and bool((self._table == offset[:, None]).all())

    def tensor(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels as the model's input.

        Args:
            pixels: uint8 ``[N, H, W, 3]``, RGB, of the bundle's input size.

        Returns:
            The input's dtype and layout, ``[N, H, W, 3]`` or ``[N, 3, H, W]``, contiguous.

        Raises:
            Failure: another shape or dtype.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != tuple(self.input_spec.hwc):
            height, width, channels = self.input_spec.hwc
            raise Failure(
                f"pixels are {pixels.dtype} {pixels.shape}, the model takes uint8 [N, {height}, {width}, {channels}]",
                "preprocess the images with the bundle's own preprocessing",
            )
        if self._is_offset:  # flipping the top bit is subtracting 128, without a table
            values = (pixels ^ np.uint8(128)).view(np.int8)
        elif self._grey:
            values = np.take(self._table[:, 0], pixels)
        else:
            values = np.stack([np.take(self._table[:, c], pixels[..., c]) for c in range(3)], axis=-1)
        if self.input_spec.layout == "NCHW":
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values)

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Embeddings of any number of images.

        Args:
            pixels: uint8 ``[N, H, W, 3]``, RGB, preprocessed (resized and cropped).

        Returns:
            float32 ``[N, D]``, rows of unit length (renormalised on the host).
        """
        step = self.batch_size
        rows = [self._run(self.tensor(pixels[start : start + step])) for start in range(0, len(pixels), step)]
        if not rows:
            self.tensor(pixels)
            return np.zeros((0, self.output_spec.shape[1]), np.float32)
        return self._unit(np.concatenate(rows))

    def output(self) -> np.ndarray:
        """The embedding of the image last prepared and invoked: float32 ``[1, D]``, unit length."""
        return self._unit(self._raw_output())

    def _unit(self, raw: np.ndarray) -> np.ndarray:
        rows = raw.astype(np.float32)
        if self.output_spec.dtype != "float32":
            rows = (rows - np.float32(self.output_spec.zero_point)) * np.float32(self.output_spec.scale)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)

    batch_size = 1

    def prepare(self, pixels: np.ndarray) -> None:
        """Set the input to one image, uint8 ``[1, H, W, 3]``."""
        if len(pixels) != 1:
            raise Failure(f"prepare takes one image, not {len(pixels)}", "use embed for more")
        self._set_input(self.tensor(pixels))

    @abstractmethod
    def invoke(self) -> None:
        """Run the model on the prepared input: the part that a latency benchmark times."""

    @abstractmethod
    def _set_input(self, values: np.ndarray) -> None: ...

    @abstractmethod
    def _raw_output(self) -> np.ndarray: ...

    @abstractmethod
    def _run(self, values: np.ndarray) -> np.ndarray:
        """Raw output ``[n, D]`` for ``n <= batch_size`` inputs."""


class _TfliteRunner(VariantRunner):
    """ai-edge-litert with its default delegate, XNNPACK, or with none."""

    def __init__(
        self, path: Path, spec: Any, output: Any, table: np.ndarray, threads: int, delegate: str = "xnnpack"
    ) -> None:
        super().__init__(spec, output, table)
        if delegate not in _TFLITE_DELEGATES:
            raise Failure(f"ai-edge-litert has no delegate '{delegate}'", f"it has {' and '.join(_TFLITE_DELEGATES)}")
        # From memory: a file that is replaced while it is mapped would crash the process.
        self._interpreter = interpreter_for(path.read_bytes(), threads, delegates=delegate != "none")
        details = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        _agree(path, [(d["shape"], d["dtype"], d["quantization"]) for side in details for d in side], spec, output)
        self._input, self._output = details[0][0]["index"], details[1][0]["index"]
        self.invoke = self._interpreter.invoke  # one Python call less in what is timed

    def invoke(self) -> None:  # pragma: no cover - shadowed in __init__
        self._interpreter.invoke()

    def _set_input(self, values: np.ndarray) -> None:
        self._interpreter.set_tensor(self._input, values)

    def _raw_output(self) -> np.ndarray:
        return self._interpreter.get_tensor(self._output)

    def _run(self, values: np.ndarray) -> np.ndarray:
        self._set_input(values)
        self._interpreter.invoke()
        return self._raw_output()


class _OnnxRunner(VariantRunner):
    """onnxruntime on the CPU: ``threads`` within an operator, operators one after another."""

    def __init__(self, path: Path, spec: Any, output: Any, table: np.ndarray, threads: int) -> None:
        super().__init__(spec, output, table)
        try:
            import onnxruntime
        except ImportError:
            raise Failure("onnxruntime is not installed", "pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        facts = [(_shape(t.shape), _ORT_TYPES.get(t.type, t.type), (0.0, 0)) for t in (*inputs, *outputs)]
        _agree(path, facts, spec, output)
        if spec.dynamic_batch:
            self.batch_size = 16
        self._input, self._outputs = inputs[0].name, [outputs[0].name]
        self._feed: dict[str, np.ndarray] = {}
        self._result: list[np.ndarray] = []

    def invoke(self) -> None:
        self._result = self._session.run(self._outputs, self._feed)

    def _set_input(self, values: np.ndarray) -> None:
        self._feed = {self._input: values}

    def _raw_output(self) -> np.ndarray:
        return self._result[0]

    def _run(self, values: np.ndarray) -> np.ndarray:
        return self._session.run(self._outputs, {self._input: values})[0]


class _ExecutorchRunner(VariantRunner):
    """ExecuTorch's Python runtime with XNNPACK. It takes its threads from the process: one, or what it likes."""

    def __init__(self, path: Path, spec: Any, output: Any, table: np.ndarray, threads: int) -> None:
        super().__init__(spec, output, table)
        try:
            import torch
            from executorch.runtime import Runtime
        except ImportError:
            raise Failure("executorch is not installed", "pip install 'distill-to-phone[executorch]'") from None
        self._from_numpy = torch.from_numpy
        with quiet_stderr():
            self._program = Runtime.get().load_program(path.read_bytes())  # keeps the method alive
            self._method = self._program.load_method("forward")
        meta = self._method.metadata
        tensors = meta.input_tensor_meta(0), meta.output_tensor_meta(0)
        _agree(path, [(t.sizes(), _TORCH_TYPES.get(t.dtype(), "O"), (0.0, 0)) for t in tensors], spec, output)
        self._feed: list[Any] = []
        self._result: Any = None

    def invoke(self) -> None:
        self._result = self._method.execute(self._feed)

    def _set_input(self, values: np.ndarray) -> None:
        self._feed = [self._from_numpy(values)]

    def _raw_output(self) -> np.ndarray:
        return self._result[0].numpy()

    def _run(self, values: np.ndarray) -> np.ndarray:
        return self._method.execute([self._from_numpy(values)])[0].numpy().copy()


_TFLITE_DELEGATES = ("xnnpack", "none")
_TORCH_TYPES = {6: np.float32}  # ExecuTorch's ScalarType.Float
_ORT_TYPES = {"tensor(float)": np.float32, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8}
ENGINES: dict[str, Any] = {"tflite": _TfliteRunner, "onnx": _OnnxRunner, "executorch": _ExecutorchRunner}


_MODULES = {"tflite": "ai_edge_litert.interpreter", "onnx": "onnxruntime"}


def load_engine(format_name: str) -> None:
    """Import what runs this format, so that the first model does not pay for it.

    Raises:
        ImportError: it is not installed.
    """
    if format_name in _MODULES:
        import_module(_MODULES[format_name])


def open_engine(
    path: Path, format_name: str, spec: Any, output: Any, table: np.ndarray, threads: int = 1, delegate: str = "xnnpack"
) -> VariantRunner:
    """Load a model file, ready to run.

    Args:
        spec, output: the tensors at the border, see :class:`Border`.
        table: what each pixel value becomes in each channel, ``[256, 3]`` of the input's dtype.
        delegate: what computes a TFLite file in place of the plain kernels, ``none``: nothing does. Other formats have
            none to choose from.

    Raises:
        Failure: no engine for the format, the engine has no such delegate or refuses the file, or the file's own
            shapes, types or scales are not those of ``spec`` and ``output``.
    """
    engine = ENGINES.get(format_name)
    if engine is None:
        raise Failure(f"{path}: no engine here runs '{format_name}'", f"known: {', '.join(ENGINES)}")
    if not 1 <= threads <= MAX_THREADS:
        raise Failure(f"{threads} threads", f"take 1 to {MAX_THREADS}")
    try:
        if format_name == "tflite":
            return engine(path, spec, output, table, threads, delegate)
        return engine(path, spec, output, table, threads)
    except (Failure, OSError, MemoryError):
        raise
    except Exception as error:  # the engines raise all kinds of types on a bad file
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Failure(f"{path}: the engine refuses it: {first}", "export it again") from error


def _shape(shape: list[int | str | None]) -> list[int]:
    return [side if isinstance(side, int) else 1 for side in shape]  # a named axis is the batch


def _agree(path: Path, facts: list[tuple[object, object, tuple[float, int]]], spec: Border, output: Border) -> None:
    """The file itself must be what the description says: it may be another one of the same name."""
    wanted = [
        (list(part.shape), np.dtype(part.dtype), (part.scale or 0.0, part.zero_point or 0)) for part in (spec, output)
    ]
    found = [
        (list(map(int, shape)), np.dtype(dtype), (float(q[0]), int(q[1])))  # type: ignore[arg-type,call-overload]
        for shape, dtype, q in facts
    ]
    same = len(found) == 2 and all(
        a[:2] == b[:2] and a[2][1] == b[2][1] and np.isclose(a[2][0], b[2][0], rtol=1e-6, atol=0)
        for a, b in zip(wanted, found)
    )
    if not same:
        raise Failure(f"{path}: its tensors are {found}, the bundle says {wanted}", "export it again")
