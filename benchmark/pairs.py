"""Verification accuracy of every variant of a bundle, compared with PyTorch pair by pair."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.devices import open_device
from benchmark.options import PairOptions
from benchmark.parity import embed_all
from benchmark.pytorch import PYTORCH, TorchModel, checked_checkpoints
from distill.console import Failure, UsageFailure
from distill.data.spec import open_data
from distill.metrics import Verification, mcnemar_exact, paired_drop_ci
from distill.pair_protocol import PairProtocol, open_protocol, warn_of_known_people
from distill.versions import versions
from export.bundle import load_bundle

__all__ = ["measure_pairs"]


def measure_pairs(options: PairOptions) -> dict[str, Any]:
    """Judge the pairs of a protocol with every variant on the device, and with PyTorch.

    Every model has a threshold of its own, chosen by the protocol on its own similarities. The drop is PyTorch's share of
    correct pairs minus the variant's on the same pairs; its 95 % interval resamples people (the person of a pair's first
    image), because the pairs of one person tend to succeed and fail together.

    Returns:
        JSON-ready: ``bundle``, ``data``, ``pairs``, ``threshold_pairs``, ``count``, ``people``, ``device``, ``models``
        (the variants, ``PyTorch`` and references: ``name``, ``kind``, ``status``, ``error``, ``accuracy`` 0..1, ``ci95``,
        ``thresholds``, ``drop`` with ``value``, ``ci95``, ``lost``, ``gained`` and ``mcnemar_p``) and ``versions``.

    Raises:
        UsageFailure: no data, an unknown variant, or no pairs to choose the threshold on.
        Failure: bundle, checkpoint, data or lists cannot be read, or an image of the pairs is missing.
    """
    bundle = load_bundle(options.bundle)
    names = [bundle.variant(name).name for name in options.variants] or [v.name for v in bundle.manifest.variants]
    spec = options.data or bundle.manifest.provenance.source.data.get("spec")
    if not spec:
        raise UsageFailure(f"{bundle.directory}: the bundle records no data", "give --data lfw:PATH")
    named = checked_checkpoints(options.checkpoint, options.references)
    protocol = open_protocol(open_data(str(spec)), options.pairs, options.threshold_pairs)
    people = protocol.people  # needs labels: before minutes of embedding
    device = open_device(options.device, options.delegate, **options.device_options)
    done = False
    try:
        described = device.describe()
        models = [TorchModel(name, folder) for name, folder in named]
        found = embed_all(device, bundle, names, protocol.subset, models, options.threads)
        done = True
    finally:
        device.close(done)
    protocol.require_all(found.indices)
    for model in models:
        warn_of_known_people(model.info, protocol, f"{options.pairs} ({model.name})")
    torch_rows = {name: protocol.judge(rows) for name, rows in found.models.items()}
    rows: list[dict[str, Any]] = []
    for name in names:
        embedded = found.variants[name]
        if embedded.error is not None or embedded.embeddings is None:
            rows.append({"name": name, "kind": "variant", "status": "failed", "error": embedded.error})
            continue
        judged = protocol.judge(embedded.embeddings)
        rows.append(_row(name, "variant", judged, torch_rows.get(PYTORCH), protocol, options.seed))
    for name, judged in torch_rows.items():
        rows.append(_row(name, "checkpoint", judged, None, protocol, options.seed))
    if all(row["status"] == "failed" for row in rows):
        raise Failure("no variant could be measured", str(rows[0]["error"]))
    return {
        "bundle": str(bundle.directory),
        "data": str(spec),
        "pairs": options.pairs.name,
        "threshold_pairs": options.threshold_pairs.name if options.threshold_pairs else None,
        "count": len(protocol.asked),
        "people": len(people),
        "device": {"name": described.device, "cpu": described.cpu, "emulated": described.emulated},
        "models": rows,
        "versions": versions(),
    }


def _row(
    name: str,
    kind: str,
    judged: tuple[Verification, np.ndarray],
    reference: tuple[Verification, np.ndarray] | None,
    protocol: PairProtocol,
    seed: int,
) -> dict[str, Any]:
    found, hits = judged
    row: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "status": "ok",
        "error": None,
        "accuracy": found.accuracy,
        "ci95": list(found.ci95),
        "thresholds": list(found.thresholds),
        "drop": None,
    }
    if reference is not None:
        before = reference[1]
        person = protocol.images.labels[protocol.asked.left]
        drop = paired_drop_ci(before, hits, person, seed=seed, counted=np.ones(len(hits), bool))
        row["drop"] = {
            "value": drop.value,
            "ci95": list(drop.ci95),
            "lost": int((before & ~hits).sum()),
            "gained": int((hits & ~before).sum()),
            "mcnemar_p": mcnemar_exact(before, hits).p_value,
        }
    return row
