"""Whitening by classes and by images: against scikit-learn, by its definition, and as a command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from distill.cli import app
from distill.console import Failure, run_app
from distill.data.spec import open_data
from distill.data.split import split
from distill.evaluation import embed_images
from distill.metrics import retrieval_scores
from distill.models.checkpoint import load_checkpoint, save_checkpoint
from distill.models.embedder import Embedder
from distill.models.info import CheckpointInfo, read_info
from distill.models.registry import build_backbone
from distill.training.reduction import composed
from distill.training.whitening import second_moment, whitening_matrix, within_class_covariance

DATA = "glyphs:classes=12,faces=4,size=32"


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_covariance_inside_classes_is_scikit_learns():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(9), [2, 3, 4, 5, 6, 7, 8, 9, 10])
    rows = random.normal(size=(len(labels), 5)) @ random.normal(size=(5, 5)) + random.normal(size=(9, 5))[labels]
    peer = LinearDiscriminantAnalysis(solver="eigen", store_covariance=True).fit(rows, labels)  # divides by N
    ours = within_class_covariance(rows, labels)
    assert ours * (len(rows) - 9) / len(rows) == pytest.approx(peer.covariance_, rel=1e-9)
    # A class of one image changes nothing, and names of classes are any numbers in any order.
    turn = random.permutation(len(labels) + 1)
    again = within_class_covariance(np.vstack([rows, 100 * np.ones(5)])[turn], np.append(7 * labels - 3, 99)[turn])
    assert again == pytest.approx(ours, rel=1e-9)


@given(st.integers(2, 8), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_whitened_directions_have_the_variance_asked_for(size, seed, strength):
    random = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(random.normal(size=(size, size)))
    variance = random.uniform(0.05, 1, size)
    matrix = whitening_matrix((axes * variance) @ axes.T, strength)
    assert matrix == pytest.approx(matrix.T, abs=1e-9)
    after = matrix @ (axes * variance) @ axes.T @ matrix
    mean = variance.mean()
    assert after == pytest.approx((axes * (mean**strength * variance ** (1 - strength))) @ axes.T, abs=1e-9)


def test_no_direction_is_blown_up_without_bound():
    matrix = whitening_matrix(np.diag([1.0, 0.0]), 1.0)
    assert np.diag(matrix) == pytest.approx([0.5**0.5, 10.0])
    with pytest.raises(Failure, match="are equal"):
        whitening_matrix(np.zeros((3, 3)), 1.0)
    with pytest.raises(Failure, match="no class has two images"):
        within_class_covariance(np.eye(3), np.arange(3))


def test_classes_never_seen_are_found_where_images_differ_in_few_loud_directions():
    random = np.random.default_rng(0)
    loud = np.where(np.arange(32) < 4, 8.0, 0.5)  # how images of one class differ, in any class

    def images_of(classes: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(classes), 10)
        return _unit(random.normal(size=(classes, 32))[labels] + loud * random.normal(size=(len(labels), 32))), labels

    seen, unseen = images_of(60), images_of(60)
    before = retrieval_scores(unseen[0].astype(np.float32), unseen[1], (1,)).recall[1]
    matrix = whitening_matrix(within_class_covariance(*seen), 1.0)
    after = retrieval_scores(_unit(unseen[0] @ matrix).astype(np.float32), unseen[1], (1,)).recall[1]
    assert before < 0.5 and after > 0.9


@pytest.mark.parametrize("size", [8, 0])
def test_the_network_computes_what_the_matrix_says(size):
    torch.manual_seed(0)
    model = Embedder(build_backbone("mobilenet_v1_025"), size).eval()
    pixels = torch.rand(6, 3, 32, 32)
    with torch.inference_mode():
        rows = model(pixels).double().numpy()
        matrix = whitening_matrix(second_moment(np.random.default_rng(0).normal(size=(300, rows.shape[1]))), 0.5)
        found = composed(model, matrix, np.zeros(len(matrix)))(pixels).double().numpy()
    assert found == pytest.approx(_unit(rows @ matrix), abs=2e-6)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = Embedder(build_backbone("mobilenet_v1_025"), 16).eval()
    info = CheckpointInfo(
        kind="student",
        arch="mobilenet_v1_025",
        embedding_size=16,
        space="0123456789abcdef",
        preprocessing=model.backbone.default_preprocessing(32, 32),
        training={"labelled_classes": 0.5},
        data={"spec": DATA, "split": "half", "validation": 0.2},
    )
    save_checkpoint(path := tmp_path_factory.mktemp("whiten") / "run", model, info)
    return path


def test_a_run_is_whitened_by_the_labels_it_used_and_measured_as_evaluate_does(run, capsys):
    out = run.parent / "whitened"
    assert run_app(app, ["whiten", str(run), "--out", str(out), "--json"]) == 0
    printed, said = capsys.readouterr()
    old, info = read_info(run), read_info(out)
    assert info.space is None and info.id != old.id
    # Of six train classes one validates; the labels of the first two of the other five were used (round of 2.5).
    seen = split(open_data(DATA), "half", "train", 0.2)
    assert len(seen.classes) == 5
    seen = seen.select(np.flatnonzero(seen.labels < 2))
    assert info.training["whitened"] == {
        "by": "classes",
        "strength": 0.75,
        "images": len(seen),
        "data": DATA,
        "of": old.id,
    }
    assert f"{len(seen)} images are few for 16 directions" in " ".join(said.split())

    model, _ = load_checkpoint(run)
    rows = embed_images(model, old.preprocessing, seen)
    matrix = whitening_matrix(within_class_covariance(rows.rows, rows.labels), 0.75)
    test = split(open_data(DATA), "half", "test")
    expected = _unit(embed_images(model, old.preprocessing, test).rows @ matrix)
    whitened, _ = load_checkpoint(out)
    assert embed_images(whitened, info.preprocessing, test).rows == pytest.approx(expected, abs=1e-5)
    assert json.loads(printed)["metrics"] == info.metrics["test"]
    assert run_app(app, ["evaluate", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == info.metrics["test"]


def test_pictures_need_no_labels_and_strength_nought_changes_nothing(run, capsys):
    out = run.parent / "by-pictures"
    assert run_app(app, ["whiten", str(run), "--by", "pictures", "--strength", "0", "--out", str(out), "--json"]) == 0
    whitened = read_info(out).training["whitened"]
    assert (whitened["by"], whitened["strength"]) == ("pictures", 0.0)
    assert whitened["images"] == len(split(open_data(DATA), "half", "train", 0.2))
    (model, _info), (same, _) = load_checkpoint(run), load_checkpoint(out)
    pixels = torch.rand(4, 3, 32, 32)
    with torch.inference_mode():
        assert same(pixels).numpy() == pytest.approx(model(pixels).numpy(), abs=1e-6)


def test_the_same_images_under_another_spec_are_split_as_the_run_split_them(run, tmp_path, capsys):
    model, info = load_checkpoint(run)
    train = split(open_data(DATA), "0.75", "train")
    named = {"spec": DATA, "split": "0.75", "classes": list(train.classes)}
    save_checkpoint(tmp_path / "run", model, info.model_copy(update={"data": named}))
    other = "glyphs:size=32,faces=4,classes=12"
    for name, options in (("own", []), ("other", ["--data", other]), ("half", ["--data", other, "--split", "half"])):
        capsys.readouterr()
        assert run_app(app, ["whiten", str(tmp_path / "run"), *options, "--out", str(tmp_path / name), "--json"]) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert ("3 of the 6 classes of the test part are classes that" in said) == (name == "half")
    # Nine train classes, of which the labels of the first four were used (round of 4.5).
    seen = split(open_data(DATA), "4", "train")
    own, again = read_info(tmp_path / "own"), read_info(tmp_path / "other")
    assert own.training["whitened"]["images"] == again.training["whitened"]["images"] == len(seen)
    assert own.metrics == again.metrics


def test_what_is_refused(run, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("x")
    save_checkpoint(tmp_path / "done", *load_checkpoint(run))
    save_checkpoint(tmp_path / "bare", load_checkpoint(run)[0], read_info(run).model_copy(update={"data": {}}))
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_text("{}")
    (tmp_path / "begun" / "state.pt").write_bytes(b"")
    single = "glyphs:classes=12,faces=1,size=32"
    for arguments, code, says in [
        ([str(run), "--out", str(run)], 2, "is the run to whiten"),
        ([str(run), "--overwrite", "--out", str(run.parent)], 2, "or contains it"),
        ([str(run), "--out", str(tmp_path / "full")], 2, "is not empty and not a run"),
        ([str(run), "--out", str(tmp_path / "file")], 2, "is a file"),
        ([str(run), "--out", str(tmp_path / "done")], 2, "--overwrite it"),
        ([str(run), "--out", str(tmp_path / "begun")], 2, "holds an unfinished run"),
        ([str(run), "--by", "colours", "--out", str(tmp_path / "o")], 2, "--by"),
        ([str(tmp_path / "bare"), "--out", str(tmp_path / "o")], 2, "add --data"),
        ([str(tmp_path / "none"), "--out", str(tmp_path / "o")], 1, "no such checkpoint folder"),
        ([str(run), "--strength", "2", "--out", str(tmp_path / "o")], 2, "--strength"),
        ([str(run), "--data", single, "--out", str(tmp_path / "o")], 1, "no class has two images"),
    ]:
        capsys.readouterr()
        assert run_app(app, ["whiten", *arguments]) == code, arguments
        assert says in " ".join(capsys.readouterr().err.split()), arguments
        assert not (tmp_path / "o").exists()
    (tmp_path / "done" / "log.csv").write_text("epoch\n1\n")
    assert run_app(app, ["whiten", str(run), "--overwrite", "--out", str(tmp_path / "done"), "--json"]) == 0
    assert "whitened" in read_info(tmp_path / "done").training
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["model.json", "model.safetensors"]
