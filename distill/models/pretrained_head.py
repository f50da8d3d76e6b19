"""What pretrained weights bring besides the backbone: their embedding layer and the scaling of their pixels."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from distill.console import Failure, UsageFailure
from distill.models.embedder import Embedder
from distill.models.weights_file import CLASSIFIERS, read_state_dict

__all__ = ["keep_head", "pixel_triple"]


@torch.no_grad()
def keep_head(model: Embedder, weights: str | Path | None) -> None:
    """Fill the embedding layer of ``model`` with the last linear layer of a weights file.

    Names such as ``fc.weight``, ``head.fc.weight`` or ``module.classifier.weight`` are found; a 1 × 1 convolution counts
    as a linear layer. A layer without a bias gets a bias of zero.

    Args:
        model: Changed in place; its embedding size and feature size say which layer fits.
        weights: A .safetensors, .pth or .pt file.

    Raises:
        UsageFailure: no weights file, or no embedding layer to fill.
        Failure: the file is damaged, or no last layer in it fits.
    """
    if weights is None or not Path(weights).is_file():
        raise UsageFailure("--keep-head takes the layer from a file", "add --weights FILE (.safetensors, .pth)")
    if model.linear is None:
        raise UsageFailure("--keep-head: --embedding-size 0 leaves the layer out", "give the size of the layer instead")
    state = read_state_dict(weights)
    candidates = {
        key: value.flatten(1)
        for key, value in state.items()
        if key.endswith(".weight") and value.ndim in (2, 4) and not set(CLASSIFIERS).isdisjoint(key.split("."))
    }
    wanted = model.linear.weight.shape
    name = next((key for key, value in candidates.items() if value.shape == wanted), None)
    if name is None:
        found = ", ".join(f"{key} {list(value.shape)}" for key, value in list(candidates.items())[:3]) or "none"
        raise Failure(
            f"{weights}: no last layer of {list(wanted)} (outputs, features); its last layers: {found}",
            "set --embedding-size to the number of outputs, or leave out --keep-head",
        )
    bias = state.get(name.removesuffix("weight") + "bias")
    bias = torch.zeros(wanted[0]) if bias is None else bias.float().flatten()
    if bias.shape != wanted[:1] or not (torch.isfinite(candidates[name]).all() and torch.isfinite(bias).all()):
        raise Failure(f"{weights}: {name}: a bias of another size, or values that are not finite", "get the file again")
    model.linear.weight.copy_(candidates[name])
    model.linear.bias.copy_(bias)


def pixel_triple(
    given: str | None, flag: str, default: tuple[float, float, float], above_zero: bool = False
) -> tuple[float, float, float]:
    """Parse one number, or three for red, green and blue, in pixel values 0..255.

    Raises:
        UsageFailure: not one or three numbers, or one that is out of range.

    Example:
        >>> pixel_triple("127.5", "--pixel-mean", (128.0, 128.0, 128.0))
        (127.5, 127.5, 127.5)
    """
    if given is None:
        return default
    try:
        values = [float(word) for word in given.split(",")]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= 3
    low = 0.0 if not above_zero else math.nextafter(0.0, 1.0)
    if len(values) != 3 or not all(low <= value <= 255 for value in values):
        limit = "above 0, up to 255" if above_zero else "0 to 255"
        raise UsageFailure(f"{flag} {given}: not one number, or three, {limit}", f"for example {flag} 127.5")
    return values[0], values[1], values[2]
