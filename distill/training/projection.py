"""A linear projection to fewer dimensions, learned from labels on cached features.

It takes seconds and no pass through the teacher. It suits a teacher whose features are good but wide, such as an
unchanged pretrained network. Principal components keep the directions that vary; training turns them towards those
that tell the training classes apart.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from distill.console import UsageFailure, progress
from distill.losses.metric import multi_similarity
from distill.training.pca import Pca
from distill.training.sampler import ClassBatches

__all__ = ["LEARNED_BY", "learn_projection"]

_STEPS = 400
_BATCH = 128
_PER_CLASS = 4
# Largest change by one step of Adam, relative to a weight's usual size 1/√F. Chosen on CUB, on classes held out
# from the train classes; three times as much unlearns what unseen classes need.
_RELATIVE_LR = 0.0036
# Settings that the result depends on, for cache keys.
LEARNED_BY = f"multi_similarity, {_STEPS} steps of {_BATCH}, Adam {_RELATIVE_LR}"


def learn_projection(features: np.ndarray, labels: np.ndarray, start: Pca, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train a linear layer to D dimensions with multi-similarity, initialised with principal components.

    Wang et al., "Multi-Similarity Loss", CVPR 2019. Adam at a constant rate; every step draws one
    of the V crops of each image.

    Args:
        features: float32 [V, N, F].
        labels: int64 [N]; images with −1 are left out.
        start: D principal components of these features.
        seed: seed of batches and crops.

    Returns:
        Weight float64 [D, F] and bias float64 [D].

    Raises:
        UsageFailure: fewer than two classes, or no class of two images.
    """
    labelled = np.flatnonzero(labels >= 0)
    known = labels[labelled]
    counts = np.unique(known, return_counts=True)[1]
    if len(counts) < 2 or counts.max() < 2:
        raise UsageFailure("--teacher-reduction projection learns from labels: no two classes with pairs", "use pca")
    centred = features[:, labelled] - start.mean
    # Divided by their usual length after the projection, so that the steps suit features of any scale.
    scale = float(np.linalg.norm(centred @ start.directions.T, axis=-1).mean())
    rows = torch.from_numpy((centred / scale).astype(np.float32))
    targets = torch.from_numpy(known)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weight = torch.tensor(start.directions, dtype=torch.float32, requires_grad=True)
        bias = torch.zeros(len(weight), requires_grad=True)
        optimizer = torch.optim.Adam([weight, bias], lr=_RELATIVE_LR / math.sqrt(rows.shape[-1]))
        loss = multi_similarity()
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
