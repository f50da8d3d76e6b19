"""A backbone in one file outside the project: built, trained, saved, loaded and folded without another change."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from distill.console import Failure, UsageFailure, run_app
from distill.models.checkpoint import load_checkpoint, save_checkpoint
from distill.models.embedder import Embedder
from distill.models.info import CheckpointInfo
from distill.models.registry import BACKBONES, arch_help, build_backbone

EXAMPLE = Path(__file__).parents[2] / "examples" / "extend" / "backbone.py"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example as a module of another package."""
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copy(EXAMPLE, folder / "my_nano.py")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "my_nano", raising=False)
    return folder


@pytest.fixture
def nano(package: Path) -> Iterator[str]:
    with BACKBONES.added("nano", "my_nano:NANO"):
        yield "nano"


def test_built_by_name(nano: str) -> None:
    backbone = build_backbone(nano).eval()
    assert backbone.arch == nano and nano in arch_help()
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps, last = backbone.stages(x), backbone(x)
    shapes = [(2, c, 64 // s, 96 // s) for c, s in zip(backbone.stage_channels, (4, 8, 16, 32), strict=True)]
    assert [tuple(features.shape) for features in maps] == shapes
    assert torch.equal(maps[-1], last)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(suffix: str, nano: str, tmp_path: Path) -> None:
    theirs = build_backbone(nano).state_dict()
    # As a training program saves them: under a wrapper's prefix, with a classifier.
    content = {f"module.{name}": value for name, value in theirs.items()} | {"fc.weight": torch.zeros(3, 128)}
    path = tmp_path / f"nano{suffix}"
    save_file(content, path) if suffix == ".safetensors" else torch.save({"state_dict": content}, path)
    ours = build_backbone(nano, path)
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in theirs.items())
    assert ours.weights["source"] == path.name and ours.weights["layout"] == "own names"
    torch.save({"convs.0.weight": theirs["convs.0.weight"]}, tmp_path / "part.pth")
    with pytest.raises(Failure, match=r"part.pth: does not fit the network: lacks convs.1.weight"):
        build_backbone(nano, tmp_path / "part.pth")


def test_weights_that_do_not_exist(nano: str, tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match="nano: has no ImageNet weights"):
        build_backbone(nano, "imagenet")
    (tmp_path / "w.h5").write_bytes(b"x")
    with pytest.raises(UsageFailure, match="unknown kind of weights file '.h5'"):
        build_backbone(nano, tmp_path / "w.h5")


def test_a_checkpoint_comes_back_the_same(nano: str, tmp_path: Path) -> None:
    model = Embedder(build_backbone(nano), 16).eval()
    info = CheckpointInfo(
        kind="student", arch=nano, embedding_size=16, preprocessing=model.backbone.default_preprocessing(64)
    )
    save_checkpoint(tmp_path / "run", model, info)
    again, read = load_checkpoint(tmp_path / "run")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    assert read.arch == nano
    with torch.no_grad():
        assert np.allclose(model(x).norm(dim=1), 1, atol=1e-6)


def test_export_folds_it(nano: str) -> None:
    from export.graph.fold import can_fold, fold

    model = Embedder(build_backbone(nano), 16).eval()
    assert can_fold(model)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(x).numpy()
    found = fold(model, 64).run(x.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_command_trains_it(nano: str, tmp_path: Path) -> None:
    from distill.cli import app

    options = "--data glyphs:classes=4,faces=4,size=32 --epochs 1 --batch-size 8 --images-per-class 4 --threads 1"
    words = ["teacher", "--arch", nano, *options.split(), "--workers", "0", "--out", str(tmp_path / "run")]
    assert run_app(app, words) == 0
    model, info = load_checkpoint(tmp_path / "run")
    assert info.arch == nano and model.backbone.feature_size == 128


def test_an_installed_package_adds_it(package: Path) -> None:
    info = package / "my_nano-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-nano\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[distill_to_phone.backbones]\nnano = my_nano:NANO\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from distill.cli import app; from distill.console import run_app\n"
        "assert run_app(app, ['teacher', '--help']) == 0"
    )
    done = subprocess.run([sys.executable, "-c", code, str(package)], capture_output=True, text=True, check=True)
    assert "nano" in done.stdout
