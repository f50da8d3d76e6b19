"""Batches of K images of each of M classes, every image once per epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

__all__ = ["ClassBatches"]


class ClassBatches:
    """Batches of ``batch_size`` images in groups of ``images_per_class`` of one class.

    The images of each class are shuffled and cut into groups of K; a short last group is filled with
    other images of its class (or repeats them, if the class has fewer than K). The groups are shuffled
    and dealt into batches. An epoch therefore shows every image at least once, unlike with samplers that
    draw classes with replacement, and depends on (seed, epoch) alone.

    Args:
        labels: int64 [N]; -1 marks an unlabelled image.
        batch_size: number of images in a batch, labelled and unlabelled; a multiple of ``images_per_class``, or a
            group is cut at the end of a batch.
        images_per_class: K; 1 gives plain shuffling.
        seed: seed of the order.
        unlabelled_ratio: fraction of unlabelled images in a batch, if there are any, rounded so that the
            labelled ones are whole groups, at least two: a group cut in two would leave images without a
            positive, and one class no negative. They cycle in shuffled order; the labelled images determine
            the length of an epoch.
    """

    def __init__(
        self, labels: np.ndarray, batch_size: int, images_per_class: int, seed: int, unlabelled_ratio: float = 0.0
    ) -> None:
        self._labels = np.asarray(labels)
        self._seed = seed
        self._group = images_per_class
        self._unlabelled = np.flatnonzero(self._labels < 0)
        labelled = np.flatnonzero(self._labels >= 0)
        order = labelled[np.argsort(self._labels[labelled], kind="stable")]
        self._by_class = np.split(order, np.flatnonzero(np.diff(self._labels[order])) + 1) if len(order) else []
        self._n_labelled = batch_size
        if not self._by_class:
            self._n_labelled = 0
        elif len(self._unlabelled):
            self._n_labelled = _whole_groups(batch_size, images_per_class, unlabelled_ratio)
        self._n_unlabelled = batch_size - self._n_labelled
        self._n_groups = sum(-(-len(images) // images_per_class) for images in self._by_class)

    def __len__(self) -> int:
        """Number of batches per epoch; a short last batch is dropped unless it is the only one."""
        if not self._by_class:
            return max(1, len(self._unlabelled) // self._n_unlabelled)
        return max(1, self._n_groups * self._group // self._n_labelled)

    def epoch(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield int64 index arrays, labelled images first."""
        random = np.random.default_rng([self._seed, epoch, 0x62617463])
        labelled = self._shuffled_groups(random)
        # The cycle continues from epoch to epoch, so that all unlabelled images are seen eventually.
        start = epoch * len(self) * self._n_unlabelled
        for step in range(len(self)):
            with_label = labelled[step * self._n_labelled : (step + 1) * self._n_labelled]
            without_label = self._cycle(start + step * self._n_unlabelled, self._n_unlabelled)
            yield np.concatenate([with_label, without_label])

    def _shuffled_groups(self, random: np.random.Generator) -> np.ndarray:
        groups = []
        for images in self._by_class:
            shuffled = random.permutation(images)
            missing = -len(shuffled) % self._group
            if missing:
                fill = (
                    np.resize(random.permutation(shuffled[: len(shuffled) - len(shuffled) % self._group]), missing)
                    if len(shuffled) >= self._group
                    else np.resize(shuffled, missing)
                )
                shuffled = np.concatenate([shuffled, fill])
            groups.append(shuffled.reshape(-1, self._group))
        if not groups:
            return np.empty(0, np.int64)
        dealt = np.concatenate(groups)
        return dealt[random.permutation(len(dealt))].reshape(-1)

    def _cycle(self, start: int, count: int) -> np.ndarray:
        """Return positions start … start+count−1 of an endless shuffled cycle over the unlabelled images."""
        if not count:
            return np.empty(0, np.int64)
        n = len(self._unlabelled)
        positions = np.arange(start, start + count)
        out = np.empty(count, np.int64)
        for lap in np.unique(positions // n):
            order = np.random.default_rng([self._seed, int(lap), 0x756E6C62]).permutation(self._unlabelled)
            here = positions // n == lap
            out[here] = order[positions[here] % n]
        return out


def _whole_groups(batch_size: int, group: int, unlabelled_ratio: float) -> int:
    """Return the number of labelled images in a batch that also has unlabelled ones."""
    wanted = batch_size - min(max(1, round(batch_size * unlabelled_ratio)), batch_size - 1)  # at least one of each
    groups = min(max(2, math.floor(wanted / group + 0.5)), (batch_size - 1) // group)
    return groups * group or wanted  # a batch without room for a group beside unlabelled images
