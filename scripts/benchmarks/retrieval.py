"""A student, its test images, and what a converted file retrieves of them: what the quantization benchmarks share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.console import Failure
from distill.data.preprocess import Preprocessing
from distill.metrics import hits_at_k, paired_drop_ci
from export.bundle.runtime import VariantRunner, open_file
from export.bundle.schema import Variant
from export.check import cosines, reference_embeddings
from export.job import Job
from export.targets import Target

__all__ = ["Reference", "load_student", "open_built", "read_test_images"]


def load_student(
    checkpoint: Path | None, weights: str | None, data: str | None, side: int
) -> tuple[Any, Preprocessing, dict[str, Any]]:
    """The model, its preprocessing, and where its images are: of a checkpoint, or MobileNetV1-0.25 of a weight file."""
    from distill.models.backbones import build_backbone
    from distill.models.checkpoint import load_checkpoint
    from distill.models.embedder import Embedder

    if checkpoint is not None:
        model, info = load_checkpoint(checkpoint)
        record = info.data if data is None else {"spec": data, "split": "half"}
        return model, info.preprocessing, record
    if weights is None or data is None:
        raise Failure("no student", "give a checkpoint, or --weights FILE and --data SPEC")
    model = Embedder(build_backbone("mobilenet_v1_025", weights), 0).eval()
    return model, model.backbone.default_preprocessing(side), {"spec": data, "split": "half"}


def read_test_images(record: dict[str, Any], preprocessing: Preprocessing, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 ``[n, side, side, 3]`` and labels of whole classes of the test part, about ``most`` images."""
    from distill.data.batches import pixel_batches
    from distill.data.spec import open_data
    from distill.data.split import split

    images = split(open_data(record["spec"]), rule=str(record["split"]), part="test")
    counts = np.cumsum(np.bincount(images.labels))
    classes = max(2, int(np.searchsorted(counts, most, side="right")))
    images = images.select(images.labels < classes)
    parts, order = zip(*pixel_batches(images, preprocessing, label="reading test images"), strict=True)
    return np.concatenate(parts), images.labels[np.concatenate(order)]


@dataclass
class Reference:
    """What PyTorch retrieves among the images: the measure of every file."""

    embeddings: np.ndarray
    hits: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, model: Any, pixels: np.ndarray, labels: np.ndarray, preprocessing: Preprocessing) -> Reference:
        embeddings = reference_embeddings(model, pixels, preprocessing)
        return cls(embeddings, hits_at_k(embeddings, labels, ks=(1,))[1], labels)

    def recall(self) -> float:
        """Recall@1, 0 to 1."""
        return float(self.hits.mean())

    def compare(self, embeddings: np.ndarray) -> dict[str, Any]:
        """Cosines to PyTorch's, Recall@1, its drop and the drop's 95 % interval over classes."""
        hits = hits_at_k(embeddings, self.labels, ks=(1,))[1]
        drop, near = paired_drop_ci(self.hits, hits, self.labels), cosines(self.embeddings, embeddings)
        return {
            "mean_cosine": float(near.mean()), "min_cosine": float(near.min()), "recall@1": float(hits.mean()),
            "drop": drop.value, "drop_ci95": list(drop.ci95),
        }  # fmt: skip


def open_built(job: Job, target: Target, path: Path, repair: str = "none") -> tuple[VariantRunner, tuple[str, ...]]:
    """Build ``target`` into ``path`` and open it; also the layers that stayed in float."""
    built = target.build_file(job, path, repair)
    variant = Variant(
        name=target.name, format=target.format, file=path.name, size_bytes=path.stat().st_size, sha256="0" * 64,
        scheme=target.scheme, input=built.input, output=built.output, operators=built.operators,
    )  # fmt: skip
    return open_file(path, variant, job.preprocessing), built.in_float
