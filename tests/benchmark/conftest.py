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
    """Every variant runs on a toy; tests replace single entries to spoil them."""
    runners = {name: fakes.ToyRunner() for name in fakes.VARIANTS}

    def opened(bundle, name, threads=1):
        runner = runners[name]
        if isinstance(runner, Exception):
            raise runner
        return runner

    monkeypatch.setattr("benchmark.devices.host.open_variant", opened)
    return runners
