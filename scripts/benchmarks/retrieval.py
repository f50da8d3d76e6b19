"""Shared by the quantization benchmarks: load a student and its test images, and compute Recall@1 of a converted file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from distill.console import Failure
from distill.data.preprocess import Preprocessing
from distill.metrics import hits_at_k, paired_drop_ci
from export.bundle.runtime import VariantRunner, open_file
from export.bundle.schema import Variant
from export.check import cosines, reference_embeddings
from export.job import Job
from export.targets import Target

__all__ = [
    "CheckpointArgument",
    "DataOption",
    "PytorchReference",
    "SideOption",
    "TestImagesOption",
    "WeightsOption",
    "load_student",
    "open_built",
    "read_test_images",
    "retrieval_cells",
]

CheckpointArgument = Annotated[Path | None, typer.Argument(help="Student checkpoint.")]
WeightsOption = Annotated[
    str | None, typer.Option(help="Backbone weights in place of a checkpoint; pooled features, no linear layer.")
]
DataOption = Annotated[str | None, typer.Option(help="Data spec. Default: the checkpoint's own.")]
SideOption = Annotated[int, typer.Option(help="Input size for --weights, pixels.")]
TestImagesOption = Annotated[int, typer.Option(min=2, help="Maximum number of test images, in whole classes.")]


def load_student(
    checkpoint: Path | None, weights: str | None, data: str | None, side: int
) -> tuple[Any, Preprocessing, dict[str, Any]]:
    """Load a checkpoint, or MobileNetV1-0.25 from a weight file.

    Returns:
        The model, its preprocessing, and the record of its data (``spec``, ``split``).
    """
    from distill.models.checkpoint import load_checkpoint
    from distill.models.embedder import Embedder
    from distill.models.registry import build_backbone

    if checkpoint is not None:
        model, info = load_checkpoint(checkpoint)
        record = info.data if data is None else {"spec": data, "split": "half"}
        return model, info.preprocessing, record
    if weights is None or data is None:
        raise Failure("no student", "give a checkpoint, or --weights FILE and --data SPEC")
    model = Embedder(build_backbone("mobilenet_v1_025", weights), 0).eval()
    return model, model.backbone.default_preprocessing(side), {"spec": data, "split": "half"}


def read_test_images(record: dict[str, Any], preprocessing: Preprocessing, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels uint8 ``[n, side, side, 3]`` and labels of whole test classes, at most ``most`` images if possible."""
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
class PytorchReference:
    """Retrieval by PyTorch, with which every file is compared.

    Attributes:
        embeddings: float32 ``[n, D]``.
        hits: whether each image has one of its class as nearest neighbour, ``[n]``.
        labels: class of each image, ``[n]``.
    """

    embeddings: np.ndarray
    hits: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, model: Any, pixels: np.ndarray, labels: np.ndarray, preprocessing: Preprocessing) -> PytorchReference:
        embeddings = reference_embeddings(model, pixels, preprocessing)
        return cls(embeddings, hits_at_k(embeddings, labels, ks=(1,))[1], labels)

    def recall(self) -> float:
        """Return Recall@1, 0 to 1."""
        return float(self.hits.mean())

    def compare(self, embeddings: np.ndarray) -> dict[str, Any]:
        """Return mean and smallest cosine to PyTorch, Recall@1, its drop and the drop's 95 % interval over classes."""
        hits = hits_at_k(embeddings, self.labels, ks=(1,))[1]
        drop, near = paired_drop_ci(self.hits, hits, self.labels), cosines(self.embeddings, embeddings)
        return {
            "mean_cosine": float(near.mean()), "min_cosine": float(near.min()), "recall@1": float(hits.mean()),
            "drop": drop.value, "drop_ci95": list(drop.ci95),
        }  # fmt: skip


def retrieval_cells(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return the table cells of a row of ``compare``: mean and min cosine, Recall@1 in %, drop with its interval."""
    low, high = (100 * end for end in row["drop_ci95"])
    return (
        f"{row['mean_cosine']:.4f}", f"{row['min_cosine']:.4f}", f"{100 * row['recall@1']:.2f}",
        f"{100 * row['drop']:+.2f} [{low:+.2f}, {high:+.2f}]",
    )  # fmt: skip


def open_built(job: Job, target: Target, path: Path, repair: str = "none") -> tuple[VariantRunner, tuple[str, ...]]:
    """Build ``target`` at ``path`` and open the file; also return the layers that stayed in float."""
    built = target.build_file(job, path, repair)
    variant = Variant(
        name=target.name, format=target.format, file=path.name, size_bytes=path.stat().st_size, sha256="0" * 64,
        scheme=target.scheme, input=built.input, output=built.output, operators=built.operators,
    )  # fmt: skip
    return open_file(path, variant, job.preprocessing), built.in_float
