"""Save and load checkpoint folders: ``model.safetensors`` and ``model.json``."""

from __future__ import annotations

from pathlib import Path

import torch

from distill.console import Failure, UsageFailure
from distill.files import atomic_path, sha256_file, write_json
from distill.models.embedder import Embedder
from distill.models.info import INFO_FILE, WEIGHTS_FILE, CheckpointInfo, read_info, verify_weights
from distill.models.registry import build_backbone
from distill.models.weights_file import load_matching, read_state_dict

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(folder: str | Path, model: Embedder, info: CheckpointInfo) -> CheckpointInfo:
    """Write a checkpoint folder, replacing an older checkpoint there.

    The weights are written first, then ``model.json`` with their hash. If the process dies between the two,
    ``load_checkpoint`` refuses the pair.

    Args:
        folder: Created if missing; other files in it stay.
        model: Its weights are saved as float32, contiguous.
        info: ``arch``, ``embedding_size``, ``weights``, ``head_norm`` and ``weights_sha256`` are taken from the model.

    Returns:
        ``info`` as written, including the hash from which ``.id`` is derived.

    Raises:
        Failure, OSError: it cannot be written, e.g. the disk is full; an older checkpoint stays.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = Path(folder)
    tensors = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu()
        tensors[name] = (value.float() if value.is_floating_point() else value).contiguous()
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        try:
            save_file(tensors, temporary)
        except SafetensorError as error:  # raised when the disk is full
            raise Failure(f"{folder / WEIGHTS_FILE}: cannot be written: {error}", "free some space") from None
        digest = sha256_file(temporary)
    info = info.model_copy(
        update={
            "arch": model.backbone.arch,
            "embedding_size": model.embedding_size,
            "weights": info.weights or model.backbone.weights,
            "head_norm": model.backbone.head_norm,
            "weights_sha256": digest,
        }
    )
    write_json(folder / INFO_FILE, info.model_dump(mode="json"))
    return info


def load_checkpoint(folder: str | Path, device: str | torch.device = "cpu") -> tuple[Embedder, CheckpointInfo]:
    """Load a checkpoint folder. The pretrained weights that training started from are not needed.

    Returns:
        The model in evaluation mode, and its ``model.json``.

    Raises:
        Failure: missing, half-written or changed files, or weights that do not fit ``arch``.
    """
    info = read_info(folder)
    path = verify_weights(folder, info)
    state = read_state_dict(path)
    try:
        backbone = build_backbone(info.arch)
    except UsageFailure as error:  # the file is wrong, not the command
        raise Failure(f"{Path(folder) / INFO_FILE}: {error.what}", error.cure) from None
    backbone.weights = dict(info.weights)
    if info.head_norm and not backbone.head_norm:
        raise Failure(
            f"{Path(folder) / INFO_FILE}: head_norm is true, but {info.arch} has no norm in its head",
            "the folder was edited: copy it again",
        )
    backbone.head_norm = info.head_norm
    backbone.mean, backbone.std = info.preprocessing.mean, info.preprocessing.std
    head = "linear.weight" in state
    size = state["linear.weight"].shape[0] if head else backbone.feature_size
    if size != info.embedding_size:
        raise Failure(
            f"{folder}: {INFO_FILE} says embedding size {info.embedding_size}, the weights have {size}",
            "the folder was edited: copy it again",
        )
    model = Embedder(backbone, size if head else 0)
    load_matching(model, state, str(path))
    return model.to(device).eval(), info
