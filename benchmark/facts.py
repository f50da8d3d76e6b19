"""Describe what was measured: the parts of a result about the bundle and the images, and warnings about them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.devices.base import Device
from benchmark.result import BundleFacts, Data, Decoding, Latency
from benchmark.subject import Subject
from benchmark.text import plain
from distill.data.known import Known
from distill.files import sha256_file
from export.bundle import Bundle

__all__ = ["bundle_facts", "data_facts", "decoding", "provenance_warnings", "trained_class_warnings"]


def bundle_facts(bundle: Bundle, path: Path, names: Sequence[str]) -> BundleFacts:
    """Describe the bundle; ``names`` are the variants measured."""
    manifest = bundle.manifest
    return BundleFacts(
        path=plain(str(path)),
        name=plain(manifest.name),
        embedding_size=manifest.embedding_size,
        input_size=manifest.preprocessing.input_size,
        sha256={name: bundle.variant(name).sha256 for name in names},
        provenance=_finite(
            manifest.provenance.model_dump(mode="json", exclude={"calibration": {"keys", "pixels_sha256"}})
        ),
    )


def _finite(value: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinity, which a bundle's free fields may hold and our JSON may not, by null."""
    return json.loads(plain(json.dumps(value)), parse_constant=lambda _: None)


def data_facts(subject: Subject, labels: np.ndarray | None, files: bool, count: int | None = None) -> Data:
    """Describe the images.

    Args:
        labels: int64 [N], labels of the readable images; None: they have none.
        files: Whether the device decoded them.
        count: N, needed without labels.
    """
    if count is None:
        assert labels is not None
        count = len(labels)
    sizes = None if labels is None else np.unique(labels, return_counts=True)[1]
    return Data(
        spec=plain(subject.spec),
        split=subject.split,
        part=subject.part,
        images=count,
        classes=None if sizes is None else len(sizes),
        fingerprint=subject.images.fingerprint(),
        skipped=len(subject.images) - count,
        available=subject.available,
        decoded_by="device" if files else "computer",
        interval_classes=None if sizes is None else int((sizes > 1).sum()),
    )


def decoding(device: Device) -> Decoding | None:
    """Summarize the device's times to decode and resize images; ``None`` if it decoded none, or is emulated."""
    if device.image_ms is None or device.emulated:
        return None
    decode, resize = np.rint(device.image_ms.T.astype(np.float64) * 1e6).astype(np.int64).tolist()
    return Decoding(decode_ms=Latency.of(decode), resize_ms=Latency.of(resize))


def provenance_warnings(bundle: Bundle, checkpoint: Path | None, subject: Subject) -> list[str]:
    """Warn if the checkpoint or the images are not those of the bundle, or only a sample is measured."""
    found = []
    if checkpoint:
        weights = checkpoint / "model.safetensors"
        if weights.is_file() and sha256_file(weights) != bundle.manifest.provenance.source.sha256:
            found.append(f"{plain(str(checkpoint))} is not the checkpoint that this bundle was made from")
    if subject.changed:
        found.append(f"{plain(subject.spec)}: not the images that the model was trained on (the fingerprints differ)")
    if len(subject.images) < subject.available:
        found.append(
            f"measured on a sample of {len(subject.images)} of {subject.available} images: "
            f"{'Recall' if subject.images.labelled else 'agreement'} is higher than on all of them"
        )
    return found


def trained_class_warnings(subject: Subject, trained: object, known: Known | None = None) -> list[str]:
    """Warn if classes of the training (without labels, its images) are among those measured.

    Args:
        trained: Names of the training classes, from the checkpoint; a bundle holds only their number.
        known: What the checkpoint knows of its images; a bundle does not hold it.
    """
    if not subject.images.labelled:
        again = 0 if known is None else len(known.known_images(subject.images))
        if again:
            count = len(subject.images)
            return [f"{again} or more of {count} images were trained on: agreement is higher than on new ones"]
        if subject.part != "test":
            return [f"measured on the {subject.part} part, which holds images that the model was trained on"]
        return []
    shared = set(trained) & set(subject.images.classes) if isinstance(trained, list) else set()
    if shared:
        count = len(subject.images.classes)
        return [f"{len(shared)} of {count} classes were trained on: Recall is higher than on new ones"]
    if subject.part != "test":
        return [f"measured on the {subject.part} part, which holds classes that the model was trained on"]
    return []
