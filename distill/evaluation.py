"""Embed an image set with a checkpoint, and score the embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distill.console import Failure, progress
from distill.data.batches import pixel_batches
from distill.data.imageset import ImageSet
from distill.data.preprocess import Preprocessing
from distill.metrics import agreement_of, neighbour_lists, retrieval_scores

if TYPE_CHECKING:
    from distill.models.embedder import Embedder

__all__ = ["Embeddings", "agreement_at", "compare_neighbours", "embed_images", "score"]


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of the readable images of an image set.

    Attributes:
        rows: float32 [N, D], unit length.
        labels: int64 [N]; None for images without labels.
        indices: int64 [N], positions in the image set.
    """

    rows: np.ndarray
    labels: np.ndarray | None
    indices: np.ndarray

    @classmethod
    def of(cls, images: ImageSet, indices: np.ndarray, rows: np.ndarray) -> Embeddings:
        """Return rows [N, D] with the labels, if there are any, of the images that they belong to."""
        return cls(rows, images.labels[indices] if images.labelled else None, indices)

    def only(self, indices: np.ndarray) -> Embeddings:
        """Return the embeddings of the images with these indices, as far as there are any."""
        kept = np.isin(self.indices, indices)
        if kept.all():
            return self
        return Embeddings(self.rows[kept], None if self.labels is None else self.labels[kept], self.indices[kept])


def embed_images(
    model: Embedder,
    preprocessing: Preprocessing,
    images: ImageSet,
    batch_size: int = 32,
    label: str = "embedding",
    degrade: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Embeddings:
    """Embed ``images`` as a deployed model does: Pillow resize, centre crop, float32.

    Args:
        model: the network; its training mode is restored.
        preprocessing: how images become pixels.
        images: the image set; unreadable images are left out.
        batch_size: images per pass through the network.
        label: title of the progress bar.
        degrade: applied to each image's pixels, uint8 [H, W, 3], after resize and crop.

    Raises:
        Failure: no readable image, or an embedding that is not finite.
    """
    import torch

    from distill.models.parallel import map_batches

    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    indices = []

    def pixels() -> Iterator[np.ndarray]:
        for batch, numbers in pixel_batches(images, preprocessing, batch_size=batch_size, label=label):
            indices.append(numbers)
            yield batch

    @torch.inference_mode()
    def embed(batch: np.ndarray) -> np.ndarray:
        if degrade is not None:
            batch = np.stack([degrade(pixels) for pixels in batch])
        scaled = torch.from_numpy(preprocessing.scale(batch)).to(device).permute(0, 3, 1, 2)
        return model(scaled).float().cpu().numpy()

    try:
        embeddings = map_batches(embed, pixels(), device)
    finally:
        model.train(was_training)
    found = np.concatenate(indices)
    if not np.isfinite(embeddings).all():
        raise Failure("the network returns embeddings that are not finite", "train again with a lower --lr or --clip 1")
    return Embeddings(embeddings, images.labels[found] if images.labelled else None, found)


def score(
    queries: Embeddings, gallery: Embeddings | None = None, ks: tuple[int, ...] = (1, 2, 4, 8), with_nmi: bool = False
) -> dict[str, float]:
    """Compute Recall@K, MAP@R and R-precision, each 0..1, under the keys of ``model.json``.

    Args:
        queries: the images searched for.
        gallery: the embeddings searched in; None searches ``queries``, each query itself excluded. In a
            gallery of the same images (equal ``indices``) by another model, each query is excluded as well.
        ks: the K of Recall@K.
        with_nmi: also cluster the queries and report ``nmi``.

    Raises:
        Failure: the images have no labels.
    """
    if queries.labels is None or (gallery is not None and gallery.labels is None):
        raise Failure(
            "Recall@K needs labels", "give images with labels, or compare neighbours with those of a reference"
        )
    with progress("scoring", None):
        if gallery is None:
            scores = retrieval_scores(queries.rows, queries.labels, ks)
        else:
            same_images = np.array_equal(queries.indices, gallery.indices)
            scores = retrieval_scores(queries.rows, queries.labels, ks, gallery.rows, gallery.labels, same_images)
    result = {f"recall@{k}": value for k, value in scores.recall.items()}
    result |= {"map@r": scores.map_at_r, "r_precision": scores.r_precision}
    if with_nmi:
        from distill.metrics import nmi

        with progress("clustering for NMI", None):
            result["nmi"] = nmi(queries.rows, queries.labels)
    return result


def compare_neighbours(
    queries: Embeddings, reference: Embeddings, gallery: Embeddings | None = None
) -> dict[str, float]:
    """Compute how far a model finds what a reference finds, under the keys of ``model.json``. Needs no labels.

    Args:
        queries: the images by the model.
        reference: the same images by the reference.
        gallery: the same images by the model that indexes the gallery; None: the queries search each other.

    Returns:
        ``agreement@1``, ``agreement@10``, ``agreement@20`` (those that are fewer than the other images), each 0..1, and
        ``rank_correlation``, −1..1, unless it is undefined; see :mod:`distill.metrics.agreement`.

    Raises:
        Failure: fewer than three images, or not the same ones.
    """
    for other in (reference, gallery):
        if other is not None and not np.array_equal(queries.indices, other.indices):
            raise Failure("the images changed while they were being read", "run again")
    found = neighbour_lists(queries.rows, gallery=None if gallery is None else gallery.rows)
    result = agreement_of(neighbour_lists(reference.rows), found)
    values = {f"agreement@{k}": value for k, value in result.overlap.items()}
    return values if result.correlation is None else values | {"rank_correlation": result.correlation}


def agreement_at(values: dict[str, float], k: int = 10) -> tuple[str, float]:
    """Return the name and value of the agreement at the largest K of at most ``k``: what validation compares."""
    name = f"agreement@{max(int(key.partition('@')[2]) for key in values if '@' in key and int(key.partition('@')[2]) <= k)}"
    return name, values[name]
