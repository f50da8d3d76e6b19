"""Score the embeddings of variants and checkpoints, and compare each variant with PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from benchmark.agreement import Neighbours
from benchmark.parity import Comparison, VariantEmbeddings, compare, cosine, recall_intervals, score
from benchmark.pytorch import PYTORCH, TorchModel
from benchmark.result import Latency, Reference, VariantResult
from benchmark.storage import asymmetric, asymmetric_agreement, storage, storage_agreement
from benchmark.stored_vectors import search_vectors
from benchmark.text import plain
from distill.data.embeddings_file import EmbeddingsFile
from distill.metrics import RetrievalScores
from export.bundle.formats import FORMATS

__all__ = ["EmbeddedImages", "Scored"]


@dataclass(frozen=True)
class EmbeddedImages:
    """Embeddings of the readable images by all variants and checkpoints.

    Attributes:
        labels: int64 [N], in the order of the rows; None: the images have no labels.
        keys: Keys of the images, in the order of the rows.
        models: The checkpoints.
        compared: Whether the first of them is the one that the bundle was made from.
        seed: Seed of the bootstrap.
    """

    found: VariantEmbeddings
    labels: np.ndarray | None
    keys: list[str]
    models: list[TorchModel]
    compared: bool
    seed: int


@dataclass(frozen=True)
class Scored:
    """Results by name, and the scores behind them.

    Attributes:
        scores: Scores of the variants that ran.
        comparisons: Their comparison with PyTorch, where there are a checkpoint and labels.
        neighbours: The nearest images by PyTorch and the references.
    """

    neighbours: Neighbours

    variants: dict[str, VariantResult] = field(default_factory=dict)
    scores: dict[str, RetrievalScores] = field(default_factory=dict)
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    models: dict[str, Reference] = field(default_factory=dict)
    model_scores: dict[str, RetrievalScores] = field(default_factory=dict)

    def add_model(self, model: TorchModel, embedded: EmbeddedImages, latency: Latency | None) -> None:
        """Score a checkpoint."""
        rows, labels = embedded.found.models[model.name], embedded.labels
        self.neighbours.add_reference(model.name, rows)
        reference = self.models[model.name] = Reference(
            name=model.name,
            path=plain(str(model.directory)),
            arch=model.info.arch,
            kind=model.info.kind,
            embedding_size=int(model.info.embedding_size),
            parameters=model.parameters,
            latency_ms=latency,
        )
        if labels is not None:
            scores = self.model_scores[model.name] = score(rows, labels)
            reference.recall, reference.map_at_r = scores.recall, scores.map_at_r
            reference.recall_ci95 = recall_intervals(scores, labels)

    def compare_models(self, embedded: EmbeddedImages) -> None:
        """Compare neighbours: of PyTorch's network with those of the references. Call it after the last ``add_model``.

        Without any checkpoint, a float32 variant is what the others are compared with.
        """
        if embedded.compared:
            self.models[PYTORCH].agreement = self.neighbours.of_pytorch(PYTORCH) or None
        if not embedded.models and embedded.labels is None:
            for name, rows in self._float32_variants(embedded):
                self.neighbours.add_reference(name, rows)
                return

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
        variant = self.variants[name] = VariantResult(name=name, size_bytes=size)
        variant.agreement = self.neighbours.of_variant(rows.embeddings, name) or None
        if embedded.compared:
            variant.cosine = cosine(embedded.found.models[PYTORCH], rows.embeddings)
        if labels is None:
            return variant
        scores = self.scores[name] = score(rows.embeddings, labels)
        variant.recall, variant.map_at_r = scores.recall, scores.map_at_r
        variant.recall_ci95 = recall_intervals(scores, labels, seed)
        if embedded.compared:
            reference, reference_scores = embedded.found.models[PYTORCH], self.model_scores[PYTORCH]
            comparison = compare(reference, reference_scores, rows.embeddings, scores, labels, seed)
            self.comparisons[name] = comparison
            variant.recall_drop = comparison.recall_drop
            variant.mcnemar_p, variant.flips = comparison.mcnemar_p, comparison.flips(embedded.keys)
        return variant

    def measure_galleries(
        self, candidate: str, embedded: EmbeddedImages, vectors: EmbeddingsFile | None = None
    ) -> None:
        """Measure stored galleries of the candidate, and its queries on ``vectors`` and the galleries of other models."""
        rows, labels, seed = embedded.found.variants[candidate].embeddings, embedded.labels, embedded.seed
        assert rows is not None
        variant = self.variants[candidate]
        galleries = self._galleries(candidate, embedded)
        if labels is None:
            variant.storage = storage_agreement(rows, seed)
            variant.asymmetric = asymmetric_agreement(rows, galleries, seed)
        else:
            scored = {name: (gallery, self._scores_of(name)) for name, gallery in galleries.items()}
            variant.storage = storage(rows, self.scores[candidate], labels, seed)
            variant.asymmetric = asymmetric(rows, labels, scored, seed)
        if vectors is not None:  # first: the gallery that was asked for is the one that a limit applies to
            searched = search_vectors(vectors, rows, labels, embedded.keys, seed)
            variant.asymmetric = [*searched, *variant.asymmetric]

    def _scores_of(self, name: str) -> RetrievalScores:
        return self.model_scores[name] if name in self.model_scores else self.scores[name]

    def _galleries(self, candidate: str, embedded: EmbeddedImages) -> dict[str, np.ndarray]:
        """Return the embeddings that can index a gallery for the candidate's queries.

        With a checkpoint: the network in PyTorch, and references that share its embedding space. Otherwise: a
        float32 variant.
        """
        if embedded.compared:
            space = embedded.models[0].info.space
            return {
                model.name: embedded.found.models[model.name]
                for model in embedded.models
                if model is embedded.models[0] or (space is not None and space in (model.info.id, model.info.space))
            }
        return dict([one for one in self._float32_variants(embedded) if one[0] != candidate][:1])

    def _float32_variants(self, embedded: EmbeddedImages) -> list[tuple[str, np.ndarray]]:
        found = []
        for name in (f"{format_name}-float32" for format_name in FORMATS.names()):
            rows = embedded.found.variants[name].embeddings if name in embedded.found.variants else None
            if rows is not None and (name in self.scores or embedded.labels is None):
                found.append((name, rows))
        return found
