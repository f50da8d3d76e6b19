"""One target: built, by the repairs asked for, and compared with PyTorch."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.console import Failure, note, warn
from distill.files import sha256_file
from export.bundle.runtime import open_file
from export.bundle.schema import FineTuning, Licence, Tolerance, Variant
from export.check import check_embeddings, reference_embeddings, why_failed
from export.int8.layer_errors import LayerError, compare_layers
from export.int8.repair.methods import AUTO, METHODS, is_trained, methods_of, without_training
from export.int8.repair.settings import QatSettings
from export.samples.calibration import CalibrationImages, ExportSamples, plain_text
from export.targets import Built, Job, Target

__all__ = ["REPAIR_MEAN_COSINE", "Options", "Outcome", "attempt", "built_file"]

REPAIR_IMAGES = 64  # calibration images by which --repair auto chooses
# What auto aims at besides the tolerance: at a mean cosine of 0.977 and 0.991 Recall@1 fell by about a point, at
# 0.997 by nothing that could be measured (docs/quantization.md).
REPAIR_MEAN_COSINE = 0.995


@dataclass(frozen=True)
class Options:
    """What the user chose besides the checkpoint."""

    target: str = "all"
    quantize: str = "none,int8"
    io: str = "auto"
    calibration_data: str | None = None
    calibration_images: int = 200
    seed: int = 0
    tolerances: dict[str, Tolerance] | None = None
    name: str = ""
    licence: Licence = Licence()
    overwrite: bool = False
    debug: bool = False
    repair: str = "none"
    calibration_range: str = "minmax"
    exclude_layers: str = ""
    qat: QatSettings = QatSettings()
    debug_layers: Path | None = None
    cache_dir: Path | None = None  # None: "cache" beside the bundle
    use_cache: bool = True


@dataclass(frozen=True)
class Outcome:
    """One target's fate: ``passed``; ``failed`` its check; ``broken``: no file came out."""

    target: Target
    variant: Variant | None
    expected: np.ndarray | None  # golden embeddings of this variant
    problem: str = ""
    seconds: float = 0.0  # of the building alone
    layers: tuple[LayerError, ...] = ()

    @property
    def state(self) -> str:
        """One of passed, failed, broken."""
        if self.variant is None:
            return "broken"
        return "failed" if self.problem else "passed"


def built_file(scratch: Path, target: Target, method: str) -> Path:
    """Where the file of a target lies until it is packed."""
    return scratch / "out" / method.replace("+", "-") / f"{target.name}.{target.suffix}"


def attempt(target: Target, job: Job, samples: ExportSamples, reference: np.ndarray, options: Options) -> Outcome:
    """Build one target and compare it with PyTorch; whatever breaks, the other targets go on.

    Args:
        target: the row of the table.
        job: what builders draw on.
        samples: calibration, check and golden images.
        reference: PyTorch's embeddings of the check images, float32 ``[M, D]``.
        options: what the user chose.

    Raises:
        OSError, MemoryError: this machine's trouble.
    """
    started = time.perf_counter()
    chosen = options.tolerances or {}
    tolerance = chosen.get(target.name) or chosen.get(target.precision) or target.tolerance
    # By auto's choice the tolerance has a say in what is built.
    auto = [tolerance.model_dump(), REPAIR_MEAN_COSINE] if options.repair == AUTO else []
    made_from: dict[str, Any] = {"target": target.name}
    if target.needs_calibration:
        calibration = list(samples.record.pixels_sha256) if samples.record else []
        made_from |= {"range": str(job.rule), "exclude": str(job.exclusion)}
        made_from |= {"repair": options.repair, "auto": auto, "calibration": calibration}
        if is_trained(options.repair) and job.training:
            made_from |= {"qat": asdict(options.qat), "training": job.training.fingerprint}
    try:
        path, variant = _take(target, job, made_from)
        kept = variant is not None
        if variant is None:
            path, variant = _build(target, job, tolerance, options)
        seconds = time.perf_counter() - started
        runner = open_file(path, variant, job.preprocessing)
        embeddings, golden = runner.embed(samples.check_pixels), runner.embed(samples.golden.pixels)
        layers = _layers(target, job, path, samples) if options.debug_layers else ()
    except Failure as failure:
        return Outcome(target, None, None, str(failure))
    except (OSError, MemoryError):
        raise  # this machine's trouble, not this target's
    except Exception as error:  # converters raise all kinds of types; the other targets go on
        if options.debug:
            raise
        first = (str(error).strip().splitlines() or [""])[0]
        return Outcome(target, None, None, f"{type(error).__name__}: {first} (run again with --debug and report it)")
    check = check_embeddings(reference, embeddings, tolerance, samples.data)
    if job.cache and check.passed and not kept:
        job.cache.keep(made_from, path, variant)
    variant = variant.model_copy(update={"check": check})
    return Outcome(target, variant, np.nan_to_num(golden), why_failed(check), seconds, layers)


def _take(target: Target, job: Job, made_from: dict[str, Any]) -> tuple[Path, Variant | None]:
    """The file of an earlier export, put where a built one would lie."""
    path = built_file(job.scratch, target, "none")
    variant = job.cache.take(made_from, path) if job.cache else None
    if variant is None:
        return path, None
    note(f"{target.name}: as built before")
    job.repair = variant.repair
    place = built_file(job.scratch, target, variant.repair)
    place.parent.mkdir(parents=True, exist_ok=True)
    path.replace(place)
    return place, variant


def _build(target: Target, job: Job, tolerance: Tolerance, options: Options) -> tuple[Path, Variant]:
    """Build by the repairs asked for and take the first that is good enough on calibration images.

    Good enough: within the tolerance, mean cosine at least ``REPAIR_MEAN_COSINE``. If none is, the
    one with the highest mean cosine is taken. The check images have no say: they judge the result.
    """
    methods = methods_of(options.repair) if target.needs_calibration else ("none",)
    if target.scheme.activations != "int8":  # training simulates int8; other schemes get the rest of the repair
        methods = tuple(dict.fromkeys(without_training(method) for method in methods))
    tried: list[tuple[float, str, Path, Variant]] = []
    for method in methods:
        note(f"building {target.name}" + ("" if method == "none" else f", repair {method}"))
        job.repair = method
        path = built_file(job.scratch, target, method)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            variant = _describe(target, target.build(job, path), path, method, job)
        except Failure as failure:
            if not tried or not METHODS[method].trained:
                raise
            warn(f"{target.name}: {failure}")  # auto has others to choose from
            continue
        if len(methods) == 1:
            return path, variant
        pixels = job.calibration.pixels[:REPAIR_IMAGES]
        wanted = reference_embeddings(job.model, pixels, job.preprocessing)
        check = check_embeddings(wanted, open_file(path, variant, job.preprocessing).embed(pixels), tolerance, "")
        tried.append((check.mean_cosine, method, path, variant))
        if check.passed and check.mean_cosine >= REPAIR_MEAN_COSINE:
            return path, variant
    _, job.repair, path, variant = max(tried, key=lambda row: row[0])
    return path, variant


def _describe(target: Target, built: Built, path: Path, method: str, job: Job) -> Variant:
    trained = METHODS[method].trained
    return Variant(
        name=target.name,
        format=target.format,
        file=path.name,
        size_bytes=path.stat().st_size,
        sha256=sha256_file(path),
        scheme=target.scheme.model_copy(update={"method": "quantization_aware"}) if trained else target.scheme,
        input=built.input,
        output=built.output,
        operators=built.operators,
        producer=built.producer,
        calibration_range=built.calibration_range,
        in_float=built.in_float,
        recipe=built.recipe,
        repair=method,
        fine_tuning=_fine_tuning(job) if trained else None,
    )


def _fine_tuning(job: Job) -> FineTuning:
    before, after = job.repaired().cosines
    images = job.training.images
    return FineTuning(
        data=plain_text(images.spec),
        images=len(job.training),
        cosine_before=before,
        cosine_after=after,
        **asdict(job.qat),
    )


def _layers(target: Target, job: Job, path: Path, samples: ExportSamples) -> tuple[LayerError, ...]:
    if target.format != "tflite" or not target.needs_calibration:
        return ()
    images = CalibrationImages(samples.check_pixels, job.preprocessing, marked=False)
    return tuple(compare_layers(path.read_bytes(), job.repaired().exact, images.scaled()))
