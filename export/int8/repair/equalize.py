"""Cross-layer equalization: channels of an activation brought to similar ranges, the function kept.

For a positive factor s per channel, ``W2 relu(W1 x + b1) = (W2 s) relu((W1 x + b1) / s)`` (Nagel et al.,
"Data-Free Quantization", arXiv 1906.04721, section 4.1). Three things differ from the paper:

**ReLU6 clips at 6 and is not homogeneous.** The identity holds for a channel only while neither side
clips. So a channel is rescaled only if its largest value over the calibration images, times
``HEADROOM``, is below 6, and only so far that this still holds afterwards. Channels that do clip keep
their scale. For every input whose channels stay within ``HEADROOM`` times the calibrated peaks the
network computes the same function up to float rounding; beyond that a value may be clipped that was
not, or the other way round. ReLU6 stays fused: no operator is added, no activation replaced.
Without an activation (the linear bottlenecks of MobileNetV2) the identity always holds.

**Residual adds tie activations together.** What is added has one scale per channel, and so have all
activations on the way: they are one ``Group``, whose producers are all divided and whose readers are all
multiplied by the same factors. (Sums of what ReLU6 gave stay as they are; no network here has any.)

**Weights are quantized per channel here, activations per tensor.** What suffers from unequal channels is
the activation, and the weights of a pointwise layer along its inputs. Between the two the factors
``s = peak^a / column^(1 - a)`` trade off (Xiao et al., "SmoothQuant", arXiv 2211.10438, equation 4; a = 1/2
is the paper's choice); ``a`` is the one of five with the least expected rounding noise, or no change at
all. Before a depthwise layer, whose weights have a scale for each channel, a = 1 is free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from export.graph.folded import INPUT, Add, Convolution, FoldedGraph, L2Norm, Layer, Linear, MeanPool
from export.int8.repair.network import Observed, observe

__all__ = ["HEADROOM", "Group", "Reader", "equalize", "factors", "groups"]

HEADROOM = 1.25
EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
CLIP = 6.0
_SMALLEST = 2.0**-20  # of a channel's range to the largest: below it the channel is as good as dead


@dataclass
class Group:
    """Activations that can only be rescaled together.

    Attributes:
        members: names of the convolutions and adds that give them, in order.
        readers: layers with weights, and the member that each reads (perhaps through a mean).
        fixed: whether something else reads one of them, or they are the image.
    """

    members: list[str] = field(default_factory=list)
    readers: list[tuple[str, str]] = field(default_factory=list)
    fixed: bool = False


@dataclass(frozen=True)
class Reader:
    """A layer that reads an activation of a group.

    Attributes:
        columns: its weights, ``[out, in]``, in magnitude.
        following: its values, whose variances say how much noise matters.
        free: it has a weight scale for each of these channels (depthwise).
        before: the members whose rounding reaches it; it reads the last.
    """

    columns: np.ndarray
    following: Observed
    free: bool
    before: tuple[Observed, ...]


def equalize(graph: FoldedGraph, images: Iterable[np.ndarray]) -> FoldedGraph:
    """The same function with more equal channels.

    Args:
        graph: the folded network.
        images: calibration images, scaled, float32 ``[1, side, side, 3]``.
    """
    seen = observe(graph, images)
    layers = {layer.name: layer for layer in graph.layers}
    for group in groups(graph):
        clips = any(getattr(layers[name], "relu6", False) for name in group.members)
        if group.fixed or not group.readers or (clips and len(group.members) > 1):
            continue
        members = [seen[name] for name in group.members]
        readers = [
            _reader(layers[name], seen[name], members[: group.members.index(at) + 1]) for name, at in group.readers
        ]
        scale = factors(members, readers, clips)
        for name in group.members:
            seen[name] = _divided(seen[name], scale)
            if isinstance(layers[name], Convolution):
                layers[name] = _scale_outputs(layers[name], 1 / scale)
        for name, _ in group.readers:
            layers[name] = _scale_inputs(layers[name], scale)
    return FoldedGraph(graph.side, tuple(layers.values()))


def groups(graph: FoldedGraph) -> list[Group]:
    """All groups of the network, in the order of their first members."""
    home = {INPUT: Group(fixed=True)}

    def step(layer: Layer, inputs: tuple[str, ...]) -> str:
        """Values are names of activations; a mean keeps channels as they are and has none of its own."""
        first = home[inputs[0]]
        match layer:
            case MeanPool():
                return inputs[0]
            case Add():
                _merge(home, first, home[inputs[1]])
                home[layer.name] = home[inputs[0]]
                home[layer.name].members.append(layer.name)
            case Convolution():
                first.readers.append((layer.name, inputs[0]))
                home[layer.name] = Group([layer.name])
            case Linear():
                first.readers.append((layer.name, inputs[0]))
                home[layer.name] = Group(fixed=True)
            case L2Norm():
                first.fixed = True
                home[layer.name] = Group(fixed=True)
        return layer.name

    home[graph.flow(INPUT, step)].fixed = True
    return list({id(group): group for group in home.values()}.values())


def _merge(home: dict[str, Group], one: Group, other: Group) -> None:
    if one is other:
        return
    order = list(home)
    members = sorted([*one.members, *other.members], key=order.index)
    both = Group(members, [*other.readers, *one.readers], one.fixed or other.fixed)
    for name, group in home.items():
        if group is one or group is other:
            home[name] = both


def _reader(layer: Layer, following: Observed, before: Sequence[Observed]) -> Reader:
    return Reader(_columns(layer), following, _per_channel(layer), tuple(before))


def factors(members: Sequence[Observed], readers: Sequence[Reader], clips: bool = True) -> np.ndarray:
    """By what each channel is divided here and multiplied in the next layers.

    Args:
        members: the activations of a group.
        readers: the layers that read them.
        clips: ReLU6 follows.

    Returns:
        float64 ``[in]``, 1 where a channel has to stay as it is.
    """
    before = np.max([seen.peak for seen in members], axis=0)
    size = np.max([_magnitude(seen, clips) for seen in members], axis=0)
    highest = float(size.max(initial=0.0))
    movable = size > highest * _SMALLEST
    if clips:
        movable &= before * HEADROOM <= CLIP
    if not movable.any():
        return np.ones_like(size)
    limit = min(highest, CLIP / HEADROOM) if clips else highest
    # A column of zeros passes nothing on: any factor will do.
    columns = [np.maximum(r.columns.max(axis=0), r.columns.max() * _SMALLEST + 1e-30) for r in readers]
    column = np.max(columns, axis=0)
    candidates = [np.ones_like(size)]
    for exponent in (1.0,) if all(reader.free for reader in readers) else EXPONENTS:
        raw = np.where(movable, np.maximum(size, 1e-30) ** exponent / column ** (1 - exponent), 1.0)
        raw *= (size[movable] / raw[movable]).max() / limit
        candidates.append(np.where(movable, raw, 1.0))
    noises = [sum(_noise(scale, reader, clips) for reader in readers) for scale in candidates]
    return candidates[int(np.argmin(noises))]


def _noise(scale: np.ndarray, reader: Reader, clips: bool) -> float:
    """Expected squared rounding error of a reader's outputs, in units of their variance, times 12.

    A rounding step d makes an error of variance d²/12: one step of each activation, and one of
    each output channel's weights.
    """
    variance = reader.following.variance
    importance = 1 / np.maximum(variance, variance.max() * 1e-6 + 1e-30)
    scaled = reader.columns * scale
    steps = sum((_span(seen, scale, clips) / 255) ** 2 for seen in reader.before)
    noise = steps * (importance * (scaled**2).sum(axis=1)).sum()
    if not reader.free:  # a depthwise channel's weights round as before, whatever its scale
        weight_steps = scaled.max(axis=1) / 127
        noise += (importance * weight_steps**2).sum() * (reader.before[-1].mean_square / scale**2).sum()
    return float(noise)


def _span(seen: Observed, scale: np.ndarray, clips: bool) -> float:
    """What the levels of a tensor have to cover; 0 is always in it."""
    low, high = _ends(seen, clips)
    return (high / scale).max() - (low / scale).min()


def _magnitude(seen: Observed, clips: bool) -> np.ndarray:
    low, high = _ends(seen, clips)
    return np.maximum(high, -low)


def _ends(seen: Observed, clips: bool) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of each channel after the activation, widened to 0."""
    if clips:
        return np.zeros_like(seen.peak), np.clip(seen.peak, 0, CLIP)
    return np.minimum(seen.lowest, 0), np.maximum(seen.peak, 0)


def _divided(seen: Observed, scale: np.ndarray) -> Observed:
    """After its channels were divided: what a group that comes later has to know."""
    square = scale**2
    return replace(
        seen, peak=seen.peak / scale, lowest=seen.lowest / scale,
        mean_square=seen.mean_square / square, variance=seen.variance / square,
    )  # fmt: skip


def _per_channel(layer: Layer) -> bool:
    return isinstance(layer, Convolution) and layer.depthwise


def _columns(layer: Layer) -> np.ndarray:
    """Magnitudes ``[out, in]``; kernels by their largest tap, depthwise as a diagonal."""
    if isinstance(layer, Linear):
        return np.abs(layer.weight.T.astype(np.float64))
    largest = np.abs(layer.kernel.astype(np.float64)).max(axis=(0, 1))
    return np.diag(largest[:, 0]) if layer.depthwise else largest.T


def _scale_outputs(layer: Convolution, scale: np.ndarray) -> Convolution:
    shape = (-1, 1) if layer.depthwise else (-1,)
    kernel = layer.kernel * scale.reshape(shape)
    return replace(layer, kernel=kernel.astype(np.float32), bias=(layer.bias * scale).astype(np.float32))


def _scale_inputs(layer: Layer, scale: np.ndarray) -> Layer:
    if isinstance(layer, Linear):
        return replace(layer, weight=(layer.weight * scale[:, None]).astype(np.float32))
    return replace(layer, kernel=(layer.kernel * scale[:, None]).astype(np.float32))
