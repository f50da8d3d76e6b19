"""Export a checkpoint: build every target, compare each file with PyTorch, pack the bundle."""

from __future__ import annotations

import datetime
import hashlib
import shutil
import tempfile
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.console import Failure, UsageFailure, note
from distill.files import atomic_dir, write_json
from export.attempt import TargetResult, attempt, built_file
from export.bundle.card import CARD_FILE, model_card
from export.bundle.formats import FORMATS
from export.bundle.read import load_bundle
from export.bundle.schema import (
    BUNDLE_FILE,
    SCHEMA_VERSION,
    Golden,
    GoldenFile,
    GoldenVectors,
    Licence,
    Manifest,
    Provenance,
    RawFile,
    Source,
    Variant,
)
from export.cache import BuildCache, code_hash
from export.check import reference_embeddings
from export.int8.ranges import parse_rule
from export.int8.repair.methods import AUTO, is_trained, methods_of
from export.int8.sensitivity import chosen_layers, parse_exclusion
from export.int8.training_images import TrainingImages
from export.job import Job
from export.options import ExportOptions
from export.samples.calibration import ExportSamples, choose_samples, plain_text
from export.samples.golden import GoldenImages
from export.targets import Target, leave_out_unfit, select_targets

if TYPE_CHECKING:
    from distill.models.embedder import Embedder
    from distill.models.info import CheckpointInfo

__all__ = ["Export", "ExportOptions", "TargetResult", "export_bundle", "failed_folder", "refuse_existing"]

# Distributions besides those of the formats that decide what is built.
PACKAGES = ("torch", "numpy", "pillow")
FEWEST_IMAGES = 8  # calibration images by which --repair auto may choose; the calibration of int8 itself wants 100


@dataclass(frozen=True)
class Export:
    """Result of an export.

    Attributes:
        results: one for each target.
        folder: the bundle that was written; ``None`` if no target gave a file.
        repairable: whether ``--repair`` works on this network.
    """

    results: tuple[TargetResult, ...]
    folder: Path | None
    repairable: bool = False

    @property
    def passed(self) -> bool:
        """Whether every target passed."""
        return all(result.state == "passed" for result in self.results)


def failed_folder(out: Path) -> Path:
    """Return the folder beside ``out`` in which an export that failed its check is left for inspection."""
    return out.with_name(f"{out.name}.failed")


def export_bundle(checkpoint: str | Path, out: str | Path, options: ExportOptions | None = None) -> Export:
    """Export a checkpoint folder.

    Every target is tried, even if others fail. ``out`` is written only if all passed; otherwise the files that exist
    go to ``OUT.failed``.

    Args:
        checkpoint: folder that training wrote.
        out: folder of the bundle to write.
        options: see :class:`~export.options.ExportOptions`; ``None``: its defaults.

    Raises:
        UsageFailure: no such target, or ``out`` exists and may not be replaced.
        Failure: the checkpoint or the data cannot be read, or a named target cannot be built of this network.
    """
    checkpoint, out, options = Path(checkpoint), Path(out), options or ExportOptions()
    targets = select_targets(options.target, options.quantize, options.io)
    methods_of(options.repair)
    rule, exclusion = parse_rule(options.calibration_range), parse_exclusion(options.exclude_layers)
    refuse_existing(out, options.overwrite)
    from distill.models.checkpoint import load_checkpoint  # torch: only now that the command is right

    model, info = load_checkpoint(checkpoint)
    targets = leave_out_unfit(targets, model, options.target)
    calibrating = any(target.needs_calibration for target in targets)
    options = without_impossible_repair(options, model, calibrating)
    samples = choose_samples(
        info.preprocessing,
        info.data,
        options.calibration_data,
        options.calibration_images if calibrating else 0,
        options.seed,
    )
    if calibrating:
        options = without_uninformed_repair(options, len(samples.calibration or ()))
    reference = reference_embeddings(model, samples.check_pixels, info.preprocessing)
    golden = reference_embeddings(model, samples.golden.pixels, info.preprocessing)
    if not (np.isfinite(reference).all() and np.isfinite(golden).all()):
        raise Failure(f"{checkpoint}: PyTorch itself gives embeddings that are not finite", "train the student again")
    with tempfile.TemporaryDirectory(prefix="distill-export-") as scratch:
        cache = _cache(info, out, options) if options.use_cache else None
        training = None
        if is_trained(options.repair) and calibrating:
            store = cache.folder if cache else Path(scratch) / "pixels"
            training = TrainingImages(samples.source, frozenset(samples.held_out), info.preprocessing, store)
        job = Job(
            model,
            info.preprocessing,
            samples.calibration,
            Path(scratch),
            options.debug,
            cache=cache,
            training=training,
            qat=options.qat,
            rule=rule,
            exclusion=exclusion,
        )
        if exclusion.names and job.foldable:  # a wrong name is wrong usage, not a broken target
            chosen_layers(replace(exclusion, worst=0), job.graph, ())
        results = tuple(attempt(target, job, samples, reference, options) for target in targets)
        folder = _pack(results, out, Path(scratch), info, samples, golden, options, checkpoint)
    return Export(results, folder, job.foldable)


def _cache(info: CheckpointInfo, out: Path, options: ExportOptions) -> BuildCache:
    base = {"checkpoint": info.id, "versions": _versions(), "code": code_hash()}
    return BuildCache(options.cache_dir or out.parent / "cache", base)


def _versions() -> dict[str, str]:
    """Return the versions of the installed distributions that decide what is built."""
    packages = [*PACKAGES, *(package for _, known in FORMATS.items() for package in known.packages)]
    return {package: metadata.version(package) for package in dict.fromkeys(packages) if _installed(package)}


def refuse_existing(out: Path, overwrite: bool) -> None:
    """Refuse to replace anything but a bundle, and a bundle without ``overwrite``. An empty folder may be replaced.

    Raises:
        UsageFailure: ``out`` may not be replaced.
    """
    for folder in (out, failed_folder(out)):
        if not folder.exists() and not folder.is_symlink():
            continue
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            continue
        if folder.is_symlink() or not (folder / BUNDLE_FILE).is_file():
            raise UsageFailure(f"{folder}: exists and is not a bundle", "choose another --out")
        if not overwrite and folder == out:
            raise UsageFailure(f"{folder}: exists", "give --overwrite to replace this bundle, or another --out")


def without_impossible_repair(options: ExportOptions, model: Embedder, calibrating: bool) -> ExportOptions:
    """Turn ``--repair auto`` off for a network that cannot be folded; said only if a target could have used it.

    Raises:
        Failure: a repair was named for such a network.
    """
    from export.graph.fold import FOLDED, can_fold

    if can_fold(model) or options.repair == "none":
        return options
    if options.repair != AUTO:
        raise Failure(f"{model.backbone.arch}: --repair {options.repair} works on {FOLDED} only", "use --repair none")
    if calibrating:
        note(f"no repair: it does not support {model.backbone.arch} yet")
    return options.model_copy(update={"repair": "none"})


def without_uninformed_repair(options: ExportOptions, images: int) -> ExportOptions:
    """Turn ``--repair auto`` off if there are too few calibration images to choose by."""
    if options.repair != AUTO or images >= FEWEST_IMAGES:
        return options
    note(
        f"no repair: {images} calibration images are too few to choose one by (--calibration-data with more, or name one)"
    )
    return options.model_copy(update={"repair": "none"})


@dataclass(frozen=True)
class _Made:
    """A target whose file exists."""

    target: Target
    variant: Variant
    expected: np.ndarray
    inputs: tuple[str, ...]


def _pack(
    results: tuple[TargetResult, ...],
    out: Path,
    scratch: Path,
    info: CheckpointInfo,
    samples: ExportSamples,
    golden: np.ndarray,
    options: ExportOptions,
    checkpoint: Path,
) -> Path | None:
    made = [
        _Made(result.target, result.variant, result.expected, result.inputs)
        for result in results
        if result.variant is not None and result.expected is not None
    ]
    if not made:
        return None
    whole = all(result.state == "passed" for result in results)
    folder = out if whole else failed_folder(out)
    with atomic_dir(folder) as temporary:
        for each in made:
            file = built_file(scratch, each.target, each.variant.repair)
            shutil.copyfile(file, temporary / each.variant.file)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            name=options.name or plain_text(checkpoint.resolve().name),
            preprocessing=info.preprocessing,
            embedding_size=golden.shape[1],
            normalisation="l2",
            variants=tuple(each.variant for each in made),
            golden=_write_golden(temporary, made, samples.golden, golden),
            provenance=_provenance(info, samples, options),
        )
        card = RawFile(**_write(temporary, CARD_FILE, model_card(manifest).encode()))
        manifest = manifest.model_copy(update={"model_card": card})
        write_json(temporary / BUNDLE_FILE, manifest.model_dump(mode="json"))
        load_bundle(temporary)  # a bundle that our own reader refuses is not published
    stale = failed_folder(out)
    if whole and (stale / BUNDLE_FILE).is_file() and not stale.is_symlink():
        shutil.rmtree(stale)
    return folder


def _write_golden(folder: Path, made: list[_Made], images: GoldenImages, reference: np.ndarray) -> Golden:
    (folder / "golden").mkdir()
    expected: dict[str, tuple[np.ndarray, float, tuple[str, ...]]] = {"pytorch": (reference, 0.99999, ())}
    expected |= {each.target.name: (each.expected, each.target.golden_min_cosine, each.inputs) for each in made}
    return Golden(
        count=len(images.pixels),
        keys=images.keys,
        pixels=RawFile(**_write(folder, "golden/pixels.u8", images.pixels.tobytes())),
        expected={
            name: GoldenVectors(
                **_write(folder, f"golden/{name}.f32", rows.astype("<f4").tobytes()),
                min_cosine=cosine,
                input_sha256=inputs,
            )
            for name, (rows, cosine, inputs) in expected.items()
        },
        files=tuple(
            GoldenFile(
                **_write(folder, f"golden/image{image.row}.{image.suffix}", image.content),
                row=image.row,
                width=image.width,
                height=image.height,
                decoded_sha256=image.decoded_sha256,
                pixels_sha256=hashlib.sha256(images.pixels[image.row].tobytes()).hexdigest(),
            )
            for image in images.files
        ),
    )


def _write(folder: Path, name: str, content: bytes) -> dict[str, Any]:
    (folder / name).write_bytes(content)
    return {"file": name, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _provenance(info: CheckpointInfo, samples: ExportSamples, options: ExportOptions) -> Provenance:
    versions = _versions()
    # Thousands of names tell an app nothing: of each list, its length.
    data = {
        key: len(value) if isinstance(value, (list, tuple, dict)) else value
        for key, value in info.data.items()
        if key != "image_sample"
    }
    return Provenance(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        tool=f"distill-export {metadata.version('distill-to-phone')}",
        source=Source(
            id=info.id,
            sha256=info.weights_sha256,
            kind=info.kind,
            arch=info.arch,
            space=info.space,
            weights=info.weights,
            training=info.training,
            data=data,
            metrics=info.metrics,
        ),
        calibration=samples.record,
        versions=versions,
        licence=Licence(model=options.licence or info.licence or "", data=options.data_licence),
    )


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
