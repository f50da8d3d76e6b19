"""The candidate's queries on stored vectors: the index of a server, or of an embedding service."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.parity import score
from benchmark.result import Asymmetric
from benchmark.storage import asymmetric, asymmetric_agreement
from distill.console import UsageFailure, warn
from distill.data.embeddings_file import EmbeddingsFile, read_embeddings

__all__ = ["open_vectors", "search_vectors"]


def open_vectors(path: Path, size: int) -> EmbeddingsFile:
    """Read a file of names and vectors, and compare its dimensions with the bundle's.

    Raises:
        UsageFailure: other dimensions.
        Failure: not such a file.
    """
    file = read_embeddings(path)
    if file.size != size:
        raise UsageFailure(
            f"--gallery-embeddings {path}: vectors of {file.size} dimensions, the bundle embeds into {size}",
            "give OUT/teacher/embeddings.npz of the student's run, which holds the reduced vectors",
        )
    return file


def search_vectors(
    file: EmbeddingsFile, queries: np.ndarray, labels: np.ndarray | None, keys: list[str], seed: int = 0
) -> list[Asymmetric]:
    """Measure queries on the stored vectors of the same images.

    Images without a vector are left out of both, and one line counts them.

    Args:
        file: names and vectors.
        queries: float32 [N, D].
        labels: int64 [N], or None.
        keys: names of the images.
        seed: of the bootstrap, and of the draw among many images.

    Raises:
        Failure: no image has a vector.
    """
    found = file.require(keys, 1.0, "the benchmark")
    kept = np.flatnonzero(found.rows >= 0)
    if len(kept) < len(keys):
        warn(f"{found.summary(file.path)}: they are left out of this gallery and its queries")
    name, vectors, asked = file.path.name, file.unit(found.rows[kept]), queries[kept]
    if labels is None:
        return asymmetric_agreement(asked, {name: vectors}, seed)
    known = labels[kept]
    return asymmetric(asked, known, {name: (vectors, score(vectors, known))}, seed)
