"""Read pretrained weights from a file and match them to a network by name and shape."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill.console import Failure, UsageFailure
from distill.console.errors import first_line
from distill.files import require_file, sha256_file

__all__ = ["load_matching", "read_matching", "read_state_dict", "weights_record"]

# Keys under which training programs save the weights.
NESTS = ("state_dict", "model_state_dict", "model", "net", "module")
# Prefixes that wrappers (DataParallel, torch.compile, Lightning, our own Embedder) add to the names.
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "encoder.")
# Usual names of the last layer, which an embedding does not need.
CLASSIFIERS = ("fc", "_fc", "classifier", "head", "head_dist", "last_linear", "linear")
SHOWN = 4


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors``, ``.pth`` or ``.pt`` file, on the CPU.

    PyTorch files are read with ``weights_only=True``: no code in them runs.

    Raises:
        Failure: missing, truncated or hostile file, or one without tensors.
        UsageFailure: unknown kind of file.
    """
    path = Path(path)
    require_file(path, "check --weights")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise Failure(f"{path}: not a whole safetensors file: {first_line(error)}", "get the file again") from None
    if suffix not in (".pth", ".pt"):
        raise UsageFailure(
            f"{path}: unknown kind of weights file '{suffix}'",
            "give .safetensors, .pth or .pt; Keras' .h5 is for mobilenet_v1_* only",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd pickle protocols: real problems are raised
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise Failure(
            f"{path}: holds more than tensors, or is damaged: {first_line(error)}",
            "save only the state_dict(): nothing else is loaded from a .pth, for safety",
        ) from None
    except Exception as error:  # damaged files also raise IndexError, AssertionError, struct.error and more
        raise Failure(f"{path}: not a whole PyTorch file: {first_line(error)}", "get the file again") from None
    return _tensors(content, path)


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
        if tensors:
            return tensors
        content = next((content[nest] for nest in NESTS if isinstance(content.get(nest), Mapping)), None)
    raise Failure(f"{path}: holds no named tensors", "save the model's state_dict() in it")


def read_matching(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """Read the tensors of a weights file under the names of ``network``, prefixes of wrappers removed.

    Raises:
        Failure, UsageFailure: as :func:`read_state_dict`.
    """
    return _strip_prefixes(read_state_dict(path), network.state_dict())


def weights_record(path: Path, layout: str = "own names") -> dict[str, str]:
    """The origin of weights, as checkpoints record it.

    Args:
        path: File that they were read from.
        layout: Package whose names the file uses.
    """
    return {"source": path.name, "sha256": sha256_file(path), "layout": layout}


def _strip_prefixes(state: Mapping[str, Tensor], known: Collection[str]) -> dict[str, Tensor]:
    """Remove prefixes that all names except those of the classifier share and ``known`` lacks."""
    state = dict(state)
    stripped = True
    while stripped:
        stripped = False
        for prefix in PREFIXES:
            body = [key for key in state if not _is_classifier(key)]
            if body and all(key.startswith(prefix) for key in body) and not any(k.startswith(prefix) for k in known):
                state = {key.removeprefix(prefix): value for key, value in state.items()}
                stripped = True
    return state


def load_matching(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load ``state`` into ``network``. Every name and shape has to fit; the classifier is ignored.

    Args:
        network: Changed in place.
        state: Names to tensors; ``num_batches_tracked`` may be absent.
        where: File name for the message.

    Raises:
        Failure: names are missing or unknown, shapes or kinds differ, or values are not finite.
    """
    wanted = network.state_dict()
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    missing = [key for key in wanted if key not in state and key not in counters]
    unexpected = [
        key
        for key in state
        if key not in wanted and not _is_classifier(key) and not key.endswith("num_batches_tracked")
    ]
    cure = "is --arch the architecture of these weights?"
    if missing or unexpected:
        parts = [f"lacks {_first(missing)}"] if missing else []
        parts += [f"has unknown {_first(unexpected)}"] if unexpected else []
        raise Failure(f"{where}: does not fit the network: {'; '.join(parts)}", cure)
    shapes = [
        f"{key} {list(state[key].shape)} instead of {list(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    if shapes:
        raise Failure(f"{where}: does not fit the network: {_first(shapes)}", cure)
    strange = [
        key
        for key, value in wanted.items()
        if key in state
        and (state[key].layout != torch.strided or state[key].is_floating_point() != value.is_floating_point())
    ]
    if strange:
        raise Failure(
            f"{where}: not dense tensors of the right type: {_first(strange)}", "save them unquantized, in float"
        )
    broken = [key for key in wanted if key in state and not torch.isfinite(state[key]).all()]
    if broken:
        raise Failure(f"{where}: NaN or infinite values in {_first(broken)}", "get the file again")
    network.load_state_dict({key: state.get(key, value) for key, value in wanted.items()})


def _is_classifier(key: str) -> bool:
    return key.split(".", 1)[0] in CLASSIFIERS


def _first(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
