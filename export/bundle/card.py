"""Write ``MODEL_CARD.md``: ``bundle.json`` for people. It says nothing that was not measured or stated.

The sections are those of Mitchell et al., "Model Cards for Model Reporting" (arXiv 1810.03993), as far as an
export has the facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from export.bundle.schema import Manifest, Variant

__all__ = ["CARD_FILE", "flat_metrics", "model_card"]

CARD_FILE = "MODEL_CARD.md"
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>!|~&])")
_NOT_STATED = "not stated"
_COLUMNS = (
    "variant", "kB", "weights, activations", "takes, gives", "repair", "operators", "images",
    "largest difference", "smallest cosine", "mean cosine", "",
)  # fmt: skip


def model_card(manifest: Manifest) -> str:
    """Return the card as Markdown. Names from files and data are escaped, so that they stay text."""
    return "\n".join(
        line
        for part in (_head, _use, _variants, _training, _calibration, _limits, _provenance)
        for line in (*part(manifest), "")
    )


def flat_metrics(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Turn ``{"test": {"recall@1": 0.7}}`` into ``("test recall@1", 0.7)``; skip everything that is not a number."""
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from flat_metrics(value, f"{prefix}{name} ")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)


def _head(manifest: Manifest) -> Iterator[str]:
    source = manifest.provenance.source
    yield f"# {_text(manifest.name)}"
    yield ""
    yield (
        f"An image embedder: it maps a picture to a unit vector of {manifest.embedding_size} numbers, such that "
        "pictures of the same thing have a high inner product. For retrieval; it does not predict classes."
    )
    yield ""
    yield f"- network: {_text(source.kind)} {_text(source.arch)}, checkpoint {_text(source.id)}"
    space = (
        f"that of teacher {_text(source.space)}; queries can search the teacher's gallery"
        if source.space
        else "its own"
    )
    yield f"- embedding space: {space}"
    yield f"- licence of the model: {_text(manifest.provenance.licence.model) or _NOT_STATED}"
    yield f"- licence of the training data: {_text(manifest.provenance.licence.data) or _NOT_STATED}"


def _use(manifest: Manifest) -> Iterator[str]:
    pre = manifest.preprocessing
    yield "## Input"
    yield ""
    yield (
        f"{pre.input_size} x {pre.input_size} pixels {pre.colour_order}: shorter side to {pre.resize_size} "
        f"({_text(pre.resize_rule)}), {pre.crop} crop, then (pixel - mean) / std with mean {_numbers(pre.mean)} and "
        f"std {_numbers(pre.std)}. `golden/` has test data for each step."
    )


def _variants(manifest: Manifest) -> Iterator[str]:
    yield "## Files"
    yield ""
    yield "Compared with PyTorch on pictures that were not used for calibration:"
    yield ""
    yield f"| {' | '.join(_COLUMNS)} |"
    yield "|---" * len(_COLUMNS) + "|"
    for variant in manifest.variants:
        yield f"| {' | '.join(_row(variant))} |"
    yield ""
    yield "The cosine tests the conversion. `distill-bench` measures Recall@K and latency on a device."
    trained = [variant.name for variant in manifest.variants if variant.fine_tuning]
    tuning = next((variant.fine_tuning for variant in manifest.variants if variant.fine_tuning), None)
    if tuning:
        yield ""
        yield (
            "Quantization-aware training against its own float embeddings, without labels "
            f"({', '.join(trained)}): {tuning.summary()}; images of {_text(tuning.data)}."
        )


def _row(variant: Variant) -> list[str]:
    scheme, check = variant.scheme, variant.check
    row = [
        variant.name,
        f"{variant.size_bytes / 1000:.1f}",
        f"{scheme.weights}, {scheme.activations}",
        f"{variant.input.dtype} {variant.input.layout}, {variant.output.dtype}",
        _text(variant.repair),
        str(sum(operator.count for operator in variant.operators)),
    ]
    if check is None:
        return [*row, "", "", "", "", "not checked"]
    numbers = [f"{check.max_abs_diff:.1e}", f"{check.min_cosine:.4f}", f"{check.mean_cosine:.4f}"]
    return [*row, str(check.images), *numbers, "passed" if check.passed else "**failed**"]


def _training(manifest: Manifest) -> Iterator[str]:
    source = manifest.provenance.source
    yield "## Training"
    yield ""
    data = source.data
    words = [f"{_text(str(data.get('spec', 'not recorded')))}"]
    words += [f"split {_text(str(data['split']))}"] if data.get("split") else []
    labelled = data.get("labels") is not False
    counts = ("images", "classes") if labelled else ("images",)
    words += [f"{data[key]} {key}" for key in counts if isinstance(data.get(key), int)]
    words += [] if labelled else ["no labels"]
    yield f"- data: {', '.join(words)}"
    if source.weights:
        named = ", ".join(f"{_text(str(k))} {_text(str(v))}" for k, v in source.weights.items())
        yield f"- first weights: {named}"
    method = source.training.get("method")
    if method:
        yield f"- method: {_text(str(method))}"
    metrics = list(flat_metrics(source.metrics))
    if not metrics:
        return
    yield ""
    yield "Measured in PyTorch when it was trained (0 to 1):"
    yield ""
    yield "| metric | value |"
    yield "|---|---|"
    for name, value in metrics:
        yield f"| {_text(name)} | {value:.4f} |"


def _calibration(manifest: Manifest) -> Iterator[str]:
    calibration = manifest.provenance.calibration
    yield "## Calibration"
    yield ""
    if calibration is None:
        yield "None."
        return
    part = f" ({_text(calibration.part)} part)" if calibration.part else ""
    yield (
        f"{calibration.count} images of {_text(calibration.data)}{part}, drawn with seed {calibration.seed}; "
        "they are listed in `bundle.json`."
    )
    for variant in manifest.variants:
        words = [f"ranges by {_text(variant.calibration_range)}"] if variant.calibration_range else []
        words += [f"in float: {', '.join(map(_text, variant.in_float))}"] if variant.in_float else []
        if words and (variant.calibration_range != "minmax" or variant.in_float):
            yield f"- {variant.name}: {'; '.join(words)}"


def _limits(manifest: Manifest) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield "- It works best on pictures like those it was trained on; nothing here was measured on others."
    yield f"- `golden/` contains {manifest.golden.count} of the pictures: do not publish it if they are private."
    raw = [variant.name for variant in manifest.variants if variant.output.renormalise]
    if raw:
        yield f"- Embeddings of {', '.join(raw)} are not exactly of unit length: divide by the length."


def _provenance(manifest: Manifest) -> Iterator[str]:
    origin = manifest.provenance
    yield "## Provenance"
    yield ""
    yield f"- made {_text(origin.created)} by {_text(origin.tool)}"
    yield f"- weights SHA-256 `{origin.source.sha256}`"
    yield f"- with {', '.join(f'{_text(name)} {_text(version)}' for name, version in origin.versions.items())}"


def _text(words: str) -> str:
    """Return the words as one line of plain text."""
    return _SPECIAL.sub(r"\\\1", " ".join(words.split()))


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else ", ".join(f"{value:g}" for value in values)
