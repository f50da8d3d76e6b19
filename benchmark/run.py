"""Run one benchmark: a bundle in, a result out, in phases.

Prepare (open everything, so that mistakes are found at once); measure on the device while the machine is quiet and
torch is not loaded; embed on the device and in PyTorch; score; judge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmark.agreement import Neighbours
from benchmark.devices import open_device
from benchmark.devices.base import Device, Memory, Timing
from benchmark.devices.power import Energy
from benchmark.devices.transport import Lost
from benchmark.facts import bundle_facts, data_facts, decoding, provenance_warnings, trained_class_warnings
from benchmark.gates import choose_candidate, judge
from benchmark.options import BenchmarkOptions
from benchmark.parity import Comparison, check_are_files, embed_all, geometry
from benchmark.pytorch import PYTORCH, TorchModel, checked_checkpoints
from benchmark.result import EnergyUse, Latency, Machine, Result, VariantResult
from benchmark.scoring import EmbeddedImages, Scored
from benchmark.stored_vectors import open_vectors
from benchmark.subject import Subject, choose_images
from benchmark.system import package_versions
from benchmark.text import plain
from benchmark.timing import Plan, interleave
from distill.console import Failure, UsageFailure, note, progress, still_progress
from distill.data.embeddings_file import EmbeddingsFile
from distill.data.imageset import UnreadableImage
from distill.data.known import Known, reopened
from distill.data.preprocess import Preprocessing
from distill.metrics import RetrievalScores
from export.bundle import Bundle, load_bundle

__all__ = ["Evidence", "measure"]

LATENCY_IMAGES = 16
Figure = TypeVar("Figure")


@dataclass(frozen=True)
class Evidence:
    """What the report's images are made of: the candidate's and PyTorch's embeddings, row by row."""

    subject: Subject
    indices: np.ndarray  # int64 [N]: row -> image of the subject
    candidate: np.ndarray | None  # float32 [N, D]; None: the candidate failed
    pytorch: np.ndarray | None
    scores: RetrievalScores | None  # the candidate's; None also without labels
    comparison: Comparison | None
    reference: tuple[str, np.ndarray] | None = (
        None  # without labels: whose neighbours the candidate's are compared with
    )


def measure(options: BenchmarkOptions) -> tuple[Result, Evidence]:
    """Measure a bundle.

    Example:
        >>> result, _ = measure(BenchmarkOptions(Path("runs/demo/bundle")))  # doctest: +SKIP
        >>> result.variant("tflite-int8").recall[1]  # doctest: +SKIP

    Raises:
        UsageFailure: an unknown device, variant, data spec, or a gate that cannot be measured.
        Failure: the bundle, the data or a checkpoint cannot be read.
    """
    job = _prepare(options)
    device = open_device(options.device, options.delegate, **options.device_options)
    done = False
    try:
        found = _run(job, device)
        done = True
        return found
    finally:
        device.close(done)


def _run(job: _Job, device: Device) -> tuple[Result, Evidence]:
    options = job.options
    subject = choose_images(job.bundle, options.data, options.split, options.part, options.limit, options.plan.seed)
    if options.source == "files":
        check_are_files(subject.images)
    if not subject.images.labelled:
        _refuse_label_limits(options, subject)
    warnings = provenance_warnings(job.bundle, options.checkpoint, subject)
    figures = _measure_on_device(job, device, subject, warnings)
    embedded = _embed(job, device, subject, warnings)
    scored = _score(job, device, subject, figures, embedded)
    return _result(job, device, subject, figures, embedded, scored, warnings)


# ---- prepare


@dataclass(frozen=True)
class _Job:
    """What the options refer to, opened and checked."""

    options: BenchmarkOptions
    bundle: Bundle
    names: list[str]  # of the variants to measure
    candidate: str
    checkpoints: list[tuple[str, Path]]  # PyTorch (the bundle's own) first
    vectors: EmbeddingsFile | None = None  # a gallery that the candidate's queries search too


def _refuse_label_limits(options: BenchmarkOptions, subject: Subject) -> None:
    """Refuse limits on Recall for images without labels."""
    instead = {
        "max_recall_drop": "min-agreement",
        "min_recall": "min-agreement",
        "max_asymmetric_drop": "min-agreement",
    }
    for name, other in instead.items():
        if getattr(options.limits, name) is not None:
            raise UsageFailure(
                f"--{name.replace('_', '-')} needs labels, and {plain(subject.spec)} has none", f"use --{other}"
            )


def _prepare(options: BenchmarkOptions) -> _Job:
    if options.limits.max_agreement_drop is not None and not (options.checkpoint and options.references):
        raise UsageFailure(
            "--max-agreement-drop compares PyTorch's and the candidate's agreement with a reference",
            "give --checkpoint DIR and --reference DIR",
        )
    for name in ("max_recall_drop", "min_cosine", "min_agreement", "min_rank_correlation"):
        if getattr(options.limits, name) is not None and options.checkpoint is None:
            raise UsageFailure(f"--{name.replace('_', '-')} needs PyTorch to compare with", "give --checkpoint DIR")
    if options.limits.max_asymmetric_drop is not None and not options.storage:
        raise UsageFailure("--max-asymmetric-drop needs the galleries of other models", "leave out --no-storage")
    if options.gallery_embeddings is not None and not options.storage:
        raise UsageFailure("--gallery-embeddings is a gallery to measure", "leave out --no-storage")
    bundle = load_bundle(options.bundle)
    names = [bundle.variant(name).name for name in options.variants] or [v.name for v in bundle.manifest.variants]
    vectors = None
    if options.gallery_embeddings is not None:
        vectors = open_vectors(options.gallery_embeddings, bundle.manifest.embedding_size)
    checkpoints = checked_checkpoints(options.checkpoint, options.references)
    return _Job(options, bundle, names, choose_candidate(names, options.candidate), checkpoints, vectors)


# ---- measure on the device


@dataclass(frozen=True)
class _Figures:
    """Figures of each variant that need no labels; ``memory`` and ``energy`` lack what could not be measured."""

    machine: Machine
    timings: dict[str, Timing]
    memory: dict[str, Memory]
    energy: dict[str, Energy]


def _measure_on_device(job: _Job, device: Device, subject: Subject, warnings: list[str]) -> _Figures:
    """Measure latency, memory and energy; append to ``warnings`` what could not be measured."""
    options = job.options
    machine = device.describe()
    machine.delegate = device.delegate
    pixels = _some_pixels(subject, job.bundle.manifest.preprocessing)
    if not len(pixels):  # the first few are unreadable: the bundle's own images do as well
        pixels = job.bundle.golden_pixels()
    timings, machine.latency = device.measure_latency(job.bundle, job.names, pixels, options.plan)

    able = [name for name in job.names if timings[name].error is None]
    memory: dict[str, Memory] = {}
    if options.memory:
        with progress(f"memory on {device.name}", None):
            memory = _optional("memory", lambda: device.peak_memory(job.bundle, able), warnings)
    energy: dict[str, Energy] = {}
    if options.energy:
        seconds = options.energy_seconds
        note(f"energy on {device.name}, {seconds:g} s for each variant …")
        energy = _optional("energy", lambda: device.energy(job.bundle, able, options.plan, seconds), warnings)
    return _Figures(machine, timings, memory, energy)


def _optional(what: str, measure: Callable[[], dict[str, Figure]], warnings: list[str]) -> dict[str, Figure]:
    """Call ``measure``; where it fails, warn and go on without these figures."""
    try:
        return measure()
    except Lost:
        raise
    except Failure as failure:
        warnings.append(f"{what} was not measured: {failure}")
        return {}


def _some_pixels(subject: Subject, preprocessing: Preprocessing) -> np.ndarray:
    """Return a few real images for the latency loop: uint8 [n, H, W, 3]; n is 0 if all of them are unreadable."""
    images, found = subject.images, []
    for index in range(min(LATENCY_IMAGES, len(images))):
        try:
            found.append(preprocessing.pixels(images.read(index)))
        except UnreadableImage:
            continue
    side = preprocessing.input_size
    return np.stack(found) if found else np.zeros((0, side, side, 3), np.uint8)


# ---- embed


def _embed(job: _Job, device: Device, subject: Subject, warnings: list[str]) -> EmbeddedImages:
    options, bundle = job.options, job.bundle
    models = [TorchModel(name, folder) for name, folder in job.checkpoints]
    trained = _trained_classes(bundle, subject)
    if options.checkpoint:
        trained = models[0].info.data.get("classes")
        if geometry(models[0].preprocessing) != geometry(bundle.manifest.preprocessing):
            warnings.append(
                "the bundle preprocesses images differently from its checkpoint: "
                "PyTorch was measured with the checkpoint's preprocessing"
            )
    known = Known.of(models[0].info.data) if options.checkpoint else None
    warnings += trained_class_warnings(subject, trained, known)
    found = embed_all(
        device, bundle, job.names, subject.images, models, options.plan.threads, options.source == "files"
    )
    keys = [subject.images.keys[index] for index in found.indices]
    labels = subject.images.labels[found.indices] if subject.images.labelled else None
    compared = options.checkpoint is not None
    return EmbeddedImages(found, labels, keys, models, compared, options.plan.seed)


def _trained_classes(bundle: Bundle, subject: Subject) -> list[str] | None:
    """Return the training classes of a bundle measured on other data than its own; its record holds only their number."""
    record = bundle.manifest.provenance.source.data
    if not subject.images.labelled:
        return None
    if (subject.spec, subject.split) == (record.get("spec"), str(record.get("split"))):
        return None
    return sorted(reopened(record).trained) or None


# ---- score


def _score(job: _Job, device: Device, subject: Subject, figures: _Figures, embedded: EmbeddedImages) -> Scored:
    """Score all embeddings, time the checkpoints, and collect the figures of each variant."""
    scored = Scored(Neighbours(len(embedded.keys), job.options.plan.seed))
    for model in embedded.models:
        latency = _torch_latency(model, subject, job.options.plan)
        with progress(f"scoring {model.name}", None):
            scored.add_model(model, embedded, latency)
    scored.compare_models(embedded)
    if embedded.models:
        figures.machine.packages |= package_versions(("torch", "timm"))
    for name in job.names:
        size, timing = job.bundle.variant(name).size_bytes, figures.timings[name]
        with progress(f"scoring {name}", None):
            scores = scored.add_variant(name, size, embedded, timing.error)
        _add_figures(scores, figures, device.emulated)
    if job.options.storage and scored.variants[job.candidate].status == "ok":
        note(f"galleries of {job.candidate} …")
        scored.measure_galleries(job.candidate, embedded, job.vectors)
    return scored


def _torch_latency(model: TorchModel, subject: Subject, plan: Plan) -> Latency | None:
    """Time a checkpoint alone, after the variants: its thread pool would disturb them."""
    pixels = _some_pixels(subject, model.preprocessing)
    if not len(pixels):
        return None
    model.set_threads(plan.threads)
    alone = Plan(threads=plan.threads, seed=plan.seed, end_to_end=0, seconds=3.0, min_samples=50, max_samples=500)
    with still_progress(f"latency of {model.name}") as show:
        samples, _ = interleave({model.name: model}, pixels, alone, show=show)
    return Latency.of(samples[model.name].invoke)


def _add_figures(variant: VariantResult, figures: _Figures, emulated: bool) -> None:
    timing = figures.timings[variant.name]
    if variant.status == "ok" and timing.samples and not emulated:
        variant.latency_ms = Latency.of(timing.samples.invoke)
        variant.end_to_end_ms = Latency.of(timing.samples.end_to_end)
        variant.init_ms, variant.first_run_ms = timing.init_ms, timing.first_run_ms
        variant.warmup_runs, variant.warmup_stable = timing.samples.warmup_runs, timing.samples.warmup_stable
    if memory := figures.memory.get(variant.name):
        variant.memory_bytes, variant.process_memory_bytes = memory.added, memory.process
    if energy := figures.energy.get(variant.name):
        variant.energy = EnergyUse.model_validate(asdict(energy))


# ---- judge


def _result(
    job: _Job,
    device: Device,
    subject: Subject,
    figures: _Figures,
    embedded: EmbeddedImages,
    scored: Scored,
    warnings: list[str],
) -> tuple[Result, Evidence]:
    options, variants = job.options, list(scored.variants.values())
    references = dict(scored.models)
    pytorch = references.pop(PYTORCH) if options.checkpoint else None
    data = data_facts(subject, embedded.labels, options.source == "files", len(embedded.keys))
    verdict = judge(
        scored.variants[job.candidate], variants, pytorch, figures.machine, options.limits, warnings, data.few_classes
    )
    result = Result(
        bundle=bundle_facts(job.bundle, options.bundle, job.names),
        variants=variants,
        pytorch=pytorch,
        references=list(references.values()),
        machine=figures.machine,
        data=data,
        decoding=decoding(device),
        verdict=verdict,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=plain(options.command),
    )
    evidence = Evidence(
        subject,
        embedded.found.indices,
        embedded.found.variants[job.candidate].embeddings,
        embedded.found.models.get(PYTORCH),
        scored.scores.get(job.candidate),
        scored.comparisons.get(job.candidate),
        _compared_with(result, embedded) if embedded.labels is None else None,
    )
    return result, evidence


def _compared_with(result: Result, embedded: EmbeddedImages) -> tuple[str, np.ndarray] | None:
    """Return the reference that the candidate's neighbours are shown beside."""
    name = result.agreement_reference
    if name is None:
        return None
    if name in embedded.found.models:
        return name, embedded.found.models[name]
    rows = embedded.found.variants[name].embeddings
    return None if rows is None else (name, rows)
