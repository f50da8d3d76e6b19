"""Cross-layer equalization: bring the channels of an activation to similar ranges without changing the function.

For a positive factor s per channel, ``W2 relu(W1 x + b1) = (W2 s) relu((W1 x + b1) / s)`` (Nagel et al.,
"Data-Free Quantization", arXiv 1906.04721, section 4.1). Three things differ from the paper:

**ReLU6 clips at 6 and is not homogeneous.** The identity holds for a channel only while neither side
clips. So a channel is rescaled only if its largest value over the calibration images, times
``HEADROOM``, is below 6, and only so far that this still holds afterwards. Channels that clip keep
their scale. For every input whose channels stay within ``HEADROOM`` times the calibrated peaks, the
network computes the same function up to float rounding. Beyond that, a value may be clipped that was
not, or the reverse. ReLU6 stays fused: no operator is added, no activation replaced.
Without an activation (the linear bottlenecks of MobileNetV2) the identity always holds.

**Residual additions couple activations.** Values that are added share one scale per channel, and so do all
activations on the way: they form one ``ChannelGroup``. Its producers are all divided and its readers all
multiplied by the same factors. (Sums of ReLU6 outputs stay as they are; no supported network has any.)

**Weights are quantized per channel here, activations per tensor.** Unequal channels harm
the activation, and the weights of a pointwise layer along its inputs. The factors
``s = peak^a / column^(1 - a)`` trade one for the other (Xiao et al., "SmoothQuant", arXiv 2211.10438, equation 4,
where a = 1/2). Of five values of ``a``, and no change at all, the one with the least expected rounding noise is
taken. Before a depthwise layer, whose weights have one scale per channel, a = 1 costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from export.graph.folded import INPUT, Add, Convolution, FoldedGraph, L2Norm, Layer, Linear, MeanPool
from export.graph.torch_network import LayerStatistics, observe
from export.int8.arithmetic import INT8_STEPS, weight_scale

__all__ = ["HEADROOM", "ChannelGroup", "ChannelReader", "equalize", "factors", "groups"]

HEADROOM = 1.25
EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
CLIP = 6.0
_SMALLEST = 2.0**-20  # channels with a smaller range, relative to the largest, count as dead


@dataclass
class ChannelGroup:
    """Activations that can only be rescaled together.

    Attributes:
        members: names of the convolutions and additions that produce them, in order.
        readers: layers with weights, and the member that each reads (possibly through a mean).
        fixed: whether they cannot be rescaled: another kind of layer reads one of them, or they are the image.
    """

    members: list[str] = field(default_factory=list)
    readers: list[tuple[str, str]] = field(default_factory=list)
    fixed: bool = False


@dataclass(frozen=True)
class ChannelReader:
    """A layer that reads an activation of a group.

    Attributes:
        columns: magnitudes of its weights, ``[out, in]``.
        following: statistics of its outputs; their variances tell how much noise matters.
        free: whether it has a weight scale for each of these channels (depthwise).
        before: the members whose rounding reaches it; it reads the last.
    """

    columns: np.ndarray
    following: LayerStatistics
    free: bool
    before: tuple[LayerStatistics, ...]


def equalize(graph: FoldedGraph, images: Iterable[np.ndarray]) -> FoldedGraph:
    """Return a graph of the same function with more equal channels.

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
            layer = layers[name]
            if isinstance(layer, Convolution):
                layers[name] = _scale_outputs(layer, 1 / scale)
        for name, _ in group.readers:
            layers[name] = _scale_inputs(layers[name], scale)
    return FoldedGraph(graph.side, tuple(layers.values()))


def groups(graph: FoldedGraph) -> list[ChannelGroup]:
    """Return all groups of the network, in the order of their first members."""
    home = {INPUT: ChannelGroup(fixed=True)}

    def step(layer: Layer, inputs: tuple[str, ...]) -> str:
        """Values are names of activations. A mean keeps channels as they are, so its output keeps its input's name."""
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
                home[layer.name] = ChannelGroup([layer.name])
            case Linear():
                first.readers.append((layer.name, inputs[0]))
                home[layer.name] = ChannelGroup(fixed=True)
            case L2Norm():
                first.fixed = True
                home[layer.name] = ChannelGroup(fixed=True)
        return layer.name

    home[graph.flow(INPUT, step)].fixed = True
    return list({id(group): group for group in home.values()}.values())


def _merge(home: dict[str, ChannelGroup], one: ChannelGroup, other: ChannelGroup) -> None:
    if one is other:
        return
    order = list(home)
    members = sorted([*one.members, *other.members], key=order.index)
    both = ChannelGroup(members, [*other.readers, *one.readers], one.fixed or other.fixed)
    for name, group in home.items():
        if group is one or group is other:
            home[name] = both


def _reader(layer: Layer, following: LayerStatistics, before: Sequence[LayerStatistics]) -> ChannelReader:
    return ChannelReader(_columns(layer), following, _per_channel(layer), tuple(before))


def factors(members: Sequence[LayerStatistics], readers: Sequence[ChannelReader], clips: bool = True) -> np.ndarray:
    """Return the factors by which channels are divided here and multiplied in the layers that read them.

    Args:
        members: the activations of a group.
        readers: the layers that read them.
        clips: whether ReLU6 follows.

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
    # A column of zeros has no effect, so any factor is valid.
    columns = [np.maximum(r.columns.max(axis=0), r.columns.max() * _SMALLEST + 1e-30) for r in readers]
    column = np.max(columns, axis=0)
    candidates = [np.ones_like(size)]
    for exponent in (1.0,) if all(reader.free for reader in readers) else EXPONENTS:
        raw = np.where(movable, np.maximum(size, 1e-30) ** exponent / column ** (1 - exponent), 1.0)
        raw *= (size[movable] / raw[movable]).max() / limit
        candidates.append(np.where(movable, raw, 1.0))
    noises = [sum(_noise(scale, reader, clips) for reader in readers) for scale in candidates]
    return candidates[int(np.argmin(noises))]


def _noise(scale: np.ndarray, reader: ChannelReader, clips: bool) -> float:
    """Return the expected squared rounding error of a reader's outputs, in units of their variance, times 12.

    A rounding step d makes an error of variance d²/12. There is one step for each activation, and one for
    each output channel's weights.
    """
    variance = reader.following.variance
    importance = 1 / np.maximum(variance, variance.max() * 1e-6 + 1e-30)
    scaled = reader.columns * scale
    steps = sum((_span(seen, scale, clips) / INT8_STEPS) ** 2 for seen in reader.before)
    noise = steps * (importance * (scaled**2).sum(axis=1)).sum()
    if not reader.free:  # the weights of a depthwise channel round in the same way with any scale
        weight_steps = weight_scale(scaled.max(axis=1))
        noise += (importance * weight_steps**2).sum() * (reader.before[-1].mean_square / scale**2).sum()
    return float(noise)


def _span(seen: LayerStatistics, scale: np.ndarray, clips: bool) -> float:
    """Return the width of the range that the levels of a tensor have to cover; it always holds 0."""
    low, high = _ends(seen, clips)
    return (high / scale).max() - (low / scale).min()


def _magnitude(seen: LayerStatistics, clips: bool) -> np.ndarray:
    low, high = _ends(seen, clips)
    return np.maximum(high, -low)


def _ends(seen: LayerStatistics, clips: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and the largest value of each channel after the activation, widened to hold 0."""
    if clips:
        return np.zeros_like(seen.peak), np.clip(seen.peak, 0, CLIP)
    return np.minimum(seen.lowest, 0), np.maximum(seen.peak, 0)


def _divided(seen: LayerStatistics, scale: np.ndarray) -> LayerStatistics:
    """Return the statistics after channels were divided by ``scale``; later groups need them."""
    square = scale**2
    return replace(
        seen, peak=seen.peak / scale, lowest=seen.lowest / scale,
        mean_square=seen.mean_square / square, variance=seen.variance / square,
    )  # fmt: skip


def _per_channel(layer: Layer) -> bool:
    return isinstance(layer, Convolution) and layer.depthwise


def _columns(layer: Layer) -> np.ndarray:
    """Return weight magnitudes ``[out, in]``: the largest tap of each kernel, depthwise as a diagonal."""
    if isinstance(layer, Linear):
        return np.abs(layer.weight.T.astype(np.float64))
    assert isinstance(layer, Convolution)
    largest = np.abs(layer.kernel.astype(np.float64)).max(axis=(0, 1))
    return np.diag(largest[:, 0]) if layer.depthwise else largest.T


def _scale_outputs(layer: Convolution, scale: np.ndarray) -> Convolution:
    shape = (-1, 1) if layer.depthwise else (-1,)
    kernel = layer.kernel * scale.reshape(shape)
    return replace(layer, kernel=kernel.astype(np.float32), bias=(layer.bias * scale).astype(np.float32))


def _scale_inputs(layer: Layer, scale: np.ndarray) -> Layer:
    if isinstance(layer, Linear):
        return replace(layer, weight=(layer.weight * scale[:, None]).astype(np.float32))
    assert isinstance(layer, Convolution)
    return replace(layer, kernel=(layer.kernel * scale[:, None]).astype(np.float32))
