"""One benchmark from start to end: bundle in, result out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.devices import Device, DeviceOptions, Memory, Timing, open_device
from benchmark.devices.power import Energy
from benchmark.devices.transport import Lost
from benchmark.gates import Limits, choose_candidate, judge
from benchmark.latency import interleave, summarise
from benchmark.machine import package_versions
from benchmark.parity import (
    Comparison,
    VariantEmbeddings,
    check_are_files,
    compare,
    embed_all,
    geometry,
    recall_intervals,
    score,
)
from benchmark.pytorch import TorchModel, parse_reference
from benchmark.result import BundleFacts, Data, Decoding, EnergyUse, Reference, Result, VariantResult
from benchmark.storage import asymmetric, storage
from benchmark.subject import Subject, choose_images
from benchmark.text import plain
from benchmark.timing import Plan
from distill.console import Failure, UsageFailure, note
from distill.data.imageset import UnreadableImage
from distill.data.preprocess import Preprocessing
from distill.files import sha256_file
from distill.metrics import RetrievalScores
from export.bundle import Bundle, load_bundle

__all__ = ["Evidence", "BenchmarkOptions", "measure"]

PYTORCH = "PyTorch"
LATENCY_IMAGES = 16
# PyTorch is timed alone, after the variants: its thread pool would disturb them.
TORCH_PLAN = {"seconds": 3.0, "min_samples": 50, "max_samples": 500}


@dataclass(frozen=True)
class BenchmarkOptions:
    """What to measure; see ``distill-bench run --help``."""

    bundle: Path
    device: str = "host"
    reach: DeviceOptions = field(default_factory=DeviceOptions)
    data: str | None = None
    split: str | None = None
    part: str = "test"
    limit: int | None = None
    checkpoint: Path | None = None
    references: Sequence[str] = ()
    variants: Sequence[str] = ()  # empty: all of the bundle
    candidate: str | None = None
    memory: bool = False
    energy_seconds: float | None = None  # that each variant runs on battery; None: energy is not measured
    files: bool = False  # the device decodes the pictures itself
    limits: Limits = field(default_factory=Limits)
    plan: Plan = field(default_factory=Plan)
    command: str = ""


@dataclass(frozen=True)
class Evidence:
    """What the report's pictures are made of: the candidate's and PyTorch's embeddings, row by row."""

    subject: Subject
    indices: np.ndarray  # int64 [N]: row -> image of the subject
    candidate: np.ndarray | None  # float32 [N, D]; None: the candidate failed
    pytorch: np.ndarray | None
    scores: RetrievalScores | None  # the candidate's
    comparison: Comparison | None


def measure(options: BenchmarkOptions) -> tuple[Result, Evidence]:
    """Measure a bundle.

    Latency comes first, while the machine is quiet and torch is not loaded.

    Raises:
        UsageFailure: an unknown device, variant, data spec, or a gate that cannot be measured.
        Failure: bundle, data or checkpoint cannot be read.
    """
    for name in ("max_recall_drop", "min_cosine"):
        if getattr(options.limits, name) is not None and options.checkpoint is None:
            raise UsageFailure(f"--{name.replace('_', '-')} needs PyTorch to compare with", "give --checkpoint DIR")
    bundle = load_bundle(options.bundle)
    names = [bundle.variant(name).name for name in options.variants] or [v.name for v in bundle.manifest.variants]
    candidate = choose_candidate(names, options.candidate)
    references = _named(options)
    device = open_device(options.device, options.reach)
    done = False
    try:
        found = _measure(options, device, bundle, names, candidate, references)
        done = True
        return found
    finally:
        device.close(done)


def _measure(
    options: BenchmarkOptions,
    device: Device,
    bundle: Bundle,
    names: Sequence[str],
    candidate: str,
    references: Sequence[tuple[str, Path]],
) -> tuple[Result, Evidence]:
    subject = choose_images(bundle, options.data, options.split, options.part, options.limit, options.plan.seed)
    if options.files:
        check_are_files(subject.images)
    warnings = _provenance_warnings(bundle, options, subject)

    machine = device.describe()
    machine.delegate = device.delegate
    pixels = _some_pixels(subject, bundle.manifest.preprocessing)
    if not len(pixels):  # the first few are unreadable: the bundle's own images do as well
        pixels = bundle.golden_pixels()
    timings, machine.latency = device.measure_latency(bundle, names, pixels, options.plan)

    memory: dict[str, Memory] = {}
    if options.memory:
        note(f"memory on {device.name} …")
        try:
            memory = device.peak_memory(bundle, [name for name in names if timings[name].error is None])
        except Lost:
            raise
        except Failure as failure:  # all else is worth having without it
            warnings.append(f"memory was not measured: {failure}")

    energy: dict[str, Energy] = {}
    if options.energy_seconds:
        note(f"energy on {device.name}, {options.energy_seconds:g} s for each variant …")
        try:
            energy = device.energy(
                bundle, [n for n in names if timings[n].error is None], options.plan, options.energy_seconds
            )
        except Lost:
            raise
        except Failure as failure:
            warnings.append(f"energy was not measured: {failure}")

    models = [TorchModel(name, folder) for name, folder in references]
    if options.checkpoint and geometry(models[0].preprocessing) != geometry(bundle.manifest.preprocessing):
        warnings.append(
            "the bundle preprocesses images differently from its checkpoint: PyTorch was measured with the checkpoint's way"
        )
    warnings += _seen_classes(subject, models[0].info.data.get("classes") if options.checkpoint else None)
    embedded = embed_all(device, bundle, names, subject.images, models, options.plan.threads, options.files)
    labels = subject.images.labels[embedded.indices]
    model_scores = {model.name: score(embedded.models[model.name], labels) for model in models}
    measured = [_reference(m, model_scores[m.name], labels, subject, options.plan) for m in models]
    pytorch = measured.pop(0) if options.checkpoint else None
    if models:
        machine.packages |= package_versions(("torch", "timm"))

    variants, found = [], {}
    for name in names:
        variant, scores, comparison = _variant(
            bundle,
            name,
            timings[name],
            embedded,
            labels,
            subject,
            (embedded.models[PYTORCH], model_scores[PYTORCH]) if pytorch else None,
            device,
            options.plan.seed,
        )
        if name in memory:
            variant.memory_bytes, variant.process_memory_bytes = memory[name].added, memory[name].process
        if name in energy:
            variant.energy = EnergyUse(**asdict(energy[name]))
        variants.append(variant)
        found[name] = (scores, comparison)
    judged = next(variant for variant in variants if variant.name == candidate)
    own, scores = embedded.variants[candidate].embeddings, found[candidate][0]
    if own is not None and scores is not None:
        note(f"galleries of {candidate} …")
        judged.storage = storage(own, scores, labels, options.plan.seed)
        judged.asymmetric = asymmetric(
            own,
            labels,
            _galleries(candidate, embedded, found, models, model_scores, pytorch is not None),
            options.plan.seed,
        )
    result = Result(
        bundle=_bundle_facts(bundle, options.bundle, names),
        variants=variants,
        pytorch=pytorch,
        references=measured,
        machine=machine,
        data=_data_facts(subject, embedded, labels, options.files),
        decoding=_decoding(device),
        verdict=judge(judged, variants, pytorch, machine, options.limits, warnings),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=plain(options.command),
    )
    evidence = Evidence(
        subject,
        embedded.indices,
        embedded.variants[candidate].embeddings,
        embedded.models.get(PYTORCH),
        *found[candidate],
    )
    return result, evidence


def _galleries(
    candidate: str,
    embedded: VariantEmbeddings,
    found: Mapping[str, tuple[RetrievalScores | None, Comparison | None]],
    models: Sequence[TorchModel],
    scores: Mapping[str, RetrievalScores],
    with_pytorch: bool,
) -> dict[str, tuple[np.ndarray, RetrievalScores]]:
    """Who may have indexed a gallery for the candidate's queries: the same network in float, and its teacher
    where they share a space."""
    galleries = {}
    if with_pytorch:
        own = models[0]
        galleries[PYTORCH] = (embedded.models[PYTORCH], scores[PYTORCH])
        for model in models[1:]:
            if own.info.space is not None and own.info.space in (model.info.id, model.info.space):
                galleries[model.name] = (embedded.models[model.name], scores[model.name])
    else:
        for name in ("tflite-float32", "onnx-float32"):
            rows = embedded.variants[name].embeddings if name in embedded.variants else None
            score = found[name][0] if rows is not None else None
            if name != candidate and rows is not None and score is not None and not galleries:
                galleries[name] = (rows, score)
    return galleries


def _named(options: BenchmarkOptions) -> list[tuple[str, Path]]:
    """Checkpoints to open, PyTorch (the bundle's own) first."""
    named = [(PYTORCH, options.checkpoint)] if options.checkpoint else []
    for text in options.references:
        name, folder = parse_reference(text)
        if name in [other for other, _ in named]:
            raise UsageFailure(f"--reference {text}: the name {name!r} stands twice", "name them apart: NAME=DIR")
        named.append((name, folder))
    for _, folder in named:  # now, and not after minutes of latency
        TorchModel.check(folder)
    return named


def _provenance_warnings(bundle: Bundle, options: BenchmarkOptions, subject: Subject) -> list[str]:
    found = []
    source = bundle.manifest.provenance.source
    if options.checkpoint:
        weights = options.checkpoint / "model.safetensors"
        if weights.is_file() and sha256_file(weights) != source.sha256:
            found.append(f"{plain(str(options.checkpoint))} is not the checkpoint that this bundle was made from")
    if subject.changed:
        found.append(f"{plain(subject.spec)}: not the images that the model was trained on (the fingerprints differ)")
    if len(subject.images) < subject.available:
        found.append(
            f"measured on a sample of {len(subject.images)} of {subject.available} images: fewer images to "
            "confuse make Recall higher than on all of them"
        )
    return found


def _seen_classes(subject: Subject, trained: object) -> list[str]:
    """A warning where classes of the training are among those measured.

    Args:
        trained: the names of the training classes, from the checkpoint; a bundle holds only their number.
    """
    shared = set(trained) & set(subject.images.classes) if isinstance(trained, list) else set()
    if shared:
        count = len(subject.images.classes)
        return [f"{len(shared)} of {count} classes were trained on: Recall is higher than on new ones"]
    if subject.part != "test":
        return [f"measured on the {subject.part} part, which holds classes that the model was trained on"]
    return []


def _some_pixels(subject: Subject, preprocessing: Preprocessing) -> np.ndarray:
    """A few real images for the latency loop: uint8 [n, H, W, 3]; n may be 0 if all of them are unreadable."""
    images, found = subject.images, []
    for index in range(min(LATENCY_IMAGES, len(images))):
        try:
            found.append(preprocessing.pixels(images.read(index)))
        except UnreadableImage:
            continue
    side = preprocessing.input_size
    return np.stack(found) if found else np.zeros((0, side, side, 3), np.uint8)


def _reference(
    model: TorchModel, scores: RetrievalScores, labels: np.ndarray, subject: Subject, plan: Plan
) -> Reference:
    latency = None
    pixels = _some_pixels(subject, model.preprocessing)
    if len(pixels):
        model.set_threads(plan.threads)
        alone = Plan(threads=plan.threads, seed=plan.seed, end_to_end=0, **TORCH_PLAN)
        samples, _ = interleave({model.name: model}, pixels, alone, label=f"latency of {model.name}")
        latency = summarise(samples[model.name].invoke)
    return Reference(
        name=model.name,
        path=plain(str(model.directory)),
        arch=model.info.arch,
        kind=model.info.kind,
        embedding_size=int(model.info.embedding_size),
        parameters=model.parameters,
        recall=scores.recall,
        recall_ci95=recall_intervals(scores, labels),
        map_at_r=scores.map_at_r,
        latency_ms=latency,
    )


def _variant(
    bundle: Bundle,
    name: str,
    timing: Timing,
    embedded: VariantEmbeddings,
    labels: np.ndarray,
    subject: Subject,
    pytorch: tuple[np.ndarray, RetrievalScores] | None,
    device: Device,
    seed: int,
) -> tuple[VariantResult, RetrievalScores | None, Comparison | None]:
    size = bundle.variant(name).size_bytes
    rows = embedded.variants[name]
    error = timing.error or rows.error
    if error or rows.embeddings is None:
        return VariantResult(name=name, status="failed", error=plain(str(error)), size_bytes=size), None, None
    scores = score(rows.embeddings, labels)
    variant = VariantResult(
        name=name,
        size_bytes=size,
        recall=scores.recall,
        recall_ci95=recall_intervals(scores, labels, seed),
        map_at_r=scores.map_at_r,
    )
    if timing.samples and not device.emulated:
        variant.latency_ms = summarise(timing.samples.invoke)
        variant.end_to_end_ms = summarise(timing.samples.end_to_end)
        variant.init_ms, variant.first_run_ms = timing.init_ms, timing.first_run_ms
        variant.warmup_runs, variant.warmup_stable = timing.samples.warmup_runs, timing.samples.warmup_stable
    comparison = None
    if pytorch is not None:
        comparison = compare(*pytorch, rows.embeddings, scores, labels, seed)
        keys = [subject.images.keys[index] for index in embedded.indices]
        variant.cosine, variant.recall_drop = comparison.cosine, comparison.recall_drop
        variant.mcnemar_p, variant.flips = comparison.mcnemar_p, comparison.flips(keys)
    return variant, scores, comparison


def _bundle_facts(bundle: Bundle, path: Path, names: Sequence[str]) -> BundleFacts:
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
    """Without NaN and infinity, which a bundle's free fields may hold and our JSON may not."""
    return json.loads(plain(json.dumps(value)), parse_constant=lambda _: None)


def _decoding(device: Device) -> Decoding | None:
    if device.image_ms is None or device.emulated:
        return None
    decode, resize = np.rint(device.image_ms.T.astype(np.float64) * 1e6).astype(np.int64).tolist()
    return Decoding(decode_ms=summarise(decode), resize_ms=summarise(resize))


def _data_facts(subject: Subject, embedded: VariantEmbeddings, labels: np.ndarray, files: bool) -> Data:
    return Data(
        spec=plain(subject.spec),
        split=subject.split,
        part=subject.part,
        images=len(labels),
        classes=len(np.unique(labels)),
        fingerprint=subject.images.fingerprint(),
        skipped=len(subject.images) - len(labels),
        available=subject.available,
        decoded_by="device" if files else "computer",
    )
