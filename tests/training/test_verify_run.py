"""``distill-train evaluate --pairs``: the protocol of LFW on a miniature of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from distill.cli import app
from distill.console import Failure, run_app
from distill.data.lfw import read_pairs
from distill.data.spec import open_data
from distill.evaluation import embed_images
from distill.metrics import accuracy_at, best_threshold, verification_accuracy
from distill.models.checkpoint import load_checkpoint, save_checkpoint
from distill.models.embedder import Embedder
from distill.models.info import CheckpointInfo
from distill.models.registry import build_backbone
from distill.verification import verify_run

PEOPLE = ("Ann_Lee", "Bo_Ek", "Cy_Poe", "Di_Orr")


@pytest.fixture(scope="module")
def lfw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lfw")
    random = np.random.default_rng(0)
    for name in PEOPLE:
        pattern = random.integers(0, 256, (4, 4, 3))
        (root / "lfw" / name).mkdir(parents=True)
        for number in range(1, 5):
            pixels = np.kron(pattern, np.ones((12, 12, 1))) + random.normal(0, 60, (48, 48, 3))
            PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                root / "lfw" / name / f"{name}_{number:04d}.png"
            )
    lines = []
    for number in range(4):  # four sets of three matched and three mismatched pairs
        a, b = 1 + number % 3, 2 + number % 3
        lines += [f"{name} {a} {b}" for name in PEOPLE[:3]]
        lines += [f"{PEOPLE[i]} {a} {PEOPLE[i + 1]} {b}" for i in range(3)]
    (root / "pairs.txt").write_text("4\t3\n" + "\n".join(lines) + "\n")
    (root / "pairsDevTest.txt").write_text("3\n" + "\n".join(lines[:6]) + "\n")
    (root / "pairsDevTrain.txt").write_text(
        "6\n" + "\n".join([*lines[6:9], *lines[12:15], *lines[9:12], *lines[15:18]]) + "\n"
    )
    return root


@pytest.fixture(scope="module")
def run(lfw: Path) -> Path:
    torch.manual_seed(0)
    model = Embedder(build_backbone("mobilenet_v1_025"), 16).eval()
    info = CheckpointInfo(
        kind="student",
        arch="mobilenet_v1_025",
        embedding_size=16,
        preprocessing=model.backbone.default_preprocessing(32, 32),
        data={"spec": f"lfw:{lfw}?counts=any", "classes": ["Ann_Lee", "Zed"]},
    )
    save_checkpoint(lfw / "run", model, info)
    return lfw / "run"


def similarities(run: Path, lfw: Path, name: str):
    """By hand: every picture embedded, one product a pair."""
    images = open_data(f"lfw:{lfw}?counts=any")
    model, info = load_checkpoint(run)
    rows = embed_images(model, info.preprocessing, images).rows.astype(np.float64)
    pairs = read_pairs(lfw / name, images)
    return [float(rows[a] @ rows[b]) for a, b in zip(pairs.left, pairs.right, strict=True)], pairs


def test_ten_sets_or_as_many_as_there_are(run: Path, lfw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values, pairs = similarities(run, lfw, "pairs.txt")
    expected = verification_accuracy(values, pairs.same, pairs.fold)
    assert len(expected.accuracies) == 4
    capsys.readouterr()
    assert run_app(app, ["evaluate", str(run), "--pairs", str(lfw / "pairs.txt"), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)["metrics"]
    assert found["accuracy"] == pytest.approx(expected.accuracy)
    assert (found["ci95_low"], found["ci95_high"]) == pytest.approx(expected.ci95)
    assert found["standard_error"] == pytest.approx(expected.standard_error)
    assert "1 of its 4 people were trained on, e.g. Ann_Lee" in " ".join(err.split())


def test_view_1_takes_its_threshold_from_the_other_list(run: Path, lfw: Path) -> None:
    values, pairs = similarities(run, lfw, "pairsDevTest.txt")
    others, other_pairs = similarities(run, lfw, "pairsDevTrain.txt")
    expected = accuracy_at(values, pairs.same, best_threshold(others, other_pairs.same))
    found = verify_run(run, None, lfw / "pairsDevTest.txt", lfw / "pairsDevTrain.txt")
    assert found.accuracy == expected.accuracy and found.thresholds == pytest.approx(expected.thresholds, abs=1e-5)
    assert found.ci95 == pytest.approx(expected.ci95)


def test_what_is_refused(run: Path, lfw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = str(lfw / "pairs.txt")
    for arguments, code, says in [
        (["--pairs", str(lfw / "pairsDevTest.txt")], 2, "add --threshold-pairs FILE"),
        (["--threshold-pairs", pairs], 2, "goes with --pairs"),
        (["--pairs", pairs, "--nmi"], 2, "--pairs takes neither"),
        (["--pairs", pairs, "--part", "train"], 2, "--pairs takes neither"),
        (["--pairs", str(tmp_path / "none.txt")], 1, "no such file"),
        (["--pairs", pairs, "--data", "glyphs:classes=4,faces=2"], 1, "is not in glyphs"),
    ]:
        capsys.readouterr()
        assert run_app(app, ["evaluate", str(run), *arguments]) == code, arguments
        assert says in " ".join(capsys.readouterr().err.split())


def test_every_picture_of_the_pairs_is_needed(run: Path, lfw: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(lfw, tmp_path / "copy"))
    (copy / "lfw" / "Bo_Ek" / "Bo_Ek_0002.png").write_bytes(b"")
    with pytest.raises(Failure, match="Bo_Ek/Bo_Ek_0002.png of the pairs cannot be read"):
        verify_run(run, f"lfw:{copy}?counts=any", copy / "pairs.txt")
