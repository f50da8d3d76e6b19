"""Build one target with the repairs asked for, and compare the file with PyTorch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.console import Failure, note, progress, warn
from distill.files import sha256_file
from export.bundle.runtime import open_file
from export.bundle.schema import FineTuning, Tolerance, Variant
from export.cache import foreign_code
from export.check import check_embeddings, reference_embeddings, why_failed
from export.int8.layer_errors import LayerError
from export.int8.repair.methods import AUTO, METHODS, is_trained, methods_of, steps_of, without_training
from export.job import BuiltFile, Job
from export.options import ExportOptions
from export.samples.calibration import CalibrationImages, ExportSamples, plain_text
from export.targets import Target

__all__ = ["REPAIR_MEAN_COSINE", "TargetResult", "attempt", "built_file"]

REPAIR_IMAGES = 64  # calibration images by which --repair auto chooses
# What auto aims at besides the tolerance: at a mean cosine of 0.977 and 0.991 Recall@1 fell by about a point, at
# 0.997 by nothing that could be measured (docs/quantization.md).
REPAIR_MEAN_COSINE = 0.995


@dataclass(frozen=True)
class TargetResult:
    """Result of one target: ``passed``; ``failed`` its check; ``broken``: no file was built.

    Attributes:
        target: the row of the registry.
        variant: description of the file; ``None`` if broken.
        expected: golden embeddings of this variant, float32 ``[N, D]``.
        problem: what is wrong; empty if passed.
        seconds: time of building alone.
        layers: the layer comparison, if asked for.
        inputs: SHA-256 of the input tensor of each golden image.
    """

    target: Target
    variant: Variant | None
    expected: np.ndarray | None
    problem: str = ""
    seconds: float = 0.0
    layers: tuple[LayerError, ...] = ()
    inputs: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """``"passed"``, ``"failed"`` or ``"broken"``."""
        if self.variant is None:
            return "broken"
        return "failed" if self.problem else "passed"


def built_file(scratch: Path, target: Target, method: str) -> Path:
    """Return where the file of a target lies until the bundle is packed."""
    return scratch / "out" / method.replace("+", "-") / f"{target.name}.{target.suffix}"


def attempt(
    target: Target, job: Job, samples: ExportSamples, reference: np.ndarray, options: ExportOptions
) -> TargetResult:
    """Build one target and compare it with PyTorch. A failure is a result: the other targets go on.

    Args:
        target: the row of the registry.
        job: inputs of the builders.
        samples: calibration, check and golden images.
        reference: PyTorch's embeddings of the check images, float32 ``[M, D]``.
        options: what the user chose.

    Raises:
        OSError, MemoryError: problems of this machine, which would hit the other targets too.
    """
    started = time.perf_counter()
    chosen = options.tolerances
    tolerance = chosen.get(target.name) or chosen.get(target.precision) or target.tolerance
    made_from = _made_from(target, job, samples, tolerance, options)
    try:
        with progress(f"building and checking {target.name}", None):
            path, variant = _take(target, job, made_from)
            kept = variant is not None
            if variant is None:
                path, variant = _build(target, job, tolerance, options)
            seconds = time.perf_counter() - started
            runner = open_file(path, variant, job.preprocessing)
            embeddings, golden = runner.embed(samples.check_pixels), runner.embed(samples.golden.pixels)
            inputs = runner.input_sha256(samples.golden.pixels)
            layers = _compare_layers(target, job, path, variant.repair, samples) if options.debug_layers else ()
    except Failure as failure:
        return TargetResult(target, None, None, str(failure))
    except (OSError, MemoryError):
        raise
    except Exception as error:  # converters raise all kinds of types
        if options.debug:
            raise
        first = (str(error).strip().splitlines() or [""])[0]
        problem = f"{type(error).__name__}: {first} (run again with --debug and report it)"
        return TargetResult(target, None, None, problem)
    check = check_embeddings(reference, embeddings, tolerance, samples.data)
    if job.cache and check.passed and not kept:
        job.cache.keep(made_from, path, variant)
    variant = variant.model_copy(update={"check": check})
    return TargetResult(target, variant, np.nan_to_num(golden), why_failed(check), seconds, layers, inputs)


def _made_from(
    target: Target, job: Job, samples: ExportSamples, tolerance: Tolerance, options: ExportOptions
) -> dict[str, Any]:
    """Return everything besides checkpoint, libraries and this package that decides what is built: the cache's key."""
    made_from: dict[str, Any] = {"target": target.name} | foreign_code(target.build)
    if not target.needs_calibration:
        return made_from
    # Under auto the tolerance has a say in what is built.
    auto = [tolerance.model_dump(), REPAIR_MEAN_COSINE] if options.repair == AUTO else []
    calibration = list(samples.record.pixels_sha256) if samples.record else []
    made_from |= {"range": str(job.rule), "exclude": str(job.exclusion)}
    made_from |= {"repair": options.repair, "auto": auto, "calibration": calibration}
    if foreign := [code for step in steps_of(options.repair) if (code := foreign_code(step))]:
        made_from["repair_code"] = foreign
    if is_trained(options.repair) and job.training is not None:  # its length would decode all images
        made_from |= {"qat": asdict(options.qat), "training": job.training.fingerprint}
    return made_from


def _take(target: Target, job: Job, made_from: dict[str, Any]) -> tuple[Path, Variant | None]:
    """Take the file of an earlier export and put it where a built one would lie."""
    path = built_file(job.scratch, target, "none")
    variant = job.cache.take(made_from, path) if job.cache else None
    if variant is None:
        return path, None
    note(f"{target.name}: reused from the cache")
    place = built_file(job.scratch, target, variant.repair)
    place.parent.mkdir(parents=True, exist_ok=True)
    path.replace(place)
    return place, variant


def _build(target: Target, job: Job, tolerance: Tolerance, options: ExportOptions) -> tuple[Path, Variant]:
    """Build with each repair asked for, and return the first file that is good enough on calibration images.

    Good enough: within the tolerance, and a mean cosine of at least ``REPAIR_MEAN_COSINE``. If none is, return the
    one with the highest mean cosine. The check images have no part in the choice: they judge the result. Training takes
    minutes, so it is tried only if no file before is within the tolerance.
    """
    methods: Sequence[str] = methods_of(options.repair) if target.needs_calibration else ("none",)
    if not target.trainable:
        methods = list(dict.fromkeys(without_training(method) for method in methods))
    tried: list[tuple[float, Path, Variant]] = []
    within = False
    for method in methods:
        if within and METHODS[method].trained:
            break
        note(f"building {target.name}" + ("" if method == "none" else f", repair {method}"))
        path = built_file(job.scratch, target, method)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            variant = _describe(target, target.build_file(job, path, method), path, method, job)
        except Failure as failure:
            if not tried or not METHODS[method].trained:
                raise
            warn(f"{target.name}: {failure}")  # auto has others to choose from
            continue
        if len(methods) == 1:
            return path, variant
        pixels = job.images.pixels[:REPAIR_IMAGES]
        wanted = reference_embeddings(job.model, pixels, job.preprocessing)
        check = check_embeddings(wanted, open_file(path, variant, job.preprocessing).embed(pixels), tolerance, "")
        tried.append((check.mean_cosine, path, variant))
        within = within or check.passed
        if check.passed and check.mean_cosine >= REPAIR_MEAN_COSINE:
            return path, variant
    _, path, variant = max(tried, key=lambda row: row[0])
    return path, variant


def _describe(target: Target, built: BuiltFile, path: Path, method: str, job: Job) -> Variant:
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
        fine_tuning=_fine_tuning(job, method) if trained else None,
    )


def _fine_tuning(job: Job, method: str) -> FineTuning | None:
    cosines = job.repaired(method).cosines
    if cosines is None or job.training is None or job.qat is None:
        return None
    return FineTuning(
        data=plain_text(job.training.images.spec),
        images=len(job.training),
        cosine_before=cosines[0],
        cosine_after=cosines[1],
        **asdict(job.qat),
    )


def _compare_layers(
    target: Target, job: Job, path: Path, method: str, samples: ExportSamples
) -> tuple[LayerError, ...]:
    if target.compare_layers is None:
        return ()
    images = CalibrationImages(samples.check_pixels, job.preprocessing, marked=False)
    return tuple(target.compare_layers(path.read_bytes(), job.repaired(method).exact, images.scaled()))
