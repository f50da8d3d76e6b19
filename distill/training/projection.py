"""A narrower space learned from labels, on stored features alone: seconds, no pass through the teacher.

For a teacher whose features are good but wide (a pretrained network as it is). Principal components
keep what varies; this turns them towards what tells the training classes apart.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from distill.console import UsageFailure, progress
from distill.losses.metric import MetricLoss
from distill.training.pca import Pca
from distill.training.sampler import ClassBatches

__all__ = ["LEARNED_BY", "learn_projection"]

_STEPS = 400
_BATCH = 128
_PER_CLASS = 4
# Of a weight's usual size 1/√F, the most that one step of Adam changes it by. Chosen on CUB, on train
# classes held out from the train classes; three times as much unlearns what unseen classes need.
_RELATIVE_LR = 0.0036
# What the result depends on besides its inputs.
LEARNED_BY = f"multi_similarity, {_STEPS} steps of {_BATCH}, Adam {_RELATIVE_LR}"


def learn_projection(features: np.ndarray, labels: np.ndarray, start: Pca, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Linear layer to D dimensions, started from principal components, trained with multi-similarity.

    Wang et al., "Multi-Similarity Loss", CVPR 2019. Adam at a constant rate, one of the V crops
    of each image drawn at every step.

    Args:
        features: float32 [V, N, F].
        labels: int64 [N]; images with −1 are left out.
        start: components of these features; D of them.
        seed: of batches and crops.

    Returns:
        Weight float64 [D, F] and bias float64 [D].

    Raises:
        UsageFailure: not two classes, or no class of two images or more.
    """
    labelled = np.flatnonzero(labels >= 0)
    known = labels[labelled]
    counts = np.unique(known, return_counts=True)[1]
    if len(counts) < 2 or counts.max() < 2:
        raise UsageFailure("--teacher-reduction projection learns from labels: no two classes with pairs", "use pca")
    centred = features[:, labelled] - start.mean
    # Divided by their usual length after the projection, features of any scale take the same steps.
    scale = float(np.linalg.norm(centred @ start.directions.T, axis=-1).mean())
    rows = torch.from_numpy((centred / scale).astype(np.float32))
    targets = torch.from_numpy(known)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weight = torch.tensor(start.directions, dtype=torch.float32, requires_grad=True)
        bias = torch.zeros(len(weight), requires_grad=True)
        optimizer = torch.optim.Adam([weight, bias], lr=_RELATIVE_LR / math.sqrt(rows.shape[-1]))
        loss = MetricLoss("multi_similarity", int(known.max()) + 1, len(weight))
        batches = ClassBatches(known, min(_BATCH, len(known)), _PER_CLASS, seed)
        views = np.random.default_rng(seed)
        with progress("learning the projection", _STEPS) as bar:
            for step in range(_STEPS):
                epoch, place = divmod(step, len(batches))
                if place == 0:
                    plan = list(batches.epoch(epoch))
                indices = plan[place]
                batch = rows[views.integers(0, len(rows), len(indices)), indices]
                value = loss(functional.normalize(functional.linear(batch, weight, bias)), targets[indices])
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                bar.advance()
    learned = weight.detach().double().numpy()
    return learned, bias.detach().double().numpy() * scale - learned @ start.mean
