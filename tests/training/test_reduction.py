from __future__ import annotations

import doctest
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.decomposition import PCA

import distill.training.pca
from distill.console import Failure, UsageFailure
from distill.data.spec import open_data
from distill.data.split import split
from distill.evaluation import embed_images
from distill.losses.method import parse_method
from distill.metrics import recall_at_k
from distill.models.checkpoint import load_checkpoint
from distill.models.embedder import Embedder
from distill.models.info import read_info
from distill.models.registry import build_backbone
from distill.runs import evaluate_run, train_run
from distill.training.config import StudentConfig, TeacherConfig, make_config
from distill.training.pca import principal_components
from distill.training.projection import learn_projection
from distill.training.reduction import composed, reduction_for
from distill.training.state import RunFolder

TINY = dict(
    data="glyphs:classes=16,faces=6,size=32",
    epochs=2,
    batch_size=16,
    images_per_class=4,
    embedding_size=16,
    precision="float32",
    threads=1,
)


@pytest.fixture(scope="module")
def wide_teacher(tmp_path_factory) -> Path:
    """A teacher without an embedding layer: 256 pooled features."""
    out = tmp_path_factory.mktemp("runs") / "teacher"
    options = {**TINY, "arch": "mobilenet_v1_025", "epochs": 30, "lr": 3e-3, "crop_scale": 1, "embedding_size": 0}
    train_run("teacher", make_config(TeacherConfig, options), out)
    return out


def student(teacher: Path, **options):
    return make_config(StudentConfig, {**TINY, "method": "absolute", "teacher": teacher, **options})


def cosines(first: Path, second: Path) -> tuple[float, float]:
    """Mean cosine of two checkpoints' embeddings of the same training images, and of all pairs of images."""
    images = split(open_data(TINY["data"]), "half", "train")
    rows = [
        embed_images(model, info.preprocessing, images).rows for model, info in map(load_checkpoint, (first, second))
    ]
    return float((rows[0] * rows[1]).sum(1).mean()), float((rows[0] @ rows[1].T).mean())


@pytest.mark.parametrize(("rows", "width", "size"), [(200, 12, 5), (30, 50, 29), (40, 8, 8)])
def test_components_are_those_of_scikit_learn(rows, width, size):
    random = np.random.default_rng(rows)
    features = (random.normal(size=(rows, width)) * np.linspace(3, 0.5, width) + random.normal(size=width)).astype(
        np.float32
    )
    ours, theirs = principal_components(features, size), PCA(size, svd_solver="full").fit(features.astype(np.float64))
    assert np.allclose(ours.mean, theirs.mean_, atol=1e-12)
    assert np.allclose(ours.variance, theirs.explained_variance_, rtol=1e-9)
    assert ours.kept == pytest.approx(theirs.explained_variance_ratio_.sum(), rel=1e-12)
    assert np.allclose(np.abs((ours.directions * theirs.components_).sum(1)), 1, atol=1e-9)
    # The sign is ours: whoever fits the same rows gets the same space.
    assert (ours.directions.max(1) == np.abs(ours.directions).max(1)).all()
    assert np.allclose(principal_components(features[::-1], size).directions, ours.directions, atol=1e-9)


def test_components_by_hand():
    # Covariance [[5, 3], [3, 5]]·4/3: variances 32/3 along (1, 1)/√2 and 8/3 along (1, −1)/√2.
    rows = np.array([[2, 2], [-2, -2], [1, -1], [-1, 1], [0, 0]]) * np.sqrt(8 / 3) + [10, 20]
    found = principal_components(rows, 1)
    assert np.allclose(found.mean, [10, 20])
    assert np.allclose(found.directions, [[2**-0.5, 2**-0.5]])
    assert found.variance == pytest.approx([32 / 3]) and found.kept == pytest.approx(0.8)
    assert doctest.testmod(distill.training.pca).failed == 0


def test_more_dimensions_than_directions_are_refused():
    flat = np.zeros((50, 10))
    flat[:, :3] = np.random.default_rng(0).normal(size=(50, 3))
    with pytest.raises(UsageFailure, match="4 dimensions.*vary in 3 directions.*--embedding-size 3"):
        principal_components(flat, 4)
    with pytest.raises(UsageFailure, match="vary in 4 directions"):
        principal_components(np.random.default_rng(0).normal(size=(5, 10)), 5)  # one is lost to the mean
    with pytest.raises(UsageFailure, match="all features are equal"):
        principal_components(np.ones((5, 3)), 1)


@pytest.mark.parametrize("own_layer", [0, 24])
def test_the_composed_layer_is_the_reduction_of_the_features(own_layer):
    torch.manual_seed(0)
    teacher = Embedder(build_backbone("mobilenet_v1_025"), own_layer).eval()
    pixels = torch.randn(3, 3, 32, 32)
    random = np.random.default_rng(0)
    weight, bias = random.normal(size=(5, teacher.embedding_size)), random.normal(size=5)
    with torch.no_grad():
        before = teacher.project_map(teacher.backbone(pixels)).double().numpy()
        after = composed(teacher, weight, bias)(pixels).numpy()
    expected = before @ weight.T + bias
    assert np.allclose(after, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


def test_a_projection_finds_what_tells_classes_apart():
    # 6 directions hold the classes, 10 others more variance and nothing of the class.
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 8)
    rows = np.concatenate([random.normal(size=(40, 6))[labels], np.zeros((320, 10))], 1)
    views = (rows + random.normal(size=(2, 320, 16)) * ([0.2] * 6 + [1.2] * 10)).astype(np.float32)
    known = np.where(labels < 20, labels, -1)
    start = principal_components(views.reshape(-1, 16), 6)
    weight, bias = learn_projection(views, known, start, 0)
    unseen, names = views[0][labels >= 20], labels[labels >= 20]
    before = recall_at_k((unseen - start.mean) @ start.directions.T, names)[1]
    after = recall_at_k(unseen @ weight.T + bias, names)[1]
    assert after > before + 0.1
    again = learn_projection(views, known, start, 0)
    assert np.array_equal(weight, again[0]) and np.array_equal(bias, again[1])
    with pytest.raises(UsageFailure, match="learns from labels"):
        learn_projection(views, np.full(320, -1), start, 0)


@pytest.mark.parametrize(
    ("option", "method", "sizes", "kind"),
    [
        ("auto", "absolute", (16, 24), "pca"),
        ("auto", "relative+raml", (16, 24), "pca"),
        ("auto", "absolute", (24, 24), None),
        ("auto", "relative", (16, 24), None),
        ("auto", "absolute", (32, 24), None),  # the loss itself says why this cannot be
        ("auto", "triplet", (16, None), None),
        ("none", "absolute", (16, 24), None),
        ("pca", "relative", (16, 24), "pca"),
        ("projection", "absolute", (24, 24), "projection"),
    ],
)
def test_when_a_teacher_is_reduced(option, method, sizes, kind):
    assert reduction_for(option, parse_method(method), *sizes) == kind


@pytest.mark.parametrize(
    ("option", "method", "sizes", "says"),
    [
        ("pca", "absolute", (32, 24), "--embedding-size 32 is more than the teacher's 24 dimensions"),
        ("pca", "triplet", (16, None), "--teacher DIR"),
        ("projection", "triplet", (16, 24), "no teacher to reduce"),
    ],
)
def test_what_cannot_be_reduced(option, method, sizes, says):
    with pytest.raises(UsageFailure, match=says):
        reduction_for(option, parse_method(method), *sizes)


@pytest.mark.parametrize("kind", ["auto", "projection"])
def test_a_student_learns_the_space_of_the_reduced_teacher(tmp_path, wide_teacher, kind, capsys):
    info = train_run(
        "student", student(wide_teacher, epochs=40, lr=3e-3, crop_scale=1, teacher_reduction=kind), tmp_path / "run"
    )
    assert "reduced from 256 to 16 dimensions" in capsys.readouterr().err
    reduced = read_info(tmp_path / "run" / "teacher")
    record = reduced.training["reduction"]
    assert reduced.kind == "teacher" and reduced.embedding_size == 16 and info.space == reduced.id
    assert info.training["teacher_id"] == reduced.id and info.training["reduction"] == record
    assert record["of"] == read_info(wide_teacher).id and 0.5 < record["variance_kept"] <= 1
    evaluate_run(tmp_path / "run", None, None, "train", tmp_path / "run" / "teacher", False)
    assert "poor asymmetric" not in capsys.readouterr().err
    own, others = cosines(tmp_path / "run", tmp_path / "run" / "teacher")
    assert own > 0.6 and abs(others) < 0.2
    with pytest.raises(UsageFailure, match="--gallery-model .*run/teacher"):
        evaluate_run(tmp_path / "run", None, None, "train", wide_teacher, False)
    # A checkpoint like any other: it teaches the next student, whatever its seed.
    second = train_run("student", student(tmp_path / "run" / "teacher", epochs=1, seed=5), tmp_path / "second")
    assert second.space == reduced.id and not (tmp_path / "second" / "teacher").exists()
    third = train_run(
        "student", student(wide_teacher, epochs=1, seed=5, crop_scale=1, teacher_reduction=kind), tmp_path / "third"
    )
    assert third.space == reduced.id


@pytest.mark.parametrize("kind", ["pca", "projection"])
def test_a_killed_run_goes_on_in_the_space_it_began_in(tmp_path, wide_teacher, kind, monkeypatch):
    options = dict(teacher_reduction=kind, method="absolute+proxy_anchor:0.1", epochs=3)
    train_run("student", student(wide_teacher, **options, cache_dir=tmp_path / "c1"), tmp_path / "whole")
    save = RunFolder.save
    monkeypatch.setattr(RunFolder, "save", lambda self, state: (save(self, state), stop()))

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run("student", student(wide_teacher, **options, cache_dir=tmp_path / "c2"), tmp_path / "cut")
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "c2")

    def refuse(*_):
        raise AssertionError("the reduction was fitted again")

    monkeypatch.setattr("distill.training.reduction.principal_components", refuse)
    train_run("student", student(wide_teacher, **options, cache_dir=tmp_path / "c2"), tmp_path / "cut")
    for name in ("model.safetensors", "teacher/model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_a_reduction_is_found_again_but_not_a_damaged_one(tmp_path, wide_teacher, monkeypatch):
    options = dict(epochs=0, cache_dir=tmp_path / "cache")
    first = train_run("student", student(wide_teacher, **options), tmp_path / "a")
    kept = next((tmp_path / "cache").glob("reduced-*")) / "model.safetensors"
    kept.write_bytes(kept.read_bytes()[:-100])
    view = next((tmp_path / "cache").glob("features-*/view-0000.npy"))
    whole = view.read_bytes()
    view.write_bytes(whole[:-100])
    again = train_run("student", student(wide_teacher, **options), tmp_path / "b")
    assert again.space == first.space and view.read_bytes() == whole
    other = train_run("student", student(wide_teacher, **options, crop_scale=0.5), tmp_path / "c")
    assert other.space != first.space
    monkeypatch.setattr("distill.training.reduction.crop_features", None)  # must not be asked
    train_run("student", student(wide_teacher, **options), tmp_path / "b", overwrite=True)
    weight = load_file(tmp_path / "b" / "teacher" / "model.safetensors")["linear.weight"].double()
    gram = weight @ weight.T  # half whitened: orthogonal rows, the longer the less the direction varies
    assert weight.shape == (16, 256) and (gram.diagonal().diff() > 0).all()
    assert (gram - gram.diagonal().diag()).abs().max() < 1e-5 * gram.max()
    assert load_checkpoint(tmp_path / "b" / "teacher")[1].id == first.space


def test_without_a_reduction_sizes_must_agree(tmp_path, wide_teacher):
    with pytest.raises(Failure, match="16 dimensions, the teacher's 256"):
        train_run("student", student(wide_teacher, teacher_reduction="none"), tmp_path / "run")


def test_a_run_begun_before_the_option_existed_goes_on(tmp_path):
    from distill.files import read_json, write_json

    config = make_config(StudentConfig, {**TINY, "method": "triplet"})
    run = RunFolder(tmp_path)
    run.claim(config, overwrite=False)
    saved = read_json(tmp_path / "config.json")
    del saved["teacher_reduction"]
    write_json(tmp_path / "config.json", saved)
    (tmp_path / "state.pt").write_bytes(b"")
    run.check(config, overwrite=False)
    with pytest.raises(UsageFailure, match="--teacher-reduction was auto, is pca"):
        run.check(config.model_copy(update={"teacher_reduction": "pca"}), overwrite=False)
