"""The pairs of a verification protocol, and how embeddings are judged on them. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distill.console.errors import Failure, UsageFailure
from distill.console.progress import warn
from distill.data.imageset import ImageSet
from distill.data.known import Known
from distill.data.lfw import Pairs, read_pairs
from distill.metrics import Verification, accuracy_at, best_threshold, pair_similarities, verification_accuracy
from distill.models.info import CheckpointInfo

__all__ = ["PairProtocol", "open_protocol", "warn_of_known_people"]


@dataclass(frozen=True)
class PairProtocol:
    """Pairs to judge, and the pairs on which the threshold is chosen.

    Attributes:
        images: the image set that the pairs index.
        asked: pairs to judge.
        chosen: pairs on which the threshold is chosen; None: the other sets of ``asked``.
        needed: int64 [M], sorted positions of the images that occur in a pair.
    """

    images: ImageSet
    asked: Pairs
    chosen: Pairs | None
    needed: np.ndarray

    @property
    def subset(self) -> ImageSet:
        """The needed images, in the order of ``needed``."""
        return self.images.select(self.needed)

    @property
    def people(self) -> set[str]:
        """Names of the classes in the pairs to judge."""
        both = np.concatenate([self.asked.left, self.asked.right])
        return {self.images.classes[label] for label in np.unique(self.images.labels[both])}

    def require_all(self, indices: np.ndarray) -> None:
        """Check that every image of :attr:`subset` was read.

        Args:
            indices: positions in :attr:`subset` that were read, sorted.

        Raises:
            Failure: one is missing.
        """
        if len(indices) != len(self.needed):
            missing = np.setdiff1d(np.arange(len(self.needed)), indices)[0]
            raise Failure(
                f"{self.images.spec}: {self.images.keys[self.needed[missing]]}, an image of the pairs, cannot be read",
                "copy the data set again: the accuracy needs all pairs",
            )

    def judge(self, rows: np.ndarray) -> tuple[Verification, np.ndarray]:
        """Judge the embeddings of :attr:`subset`.

        Args:
            rows: [M, D], normalised here.

        Returns:
            The accuracy, and for each pair of ``asked`` whether it was classified correctly, bool [P].

        Raises:
            Failure: NaN or infinity.
        """
        values = self._similarities(rows, self.asked)
        if self.chosen is None:
            found = verification_accuracy(values, self.asked.same, self.asked.fold)
        else:
            threshold = best_threshold(self._similarities(rows, self.chosen), self.chosen.same)
            found = accuracy_at(values, self.asked.same, threshold)
        number = np.unique(self.asked.fold, return_inverse=True)[1] if self.chosen is None else 0
        return found, (values >= np.asarray(found.thresholds)[number]) == self.asked.same

    def _similarities(self, rows: np.ndarray, pairs: Pairs) -> np.ndarray:
        return pair_similarities(
            rows, np.searchsorted(self.needed, pairs.left), np.searchsorted(self.needed, pairs.right)
        )


def open_protocol(images: ImageSet, pairs: Path, threshold_pairs: Path | None = None) -> PairProtocol:
    """Read the lists of a protocol.

    Args:
        images: an ``lfw:`` set, or any with the same names (:func:`distill.data.lfw.read_pairs`).
        pairs: ``pairs.txt`` with ten sets, where the threshold of each is chosen on the others; or a
            list of one set, with ``threshold_pairs``.
        threshold_pairs: pairs on which the threshold is chosen instead (``pairsDevTrain.txt``).

    Raises:
        UsageFailure: a list of one set without another to choose the threshold on.
        Failure: a list is malformed, or names an image that is not there.
    """
    asked = read_pairs(pairs, images)
    chosen = read_pairs(threshold_pairs, images) if threshold_pairs else None
    if chosen is None and len(np.unique(asked.fold)) < 2:
        raise UsageFailure(
            f"{pairs} has one set of pairs, and none to choose the threshold on",
            "add --threshold-pairs FILE (pairsDevTrain.txt), or use pairs.txt",
        )
    lists = [asked] if chosen is None else [asked, chosen]
    needed = np.unique(np.concatenate([side for each in lists for side in (each.left, each.right)]))
    return PairProtocol(images, asked, chosen, needed)


def warn_of_known_people(info: CheckpointInfo, protocol: PairProtocol, name: str) -> None:
    """Warn if people of the pairs were trained on. A run of no epochs was not trained on its data."""
    asked = protocol.people
    known = asked & Known.of(info.data).trained if info.training.get("epochs") != 0 else set()
    if known:
        warn(
            f"{name}: {len(known)} of its {len(asked)} people are in the training data, e.g. {min(known)}: "
            "the accuracy does not hold for other people"
        )
