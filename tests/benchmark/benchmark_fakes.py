"""A small data set, a valid bundle with dummy model files, and runners that replace engines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import PIL.Image

VARIANTS = ("tflite-float32", "tflite-int8", "onnx-float32")
SIDE = 16


def make_photos(
    root: Path, classes: int = 8, per_class: int = 5, seed: int = 0, names: list[str] | None = None
) -> Path:
    """Make a folder of noisy images, one pattern per class, which averages over patches retrieve."""
    random = np.random.default_rng(seed)
    for number in range(classes):
        name = names[number] if names else f"class{number:02d}"
        (root / name).mkdir(parents=True)
        pattern = random.integers(40, 216, size=(4, 4, 3))
        for index in range(per_class):
            pixels = np.kron(pattern, np.ones((6, 6, 1))) + random.normal(0, 40, size=(24, 24, 3))
            PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{index}.png")
    return root


def _file(folder: Path, name: str, content: bytes) -> dict:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"file": name, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def make_bundle(
    folder: Path,
    data: str = "folder:photos",
    variants: tuple[str, ...] = VARIANTS,
    dim: int = 48,
    models: dict[str, bytes] | None = None,
) -> Path:
    """Make a bundle that loads; its model files hold only text, for fake runners.

    Args:
        models: By format, one real model file (see tiny_models) for all its variants.
    """
    folder.mkdir(parents=True)
    golden = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    unit = np.eye(2, dim, dtype="<f4")
    sizes = {"float32": 4000, "float16": 2000, "int8": 1100}
    shape = {"name": "x", "shape": [1, SIDE, SIDE, 3], "layout": "NHWC", "dtype": "float32"}
    shapes = {"tflite": shape, "onnx": shape | {"shape": [1, 3, SIDE, SIDE], "layout": "NCHW"} if models else shape}
    manifest = {
        "schema_version": 1,
        "name": "toy",
        "preprocessing": {
            "input_size": SIDE,
            "resize_size": SIDE,
            "resize_rule": "pillow_bilinear",
            "crop": "center",
            "colour_order": "RGB",
            "mean": [128.0] * 3,
            "std": [128.0] * 3,
        },
        "embedding_size": dim,
        "normalisation": "l2",
        "variants": [
            _file(
                folder,
                f"{name}.bin",
                models[name.split("-")[0]] if models else name.encode() * sizes[name.split("-")[1]],
            )
            | {
                "name": name,
                "format": name.split("-")[0],
                "scheme": {"weights": name.split("-")[1], "activations": "float32"},
                "input": shapes[name.split("-")[0]],
                "output": {"name": "y", "shape": [1, dim], "dtype": "float32", "unit_norm": True, "renormalise": True},
            }
            for name in variants
        ],
        "golden": {
            "count": 2,
            "keys": ["a", "b"],
            "pixels": _file(folder, "golden/pixels.raw", golden.tobytes()),
            "expected": {
                name: _file(folder, f"golden/{name}.raw", unit.tobytes()) | {"min_cosine": 0.99}
                for name in (*variants, "pytorch")
            },
        },
        "provenance": {
            "created": "2026-01-01T00:00:00+00:00",
            "tool": "test",
            "source": {
                "id": "0" * 64,
                "sha256": "0" * 64,
                "kind": "student",
                "arch": "toy",
                "data": {"spec": data, "split": "half"},
                "training": {"loss": float("nan")},
            },
        },
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


class ToyRunner:
    """Embeds by averages over 4 x 4 patches; ``noise`` spoils the embedding, like a bad quantization."""

    def __init__(self, noise: float = 0.0, seed: int = 0) -> None:
        self.noise = noise
        self._random = np.random.default_rng(seed)
        self._input: np.ndarray | None = None

    def prepare(self, pixels: np.ndarray) -> None:
        assert pixels.shape == (1, SIDE, SIDE, 3) and pixels.dtype == np.uint8
        self._input = pixels

    def invoke(self) -> None:
        assert self._input is not None
        self.embed(self._input)

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        patches = pixels.reshape(len(pixels), 4, SIDE // 4, 4, SIDE // 4, 3).mean(axis=(2, 4))
        rows = patches.reshape(len(pixels), -1) / 128 - 1
        rows = rows + self.noise * self._random.normal(size=rows.shape)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class FakeClock:
    """A clock in nanoseconds that advances only when something is run."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class TimedRunner:
    """Takes the given times on a fake clock, and logs its calls."""

    def __init__(self, clock: FakeClock, milliseconds, log: list[str] | None = None, name: str = "") -> None:
        self._clock = clock
        self._next = milliseconds if callable(milliseconds) else (lambda: milliseconds)
        self._log = log if log is not None else []
        self._name = name

    def prepare(self, pixels: np.ndarray) -> None:
        self._log.append(f"prepare {self._name}")
        self._clock.now += 1_000_000

    def invoke(self) -> None:
        self._log.append(f"invoke {self._name}")
        self._clock.now += int(self._next() * 1e6)


def replace_engines(monkeypatch) -> dict[str, ToyRunner]:
    """Make the host run toys; return them by variant, to be replaced (an exception is raised on opening)."""
    runners = {name: ToyRunner() for name in VARIANTS}

    def opened(bundle, name, threads=1, delegate="xnnpack"):
        if isinstance(runners[name], Exception):
            raise runners[name]
        return runners[name]

    monkeypatch.setattr("benchmark.devices.host.open_variant", opened)
    # The toys live in this process; no engine in another one can load their files, which are text.
    monkeypatch.setattr("benchmark.devices.host.Host.peak_memory", lambda self, bundle, variants: {})
    return runners


def replace_torch(monkeypatch, preprocessing: dict | None = None, trained: list[str] | None = None) -> None:
    """Replace ``TorchModel`` by a toy that embeds like ToyRunner, without torch or a checkpoint."""
    from types import SimpleNamespace

    from distill.data.preprocess import Preprocessing

    own = Preprocessing(
        **{
            "input_size": SIDE,
            "resize_size": SIDE,
            "resize_rule": "pillow_bilinear",
            "crop": "center",
            "colour_order": "RGB",
            "mean": (128,) * 3,
            "std": (128,) * 3,
        }
        | (preprocessing or {})
    )

    class ToyModel(ToyRunner):
        def __init__(self, name: str, directory: Path) -> None:
            super().__init__()
            self.name, self.directory, self.preprocessing, self.parameters = name, directory, own, 250_000
            self.info = SimpleNamespace(
                arch="toy",
                kind="student",
                embedding_size=48,
                data={"classes": trained},
                id=name,
                space="teacher" if name == "PyTorch" else None,
                training={},
            )
            self.rows: list[np.ndarray] = []

        @staticmethod
        def check(directory: Path) -> None:
            pass

        def add(self, pixels: np.ndarray) -> None:
            self.rows.append(self.embed(pixels))

        def embeddings(self) -> np.ndarray:
            return np.concatenate(self.rows)

        def set_threads(self, threads: int) -> None:
            pass

    monkeypatch.setattr("benchmark.run.TorchModel", ToyModel)
    monkeypatch.setattr("benchmark.pairs.TorchModel", ToyModel)
    monkeypatch.setattr("benchmark.pytorch.TorchModel", ToyModel)
