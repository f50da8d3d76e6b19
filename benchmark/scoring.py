"""Score the embeddings of variants and checkpoints, and compare each variant with PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from benchmark.parity import Comparison, VariantEmbeddings, compare, recall_intervals, score
from benchmark.pytorch import TorchModel
from benchmark.result import Latency, Reference, VariantResult
from benchmark.storage import asymmetric, storage
from benchmark.text import plain
from distill.metrics import RetrievalScores
from export.bundle.formats import FORMATS

__all__ = ["PYTORCH", "EmbeddedImages", "Scored"]

PYTORCH = "PyTorch"  # name of the checkpoint that the bundle was made from


@dataclass(frozen=True)
class EmbeddedImages:
    """Embeddings of the readable images by all variants and checkpoints.

    Attributes:
        labels: int64 [N], in the order of the rows.
        keys: Keys of the images, in the order of the rows.
        models: The checkpoints.
        compared: Whether the first of them is the one that the bundle was made from.
        seed: Seed of the bootstrap.
    """

    found: VariantEmbeddings
    labels: np.ndarray
    keys: list[str]
    models: list[TorchModel]
    compared: bool
    seed: int


@dataclass(frozen=True)
class Scored:
    """Results by name, and the scores behind them.

    Attributes:
        scores: Scores of the variants that ran.
        comparisons: Their comparison with PyTorch, where there is a checkpoint.
    """

    variants: dict[str, VariantResult] = field(default_factory=dict)
    scores: dict[str, RetrievalScores] = field(default_factory=dict)
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    models: dict[str, Reference] = field(default_factory=dict)
    model_scores: dict[str, RetrievalScores] = field(default_factory=dict)

    def add_model(self, model: TorchModel, embedded: EmbeddedImages, latency: Latency | None) -> None:
        """Score a checkpoint."""
        scores = self.model_scores[model.name] = score(embedded.found.models[model.name], embedded.labels)
        self.models[model.name] = Reference(
            name=model.name,
            path=plain(str(model.directory)),
            arch=model.info.arch,
            kind=model.info.kind,
            embedding_size=int(model.info.embedding_size),
            parameters=model.parameters,
            recall=scores.recall,
            recall_ci95=recall_intervals(scores, embedded.labels),
            map_at_r=scores.map_at_r,
            latency_ms=latency,
        )

    def add_variant(self, name: str, size: int, embedded: EmbeddedImages, error: str | None) -> VariantResult:
        """Score a variant and compare it with PyTorch.

        Args:
            size: Bytes of the model file.
            error: Why it could not be timed.
        """
        rows, labels, seed = embedded.found.variants[name], embedded.labels, embedded.seed
        error = error or rows.error
        if error or rows.embeddings is None:
            failed = VariantResult(name=name, status="failed", error=plain(str(error)), size_bytes=size)
            self.variants[name] = failed
            return failed
        scores = self.scores[name] = score(rows.embeddings, labels)
        variant = self.variants[name] = VariantResult(
            name=name,
            size_bytes=size,
            recall=scores.recall,
            recall_ci95=recall_intervals(scores, labels, seed),
            map_at_r=scores.map_at_r,
        )
        if embedded.compared:
            reference, reference_scores = embedded.found.models[PYTORCH], self.model_scores[PYTORCH]
            comparison = compare(reference, reference_scores, rows.embeddings, scores, labels, seed)
            self.comparisons[name] = comparison
            variant.cosine, variant.recall_drop = comparison.cosine, comparison.recall_drop
            variant.mcnemar_p, variant.flips = comparison.mcnemar_p, comparison.flips(embedded.keys)
        return variant

    def measure_galleries(self, candidate: str, embedded: EmbeddedImages) -> None:
        """Measure stored galleries of the candidate, and its queries on the galleries of other models."""
        rows, labels, seed = embedded.found.variants[candidate].embeddings, embedded.labels, embedded.seed
        assert rows is not None
        variant = self.variants[candidate]
        variant.storage = storage(rows, self.scores[candidate], labels, seed)
        variant.asymmetric = asymmetric(rows, labels, self._galleries(candidate, embedded), seed)

    def _galleries(self, candidate: str, embedded: EmbeddedImages) -> dict[str, tuple[np.ndarray, RetrievalScores]]:
        """Return the embeddings that can index a gallery for the candidate's queries.

        With a checkpoint: the network in PyTorch, and references that share its embedding space. Otherwise: a
        float32 variant.
        """
        found = embedded.found
        if embedded.compared:
            space = embedded.models[0].info.space
            return {
                model.name: (found.models[model.name], self.model_scores[model.name])
                for model in embedded.models
                if model is embedded.models[0] or (space is not None and space in (model.info.id, model.info.space))
            }
        for name in (f"{format_name}-float32" for format_name in FORMATS.names()):
            rows = found.variants[name].embeddings if name in found.variants else None
            if name != candidate and rows is not None and name in self.scores:
                return {name: (rows, self.scores[name])}
        return {}
