from __future__ import annotations

from pathlib import Path

import benchmark_fakes as fakes
import pytest


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return fakes.make_photos(tmp_path / "photos")


@pytest.fixture
def bundle_dir(tmp_path: Path, photos: Path) -> Path:
    return fakes.make_bundle(tmp_path / "bundle", f"folder:{photos}")


@pytest.fixture
def toy_engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, fakes.ToyRunner]:
    """Run every variant on a toy; tests replace single ones to spoil them."""
    return fakes.replace_engines(monkeypatch)


@pytest.fixture(scope="session")
def _measured(tmp_path_factory: pytest.TempPathFactory):
    from benchmark.gates import Limits
    from benchmark.run import BenchmarkOptions, measure
    from benchmark.timing import Plan

    folder = tmp_path_factory.mktemp("measured")
    photos = fakes.make_photos(folder / "photos")
    bundle = fakes.make_bundle(folder / "bundle", f"folder:{photos}")
    (folder / "student").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        fakes.replace_engines(patch)["tflite-int8"] = fakes.ToyRunner(noise=0.8)
        fakes.replace_torch(patch)
        return measure(
            BenchmarkOptions(
                bundle,
                part="all",
                checkpoint=folder / "student",
                references=[f"teacher={folder / 'student'}"],
                limits=Limits(max_size_kb=400, max_recall_drop=0.1),
                plan=Plan(seconds=0, min_samples=20, max_samples=20, warmup_max_runs=20),
                command="distill-bench 'a bundle'",
            )
        )


@pytest.fixture
def measured(_measured):
    """(result, evidence) of a run with a spoiled int8, compared with a toy checkpoint."""
    result, evidence = _measured
    result = result.model_copy(deep=True)
    # A busy machine must not affect these tests.
    result.machine.latency.drift, result.machine.latency.drift_flagged = 0.0, False
    return result, evidence


@pytest.fixture
def result(measured):
    return measured[0]
