"""Quantization-aware distillation: train the network so that its int8 embeddings match its float embeddings.

The folded student is trained with simulated rounding (``fake_quant``), against its own float embeddings
of the same crops (Jacob et al., arXiv 1712.05877, section 3; Polino et al., "Model compression via
distillation and quantization", arXiv 1802.05668). It needs no labels, and has no batch norm left whose statistics
could drift.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from distill.console import Failure, note, progress
from distill.data.preprocess import Preprocessing
from export.graph.folded import FoldedGraph
from export.graph.torch_network import batches, observe, run
from export.int8.arithmetic import input_params
from export.int8.quantized_graph import QuantizedGraph
from export.int8.repair.fake_quant import FakeQuantNetwork
from export.int8.repair.settings import QatSettings

if TYPE_CHECKING:
    from export.int8.training_images import TrainingImages
    from export.samples.calibration import CalibrationImages

__all__ = ["TrainedIntegers", "train_quantized"]

_JUDGES = 64  # calibration images that decide whether training helped
_SCALE_LR = 10.0  # learning rate of the logarithm of a scale, relative to that of the weights


@dataclass(frozen=True)
class TrainedIntegers:
    """Result of the training.

    Attributes:
        numbers: the integers.
        before, after: mean cosine to the float network on calibration images, before and after training.
    """

    numbers: QuantizedGraph
    before: float
    after: float


def train_quantized(
    graph: FoldedGraph,
    exact: FoldedGraph,
    calibration: CalibrationImages,
    training: TrainingImages,
    settings: QatSettings,
) -> TrainedIntegers:
    """Train ``graph`` so that its int8 embeddings match the float embeddings of ``exact``.

    If training does not raise the mean cosine on calibration images, the integers from before it are returned.

    Args:
        graph: the network to start from; it may be equalized or bias-corrected.
        exact: network whose embeddings are the target.
        calibration: images that set the initial ranges.
        training: images to train on.
        settings: length and learning rate.

    Raises:
        Failure: the loss is not finite, or no image can be read.
    """
    preprocessing = calibration.preprocessing
    network = FakeQuantNetwork(graph, observe(graph, calibration.scaled()), input_params(preprocessing))
    judges = torch.cat(list(batches(_scaled(calibration.pixels[:_JUDGES], preprocessing))))
    wanted = _embed(exact, judges)
    before, first = _mean_cosine(network, judges, wanted), network.quantized()
    _train(network, exact, training, settings)
    after = _mean_cosine(network, judges, wanted)
    note(f"quantization-aware training: mean cosine {before:.4f} before, {after:.4f} after")
    if after > before:
        return TrainedIntegers(network.quantized(), before, after)
    return TrainedIntegers(first, before, before)


def _train(network: FakeQuantNetwork, exact: FoldedGraph, training: TrainingImages, settings: QatSettings) -> None:
    scales = list(network.scales.parameters())
    others = [*network.weights.parameters(), *network.biases.parameters()]
    optimizer = torch.optim.Adam(
        [{"params": others, "lr": settings.lr}, {"params": scales, "lr": settings.lr * _SCALE_LR}], betas=(0.9, 0.99)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    )
    with progress("quantization-aware training", settings.steps) as bar:
        for step, pixels in enumerate(training.batches(settings.steps, settings.batch_size, settings.seed)):
            (images,) = batches(_scaled(pixels, training.preprocessing), len(pixels))
            images = images.contiguous(memory_format=torch.channels_last)  # 1.5 times as fast
            loss = (1 - F.cosine_similarity(network(images), _embed(exact, images))).mean()
            if not torch.isfinite(loss):
                raise Failure(
                    f"quantization-aware training: the loss is {loss.item()} at step {step + 1} of {settings.steps}",
                    f"give a --qat-lr below {settings.lr:g}",
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            network.stay_in_range()
            bar.advance()
            bar.status(f"loss {loss.item():.5f}")


def _embed(graph: FoldedGraph, images: Tensor) -> Tensor:
    with torch.no_grad():
        return run(graph, images)


def _mean_cosine(network: FakeQuantNetwork, images: Tensor, wanted: Tensor) -> float:
    with torch.no_grad():
        return float(F.cosine_similarity(network(images), wanted).mean())


def _scaled(pixels: np.ndarray, preprocessing: Preprocessing) -> Iterable[np.ndarray]:
    return (preprocessing.scale(image[None]) for image in pixels)
