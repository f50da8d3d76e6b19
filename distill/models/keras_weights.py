"""Read Keras' MobileNet .h5 weights with h5py alone.

Supported layouts, with or without the classifier (``conv_preds``), which is ignored:

- legacy weights (``conv1/conv1/kernel:0``: the files of keras-applications),
- legacy whole models (the same below ``model_weights``), nested models included,
- Keras 3 ``.weights.h5`` (``layers/conv2d_3/vars/0``, numbered by class).

Only arrays are read. ``model_config`` and everything else that describes code is ignored, and
links or data outside the file are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from distill.console import Failure, note
from distill.files import require_file

if TYPE_CHECKING:
    from distill.models.mobilenet_v1 import MobileNetV1

__all__ = ["download_imagenet", "keras_state_dict"]

URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/mobilenet_{}_224_tf_no_top.h5"
URL_ALPHAS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}
NAMED = re.compile(r"^(conv1|conv_dw_\d+|conv_pw_\d+)(_bn)?$")
NUMBERED = re.compile(r"^(conv2d|depthwise_conv2d|batch_normalization)(?:_(\d+))?$")
BN_VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")
# Keras' names to PyTorch's.
BN_NAMES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
# Exceptions that h5py raises for damaged files, found by changing bytes at random.
DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError)


def download_imagenet(alpha: float) -> Path:
    """Download the ImageNet weights of keras-applications, once, into the cache of ``torch.hub``.

    Args:
        alpha: Width multiplier: 0.25, 0.5, 0.75 or 1.

    Raises:
        Failure: the file cannot be downloaded.
    """
    url = URL.format(URL_ALPHAS[alpha])
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not path.exists():
        note(f"downloading {url}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except OSError as error:
            raise Failure(
                f"{url}: cannot be downloaded: {error}", "get the file elsewhere and give --weights FILE.h5"
            ) from None
    return path


def keras_state_dict(path: str | Path, model: MobileNetV1) -> dict[str, Tensor]:
    """Return the state dict of ``model`` with the convolutions and batch norms of the file, float32.

    Kernels change layout: [kh, kw, in, out] to [out, in, kh, kw], depthwise [kh, kw, C, 1] to
    [C, 1, kh, kw].

    Args:
        path: The .h5 file.
        model: Network to be filled; only its names and shapes are read.

    Raises:
        Failure: missing, truncated or foreign file, another width multiplier, or weights that are
            not finite.
    """
    path = Path(path)
    names = {id(module): name for name, module in model.named_modules()}
    state = {}
    with _Arrays(path) as arrays:
        for layer in model.layers():
            out, per_group, height, width = layer.conv.weight.shape
            if layer.kind == "depthwise":
                kernel = arrays.take(layer.name, ("depthwise_kernel", "kernel"), (height, width, out, 1))
                order = (2, 3, 0, 1)
            else:
                kernel = arrays.take(layer.name, ("kernel",), (height, width, per_group, out))
                order = (3, 2, 0, 1)
            state[f"{names[id(layer.conv)]}.weight"] = _tensor(kernel.transpose(order))
            bn = names[id(layer.bn)]
            for variable, ours in BN_NAMES.items():
                state[f"{bn}.{ours}"] = _tensor(arrays.take(f"{layer.name}_bn", (variable,), (out,)))
            if (state[f"{bn}.running_var"] < 0).any():
                raise Failure(
                    f"{path}: layer {layer.name}_bn has a negative variance", "the file is damaged: get it again"
                )
            state[f"{bn}.num_batches_tracked"] = torch.tensor(0)
    return state


class _Arrays:
    """The arrays of a Keras file by (layer, variable), for every layout."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Arrays:
        import h5py

        require_file(self.path, "check --weights")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError:
            raise Failure(
                f"{self.path}: not a readable HDF5 file, or a truncated one", "get the .h5 file again"
            ) from None
        try:
            self._datasets = dict(_find(self._file))
        except DAMAGE as error:
            self._file.close()
            raise self._damaged(error) from None
        if not self.has("conv1"):
            self._file.close()
            raise Failure(
                f"{self.path}: holds no MobileNet layers (conv1, conv_dw_1, ...)",
                "give a weights file of keras.applications.MobileNet",
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def has(self, layer: str) -> bool:
        return any(name == layer for name, _ in self._datasets)

    def take(self, layer: str, variables: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
        """Read one array. Its shape is checked first, so a file cannot claim more memory than the network needs."""
        dataset = next((self._datasets[layer, v] for v in variables if (layer, v) in self._datasets), None)
        if dataset is None:
            raise Failure(
                f"{self.path}: layer {layer} has no {variables[0]}",
                "give a weights file of keras.applications.MobileNet",
            )
        try:
            found = dataset.shape or ()
            plain = not dataset.external and not dataset.is_virtual and dataset.dtype.kind == "f"
        except DAMAGE as error:
            raise self._damaged(error) from None
        if found != shape:
            raise Failure(
                f"{self.path}: {layer}/{variables[0]} has shape {list(found)}, the network needs {list(shape)}",
                "is the width (alpha) right? mobilenet_v1_025 needs weights with alpha 0.25, and so on",
            )
        if not plain:
            raise Failure(
                f"{self.path}: {layer}/{variables[0]} is not a plain array of floats", "get the .h5 file again"
            )
        try:
            array = dataset[()].astype(np.float32)
        except DAMAGE as error:
            raise self._damaged(error) from None
        if not np.isfinite(array).all():
            raise Failure(f"{self.path}: {layer}/{variables[0]} has NaN or infinite values", "get the .h5 file again")
        return array

    def _damaged(self, error: Exception) -> Failure:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Failure(f"{self.path}: damaged HDF5 file: {reason}", "get the .h5 file again")


def _find(file: Any) -> Iterator[tuple[tuple[str, str], Any]]:
    import h5py

    found: list[tuple[str | bytes, Any]] = []
    # visititems follows hard links only, so no link leads out of the file.
    file.visititems(lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None)
    for name, dataset in found:
        if isinstance(name, bytes):  # not UTF-8, so none of Keras' names
            continue
        parts = name.split("/")
        if len(parts) >= 3 and parts[-2] == "vars" and parts[-1].isdigit():
            key = _numbered(parts[-3], int(parts[-1]))
            if key:
                yield key, dataset
            continue
        layer = next((part for part in reversed(parts[:-1]) if NAMED.match(part)), None)
        if layer:
            yield (layer, parts[-1].split(":")[0]), dataset


def _numbered(group: str, index: int) -> tuple[str, str] | None:
    """Translate Keras 3 numbers: layers count per class in network order, variables in order of creation."""
    if NAMED.match(group):
        layer = group
    elif match := NUMBERED.match(group):
        kind, number = match[1], int(match[2] or 0)
        if kind == "depthwise_conv2d":
            layer = f"conv_dw_{number + 1}"
        elif kind == "conv2d":
            layer = "conv1" if number == 0 else f"conv_pw_{number}"
        elif number == 0:
            layer = "conv1_bn"
        else:
            layer = f"conv_{'dw' if number % 2 else 'pw'}_{(number + 1) // 2}_bn"
    else:
        return None
    variables = BN_VARIABLES if layer.endswith("_bn") else ("kernel",)
    return (layer, variables[index]) if index < len(variables) else None


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
