"""Measure whether a checkpoint tells if two images show the same person, by the protocol of LFW."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from distill.console import UsageFailure
from distill.data.spec import open_data
from distill.evaluation import embed_images
from distill.metrics import Verification
from distill.models.checkpoint import load_checkpoint
from distill.pair_protocol import open_protocol, warn_of_known_people

__all__ = ["verify_run"]


def verify_run(
    run: Path,
    data: str | None,
    pairs_file: Path,
    threshold_file: Path | None = None,
    degrade: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Verification:
    """Measure the accuracy of a checkpoint on pairs of images.

    Args:
        run: folder of the checkpoint.
        data: data spec of the images; None for the one it was trained on.
        pairs_file, threshold_file: as in :func:`distill.pair_protocol.open_protocol`.
        degrade: applied to the pixels of every image, uint8 [H, W, 3].

    Raises:
        UsageFailure: no data, or a list of one set without another to choose the threshold on.
        Failure: a list is malformed, or one of its images is missing or unreadable.
    """
    model, info = load_checkpoint(run)
    spec = data or info.data.get("spec")
    if not spec:
        raise UsageFailure(f"{run} does not record its training data", "add --data lfw:PATH")
    protocol = open_protocol(open_data(spec), pairs_file, threshold_file)
    warn_of_known_people(info, protocol, str(pairs_file))
    found = embed_images(model, info.preprocessing, protocol.subset, degrade=degrade)
    protocol.require_all(found.indices)
    return protocol.judge(found.rows)[0]
