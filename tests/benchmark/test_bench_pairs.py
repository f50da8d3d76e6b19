"""``distill-bench pairs``: verification accuracy of every variant, against sums by hand."""

from __future__ import annotations

import json
from pathlib import Path

import benchmark_fakes as fakes
import numpy as np
import PIL.Image
import pytest

from benchmark.cli import app
from benchmark.options import PairOptions
from benchmark.pairs import measure_pairs
from distill.console import Failure, UsageFailure, run_app
from distill.data.spec import open_data

PEOPLE = [f"Person_{letter}" for letter in "ABCDEFGH"]


@pytest.fixture
def lfw(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in PEOPLE:
        pattern = random.integers(40, 216, size=(4, 4, 3))
        folder = tmp_path / "data" / "lfw" / name
        folder.mkdir(parents=True)
        for number in range(1, 5):
            pixels = np.kron(pattern, np.ones((6, 6, 1))) + random.normal(0, 60, size=(24, 24, 3))
            PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{name}_{number:04d}.png")
    lines = []
    for number in range(4):
        a, b = 1 + number % 3, 2 + number % 3
        lines += [f"{name} {a} {b}" for name in PEOPLE]
        lines += [f"{PEOPLE[i]} {a} {PEOPLE[(i + 1 + number) % 8]} {b}" for i in range(8)]
    root = tmp_path / "data"
    (root / "pairs.txt").write_text("4\t8\n" + "\n".join(lines) + "\n")
    (root / "test.txt").write_text("8\n" + "\n".join(lines[:16]) + "\n")
    (root / "train.txt").write_text("8\n" + "\n".join(lines[16:32]) + "\n")
    return root


@pytest.fixture
def bundle(tmp_path: Path, lfw: Path) -> Path:
    (tmp_path / "student").mkdir()
    return fakes.make_bundle(tmp_path / "bundle", f"lfw:{lfw}?counts=any")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> dict[str, fakes.ToyRunner]:
    runners = fakes.replace_engines(monkeypatch)
    fakes.replace_torch(monkeypatch)
    runners["tflite-int8"] = fakes.ToyRunner(noise=0.8)
    return runners


def by_hand(lfw: Path, bundle: Path, runner: fakes.ToyRunner, name: str = "test.txt", threshold: str = "train.txt"):
    """Whether each pair is judged correctly, and the accuracy: one product per pair, every threshold tried."""
    from export.bundle import load_bundle

    images = open_data(f"lfw:{lfw}?counts=any")
    preprocessing = load_bundle(bundle).manifest.preprocessing
    where = {key.rsplit("/", 1)[-1].split(".")[0]: i for i, key in enumerate(images.keys)}
    wanted = sorted({where[f"{p}_{int(n):04d}"] for file in (name, threshold) for p, n in named(lfw / file)})
    rows = runner.embed(np.stack([preprocessing.pixels(images.read(i)) for i in wanted]))
    rows = dict(zip(wanted, rows / np.linalg.norm(rows, axis=1, keepdims=True), strict=True))

    def values(file: str):
        both = list(named(lfw / file))
        pairs = list(zip(both[::2], both[1::2], strict=True))
        found = [float(rows[where[f"{p}_{int(n):04d}"]] @ rows[where[f"{q}_{int(m):04d}"]]) for (p, n), (q, m) in pairs]
        return np.array(found), np.array([p == q for (p, _), (q, _) in pairs])

    chosen, same = values(threshold)
    candidates = np.concatenate([[chosen.min() - 1], np.sort(chosen) + 1e-9])
    best = max(((chosen >= c) == same).mean() for c in candidates)
    cut = next(c for c in candidates if ((chosen >= c) == same).mean() == best)
    upper = min((v for v in chosen if v > cut), default=cut)
    asked, same = values(name)
    return (asked >= (cut + upper) / 2) == same


def named(path: Path):
    """(person, number) of both sides of each pair, in turn."""
    for line in path.read_text().splitlines()[1:]:
        words = line.split()
        yield words[0], words[1]
        yield (words[0] if len(words) == 3 else words[2]), words[-1]


def test_accuracy_and_paired_drop(lfw: Path, bundle: Path, toys, tmp_path: Path) -> None:
    found = measure_pairs(
        PairOptions(bundle, lfw / "test.txt", lfw / "train.txt", checkpoint=tmp_path / "student", seed=3)
    )
    rows = {row["name"]: row for row in found["models"]}
    exact = by_hand(lfw, bundle, fakes.ToyRunner())
    assert rows["PyTorch"]["accuracy"] == pytest.approx(exact.mean())
    assert rows["tflite-float32"]["drop"]["value"] == 0 and rows["tflite-float32"]["drop"]["ci95"] == [0, 0]
    spoiled = rows["tflite-int8"]
    assert spoiled["accuracy"] < exact.mean()
    drop = spoiled["drop"]
    assert drop["value"] == pytest.approx(exact.mean() - spoiled["accuracy"])
    assert drop["lost"] - drop["gained"] == round(drop["value"] * 16) and drop["ci95"][0] <= drop["value"]
    assert found["count"] == 16 and found["people"] == 8 and rows["PyTorch"]["drop"] is None


def test_sets_choose_each_others_threshold(lfw: Path, bundle: Path, toys) -> None:
    found = measure_pairs(PairOptions(bundle, lfw / "pairs.txt", variants=["onnx-float32"]))
    (row,) = found["models"]
    assert len(row["thresholds"]) == 4 and row["drop"] is None and 0.5 < row["accuracy"] <= 1


def test_the_command_prints_and_writes(lfw: Path, bundle: Path, toys, tmp_path: Path, capsys) -> None:
    toys["onnx-float32"] = RuntimeError("broken file")
    words = ["pairs", str(bundle), "--pairs", str(lfw / "test.txt"), "--threshold-pairs", str(lfw / "train.txt")]
    words += ["--checkpoint", str(tmp_path / "student")]
    assert run_app(app, [*words, "--json-out", str(tmp_path / "out.json"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out.json").read_text())
    states = {row["name"]: row["status"] for row in printed["models"]}
    assert states == {"tflite-float32": "ok", "tflite-int8": "ok", "onnx-float32": "failed", "PyTorch": "ok"}
    assert run_app(app, words) == 0
    out = capsys.readouterr().out
    assert "drop [95 %], points" in out and "broken file" in out and "16 pairs of test.txt" in out


def test_what_is_refused(lfw: Path, bundle: Path, toys, tmp_path: Path, capsys) -> None:
    with pytest.raises(UsageFailure, match="add --threshold-pairs FILE"):
        measure_pairs(PairOptions(bundle, lfw / "test.txt"))
    with pytest.raises(Failure, match="no such file"):
        measure_pairs(PairOptions(bundle, lfw / "none.txt", lfw / "train.txt"))
    (lfw / "lfw" / "Person_B" / "Person_B_0002.png").write_bytes(b"")
    with pytest.raises(Failure, match=r"Person_B_0002.png, an image of the pairs, cannot be read"):
        measure_pairs(PairOptions(bundle, lfw / "test.txt", lfw / "train.txt"))
    assert run_app(app, ["pairs", str(bundle)]) == 2
    assert "--pairs" in capsys.readouterr().err
