"""Embed images with every variant and with PyTorch, score the embeddings and compare them.

The images are read and preprocessed once for all models that share the bundle's geometry
(resize, crop, size, colour order); a checkpoint with another geometry gets its own pass, with
its own preprocessing. A bundle that records the wrong preprocessing therefore shows as a drop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.devices.base import Batch, Device, Embedded
from benchmark.devices.transport import Undecodable
from benchmark.pytorch import TorchModel
from benchmark.result import Cosine, Flips, RecallDrop
from benchmark.text import plain
from distill.console import Failure, UsageFailure
from distill.data.batches import pixel_batches
from distill.data.imageset import ImageSet, UnreadableImage
from distill.data.preprocess import Preprocessing
from distill.metrics import (
    RetrievalScores,
    bootstrap_ci,
    mcnemar_exact,
    paired_drop_ci,
    retrieval_scores,
    unit_rows,
)
from export.bundle import Bundle

__all__ = [
    "KS",
    "Comparison",
    "VariantEmbeddings",
    "check_are_files",
    "compare",
    "cosine",
    "embed_all",
    "geometry",
    "recall_intervals",
    "score",
]

KS = (1, 2, 4, 8)
BATCH = 64
FLIP_KEYS = 50


@dataclass(frozen=True)
class VariantEmbeddings:
    """Embeddings of the readable images by every variant and checkpoint.

    Attributes:
        indices: int64 [N], positions in the image set.
        variants: by name, see :class:`Embedded`.
        models: name of the checkpoint -> float32 [N, D].
    """

    indices: np.ndarray
    variants: dict[str, Embedded]
    models: dict[str, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """One variant compared with PyTorch on the same queries."""

    recall_drop: dict[int, RecallDrop]
    mcnemar_p: float
    cosine: Cosine | None  # None: the dimensions differ
    lost: np.ndarray  # int64: rows whose nearest image is right in PyTorch only
    gained: np.ndarray

    def flips(self, keys: Sequence[str]) -> Flips:
        """Return the flipped queries by their keys; ``keys`` [N] in the order of the rows."""
        return Flips(
            lost=len(self.lost),
            gained=len(self.gained),
            lost_keys=[plain(keys[row]) for row in self.lost[:FLIP_KEYS]],
            gained_keys=[plain(keys[row]) for row in self.gained[:FLIP_KEYS]],
        )


def geometry(preprocessing: Preprocessing) -> dict[str, object]:
    """Return the part of the preprocessing that determines the pixels, without the scaling (mean, std)."""
    return preprocessing.model_dump(exclude={"mean", "std"})


def embed_all(
    device: Device,
    bundle: Bundle,
    variants: Sequence[str],
    images: ImageSet,
    models: Sequence[TorchModel],
    threads: int,
    files: bool = False,
) -> VariantEmbeddings:
    """Embed ``images`` with every variant on the device and every checkpoint in PyTorch.

    Args:
        files: Give the device the encoded files, which it decodes and preprocesses itself. PyTorch always gets the
            pixels decoded on this computer.

    Raises:
        Failure: no image is readable, a checkpoint gives NaN, or the device cannot decode one of the files.
        UsageFailure: ``files``, and the images are not files.
    """
    preprocessing = bundle.manifest.preprocessing
    sharing = [model for model in models if geometry(model.preprocessing) == geometry(preprocessing)]
    indices: list[np.ndarray] = []

    if files:
        check_are_files(images)

    def batches() -> Iterator[Batch]:
        for pixels, where in pixel_batches(images, preprocessing, batch_size=BATCH, label="embedding"):
            indices.append(where)
            for model in sharing:
                model.add(pixels)
            yield [_file(images, index) for index in where] if files else pixels

    try:
        embedded = device.embed(bundle, variants, batches(), threads)
    except Undecodable as bad:
        raise Failure(
            f"{images.spec}: {images.keys[np.concatenate(indices)[bad.number]]}: {bad.what}", bad.cure
        ) from None
    if not indices:
        raise Failure("no variant could be opened", "; ".join(f"{n}: {e.error}" for n, e in embedded.items()))
    rows = np.concatenate(indices)
    for model in models:
        if model in sharing:
            continue
        found = []
        for pixels, where in pixel_batches(images, model.preprocessing, batch_size=BATCH, label=model.name):
            found.append(where)
            model.add(pixels)
        if not np.array_equal(np.concatenate(found), rows):
            raise Failure(f"{images.spec}: images changed while they were being read", "run again")
    return VariantEmbeddings(rows, embedded, {model.name: model.embeddings() for model in models})


def check_are_files(images: ImageSet) -> None:
    """Refuse ``--from files`` for images that are drawn or computed.

    Raises:
        UsageFailure: the images are not files.
    """
    try:
        drawn = len(images) > 0 and images.read_bytes(0) is None
    except UnreadableImage:
        drawn = False  # a file, though a broken one
    if drawn:
        raise UsageFailure(
            f"--from files: the images of {images.spec} are not files", "use --from pixels, or other --data"
        )


def _file(images: ImageSet, index: int) -> bytes:
    try:
        return images.read_bytes(index) or b""
    except UnreadableImage as problem:
        raise Failure(f"{images.spec}: images changed while they were being read: {problem}", "run again") from None


def score(embeddings: np.ndarray, labels: np.ndarray) -> RetrievalScores:
    """Compute Recall@1/2/4/8, MAP@R and the hits of each query, every image against all others."""
    return retrieval_scores(embeddings, labels, KS)


def recall_intervals(scores: RetrievalScores, labels: np.ndarray, seed: int = 0) -> dict[int, tuple[float, float]]:
    """Compute the 95 % bootstrap interval of each recall, resampling classes."""
    counted = scores.counted
    return {k: bootstrap_ci(hits[counted].astype(float), labels[counted], seed=seed) for k, hits in scores.hits.items()}


def compare(
    reference: np.ndarray,
    reference_scores: RetrievalScores,
    variant: np.ndarray,
    scores: RetrievalScores,
    labels: np.ndarray,
    seed: int = 0,
) -> Comparison:
    """Compare a variant with PyTorch.

    Args:
        reference: PyTorch's embeddings, float32 [N, D].
        variant: The variant's embeddings of the same images, in the same order.
        labels: int64 [N].
    """
    counted = reference_scores.counted
    drops = {}
    for k, hits in scores.hits.items():
        drop = paired_drop_ci(reference_scores.hits[k], hits, labels, seed=seed, counted=counted)
        drops[k] = RecallDrop(value=drop.value, ci95=drop.ci95)
    before, after = reference_scores.hits[1], scores.hits[1]
    return Comparison(
        recall_drop=drops,
        mcnemar_p=mcnemar_exact(before[counted], after[counted]).p_value,
        cosine=cosine(reference, variant),
        lost=np.flatnonzero(before & ~after & counted),
        gained=np.flatnonzero(after & ~before & counted),
    )


def cosine(reference: np.ndarray, variant: np.ndarray) -> Cosine | None:
    """Compare two embeddings of each image, both [N, D]; None if their dimensions differ."""
    if reference.shape != variant.shape:
        return None
    values = np.einsum("nd,nd->n", unit_rows(reference), unit_rows(variant), dtype=np.float64)
    return Cosine(mean=float(values.mean()), min=float(values.min()))
