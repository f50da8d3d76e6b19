"""Compare the nearest images that models find, without labels: every variant with PyTorch and with each reference."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from benchmark.result import Agreement, RecallDrop
from distill.metrics import (
    NeighbourAgreement,
    NeighbourLists,
    agreement_of,
    bootstrap_ci,
    neighbour_lists,
    paired_drop_ci,
)

__all__ = ["QUERIES", "Neighbours", "summary"]

# More queries would make the intervals hardly narrower, and the time grows with them.
QUERIES = 5_000


@dataclass
class Neighbours:
    """The nearest images by each reference, searched once.

    Args:
        count: Number of images.
        seed: Seed of the bootstrap, and of the draw among more than ``QUERIES`` images.
    """

    count: int
    seed: int
    references: dict[str, NeighbourLists] = field(default_factory=dict)
    pytorch: dict[str, NeighbourAgreement] = field(default_factory=dict)  # by reference, PyTorch's agreement with it

    @property
    def asked(self) -> np.ndarray | None:
        """The images that query, ascending; None: all."""
        if self.count <= QUERIES:
            return None
        return np.sort(np.random.default_rng(self.seed).choice(self.count, QUERIES, replace=False))

    def add_reference(self, name: str, rows: np.ndarray) -> None:
        """Search the images by a reference, float32 [N, D]. Does nothing for fewer than three images."""
        if self.count >= 3:
            self.references[name] = neighbour_lists(rows, self.asked)

    def of_pytorch(self, name: str) -> list[Agreement]:
        """Compare the network in PyTorch, which is one of the references, with the others."""
        lists = self.references.get(name)
        if lists is None:
            return []
        self.pytorch = {other: agreement_of(found, lists) for other, found in self.references.items() if other != name}
        return [self._summary(other, found, None) for other, found in self.pytorch.items()]

    def of_variant(self, rows: np.ndarray, name: str = "") -> list[Agreement]:
        """Compare a variant, float32 [N, D], with every reference but itself."""
        targets = {other: found for other, found in self.references.items() if other != name}
        if not targets:
            return []
        lists = neighbour_lists(rows, self.asked)
        return [
            self._summary(other, agreement_of(found, lists), self.pytorch.get(other))
            for other, found in targets.items()
        ]

    def _summary(self, reference: str, found: NeighbourAgreement, before: NeighbourAgreement | None) -> Agreement:
        return summary(reference, found, self.seed, before, None if self.asked is None else QUERIES)


def summary(
    reference: str,
    found: NeighbourAgreement,
    seed: int,
    before: NeighbourAgreement | None = None,
    queries: int | None = None,
) -> Agreement:
    """Summarize an agreement with its intervals.

    Args:
        before: PyTorch's agreement with the same reference, to report the drop.
        queries: Number of queries, if they were drawn from more.
    """
    drops = None
    if before is not None:
        drops = {k: paired_drop_ci(before.overlaps[k], values, None, seed=seed) for k, values in found.overlaps.items()}
    defined = found.correlations[~np.isnan(found.correlations)]
    return Agreement(
        reference=reference,
        overlap=found.overlap,
        overlap_ci95={k: bootstrap_ci(values, None, seed=seed) for k, values in found.overlaps.items()},
        rank_correlation=found.correlation,
        rank_correlation_ci95=bootstrap_ci(defined, None, seed=seed) if len(defined) > 1 else None,
        ranked=found.ranked,
        overlap_drop=drops and {k: RecallDrop(value=drop.value, ci95=drop.ci95) for k, drop in drops.items()},
        queries=queries,
    )
