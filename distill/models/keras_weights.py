"""Keras' MobileNet .h5 weights, read with h5py alone.

Layouts understood, with or without the classifier (``conv_preds``):

- legacy weights (``conv1/conv1/kernel:0``: the files of keras-applications),
- legacy whole models (the same below ``model_weights``), nested models included,
- Keras 3 ``.weights.h5`` (``layers/conv2d_3/vars/0``, numbered by class).

Only arrays are read. ``model_config`` and everything else that describes code is left alone, and
links or data that lead out of the file are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distill.console import Failure
from distill.files import require_file
from distill.models.mobilenet_v1 import MobileNetV1

__all__ = ["keras_classifier", "keras_state_dict"]

NAMED = re.compile(r"^(conv1|conv_dw_\d+|conv_pw_\d+)(_bn)?$|^conv_preds$")
NUMBERED = re.compile(r"^(conv2d|depthwise_conv2d|batch_normalization)(?:_(\d+))?$")
BN_VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")
# Keras' name to PyTorch's.
BN_NAMES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
LAST_BLOCK = 13
# What h5py raises on damaged files, found by changing bytes at random.
DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError)


def keras_state_dict(path: str | Path, model: MobileNetV1) -> dict[str, Tensor]:
    """The state dict of ``model`` with the file's convolutions and batch norms, float32.

    Kernels change layout: [kh, kw, in, out] to [out, in, kh, kw], depthwise [kh, kw, C, 1] to
    [C, 1, kh, kw].

    Args:
        path: the .h5 file.
        model: network to be filled; it is read for names and shapes only.

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


def keras_classifier(path: str | Path, feature_size: int) -> tuple[Tensor, Tensor] | None:
    """Weight [classes, feature_size] and bias [classes] of ``conv_preds``; ``None`` in a no-top file.

    For checks against Keras' predictions: ``logits = pooled @ weight.T + bias``.
    """
    with _Arrays(Path(path)) as arrays:
        if not arrays.has("conv_preds"):
            return None
        classes = arrays.shape("conv_preds", "kernel")[-1]
        kernel = arrays.take("conv_preds", ("kernel",), (1, 1, feature_size, classes))
        bias = arrays.take("conv_preds", ("bias",), (classes,))
        return _tensor(kernel[0, 0].T), _tensor(bias)


class _Arrays:
    """The arrays of a Keras file by (layer, variable), whatever the layout."""

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

    def shape(self, layer: str, variable: str) -> tuple[int, ...]:
        dataset = self._datasets.get((layer, variable))
        try:
            return dataset.shape if dataset is not None and dataset.shape else (0,)
        except DAMAGE as error:
            raise self._damaged(error) from None

    def take(self, layer: str, variables: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
        """Read one array. Its shape is compared before anything is read, so a file cannot ask for
        more memory than the network itself needs."""
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


def _find(file: object) -> Iterator[tuple[tuple[str, str], object]]:
    import h5py

    found = []
    # visititems goes along hard links only: no link out of the file is followed.
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
    """Keras 3 numbers layers by class in the order of the network, variables by creation."""
    if NAMED.match(group):
        layer = group
    elif match := NUMBERED.match(group):
        kind, number = match[1], int(match[2] or 0)
        if kind == "depthwise_conv2d":
            layer = f"conv_dw_{number + 1}"
        elif kind == "conv2d":
            layer = "conv1" if number == 0 else f"conv_pw_{number}" if number <= LAST_BLOCK else "conv_preds"
        elif number == 0:
            layer = "conv1_bn"
        else:
            layer = f"conv_{'dw' if number % 2 else 'pw'}_{(number + 1) // 2}_bn"
    else:
        return None
    variables = BN_VARIABLES if layer.endswith("_bn") else ("kernel", "bias")
    return (layer, variables[index]) if index < len(variables) else None


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
