from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from distill.console import Failure, UsageFailure
from distill.data.spec import open_data
from distill.models.checkpoint import load_checkpoint
from distill.models.embedder import Embedder
from distill.models.info import read_info
from distill.models.registry import build_backbone
from distill.runs import evaluate_run, train_run
from distill.training.config import StudentConfig, TeacherConfig, make_config
from distill.training.loop import _StudentPass
from distill.training.state import RunFolder

DATA = "glyphs:classes=16,faces=6,size=32"
TINY = dict(data=DATA, epochs=2, batch_size=16, images_per_class=4, embedding_size=16, precision="float32", threads=1)


def student(**options):
    return make_config(StudentConfig, {**TINY, "method": "triplet", **options})


@pytest.fixture(scope="module")
def teacher_run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "teacher"
    train_run(
        "teacher",
        make_config(TeacherConfig, {**TINY, "arch": "mobilenet_v1_050", "epochs": 30, "lr": 3e-3, "crop_scale": 1}),
        out,
    )
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("stages", [False, True])
def test_a_pass_gives_the_rows_before_and_after_the_norm(stages):
    model = Embedder(build_backbone("mobilenet_v1_025"), 16).eval()
    pixels = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        raw, rows, maps = _StudentPass(model)(pixels, stages)
        assert torch.equal(rows, model(pixels))
        assert torch.equal(raw, model.project_map(model.backbone(pixels)))
    assert len(maps) == (4 if stages else 0)


def test_the_authors_form_of_a_loss_trains_another_student(tmp_path, teacher_run):
    for method in ("rkd", "rkd_raw"):
        options = dict(method=method, teacher=teacher_run, cache_dir=tmp_path / "cache")
        info = train_run("student", student(**options), tmp_path / method)
        assert info.training["method"] == method and info.space is None
    assert not same(weights(tmp_path / "rkd"), weights(tmp_path / "rkd_raw"))


def test_a_run_leaves_a_checkpoint_its_options_and_a_log(tmp_path):
    info = train_run("student", student(), tmp_path / "run")
    assert info == read_info(tmp_path / "run")
    assert info.training["method"] == "triplet" and info.training["seed"] == 0
    assert info.data["spec"] == DATA and len(info.data["classes"]) == 8
    assert 0 <= info.metrics["test"]["recall@1"] <= 1
    assert info.versions["torch"] == torch.__version__.split("+")[0] or info.versions["torch"] == torch.__version__
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"] and float(rows[0]["loss"]) > 0
    assert any((tmp_path / "run" / "tensorboard").iterdir())
    assert not (tmp_path / "run" / "state.pt").exists()
    measured = evaluate_run(tmp_path / "run", None, None, "test", None, False)
    assert measured == pytest.approx(info.metrics["test"])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_run("student", student(epochs=1, seed=seed), tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.parametrize(
    "options",
    [
        dict(epochs=4),
        dict(epochs=4, ema=0.9, validation=0.25, optimizer="sgd"),
        dict(epochs=4, method="proxy_anchor"),
    ],
    ids=["plain", "average-validation-sgd", "loss-with-weights"],
)
def test_an_interrupted_run_goes_on_to_the_same_result(tmp_path, monkeypatch, options):
    train_run("student", student(**options), tmp_path / "whole")
    cut_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train_run("student", student(**options), tmp_path / "cut")
    assert not (tmp_path / "cut" / "model.json").exists()
    train_run("student", student(**options), tmp_path / "cut")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


@pytest.mark.slow
def test_a_run_killed_outright_goes_on_to_the_same_result(tmp_path):
    arguments = [
        item
        for name, value in (TINY | {"epochs": 6, "method": "triplet"}).items()
        for item in (f"--{name.replace('_', '-')}", str(value))
    ]
    command = [sys.executable, "-m", "distill", "student", *arguments, "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    victim = subprocess.Popen([*command, str(tmp_path / "cut")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "cut" / "state.pt").exists():
        assert victim.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    assert not (tmp_path / "cut" / "model.json").exists()
    subprocess.run([*command, str(tmp_path / "cut")], check=True, capture_output=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


@pytest.mark.parametrize("method", ["absolute", "relative+triplet:0.5", "pkt", "hint@2,3+relative", "attention@3,4"])
def test_a_student_learns_from_a_teacher(tmp_path, teacher_run, method):
    info = train_run("student", student(method=method, teacher=teacher_run, epochs=8, crop_scale=1), tmp_path / "run")
    with (tmp_path / "run" / "log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0]
    assert info.training["teacher_id"] == read_info(teacher_run).id
    assert (info.space == read_info(teacher_run).id) == (method == "absolute")


def test_a_pretrained_students_head_starts_where_the_teacher_is(tmp_path, teacher_run):
    train_run("student", student(epochs=0), tmp_path / "first")
    backbone = {name: value for name, value in weights(tmp_path / "first").items() if name.startswith("backbone.")}
    save_file(backbone, tmp_path / "backbone.safetensors")

    def first_loss(name: str, **options) -> float:
        config = student(method="absolute", teacher=teacher_run, epochs=1, crop_scale=1, **options)
        train_run("student", config, tmp_path / name)
        with (tmp_path / name / "log.csv").open() as file:
            return float(next(csv.DictReader(file))["loss"])

    assert first_loss("fitted", weights=str(tmp_path / "backbone.safetensors")) < first_loss("centred") - 0.3


def test_a_loss_of_two_views_gets_two_crops_of_every_image(tmp_path, teacher_run, monkeypatch):
    options = dict(method="relaxed_contrastive", teacher=teacher_run, teacher_crops=6, cache_dir=tmp_path / "cache")
    seen = []

    def record(module, student, teacher, labels, *_, **__):
        half = len(labels) // 2
        seen.append(
            (
                labels[:half].tolist() == labels[half:].tolist(),
                float((student[:half] - student[half:]).detach().abs().max()),
            )
        )

    from distill.losses.build import DistillationLoss

    forward = DistillationLoss.forward
    monkeypatch.setattr(
        DistillationLoss,
        "forward",
        lambda self, s, teacher, labels, **k: (
            record(self, s, teacher, labels),
            forward(self, s, teacher, labels, **k),
        )[1],
    )
    train_run("student", student(**options, epochs=4), tmp_path / "run")
    # Two new views an epoch until the six are used up, then they come round.
    assert len(list((tmp_path / "cache").rglob("view-*.npy"))) == 6
    assert seen and all(same_images and difference > 1e-3 for same_images, difference in seen)


def test_cached_teacher_embeddings_train_like_a_live_teacher(tmp_path, teacher_run, monkeypatch):
    options = dict(method="relative", teacher=teacher_run, epochs=2, cache_dir=tmp_path / "cache")
    train_run("student", student(**options, teacher_crops=0), tmp_path / "live")
    train_run("student", student(**options, teacher_crops=2), tmp_path / "cached")
    live, cached = weights(tmp_path / "live"), weights(tmp_path / "cached")
    # The cache holds float16; Adam's first steps amplify the rounding of tiny gradients.
    gap = max(float((live[n].float() - cached[n].float()).abs().max()) for n in live if "running" not in n)
    assert 0 < gap < 0.02

    def refuse(*_):
        raise AssertionError("the teacher ran although its embeddings are stored")

    monkeypatch.setattr("distill.training.teacher.LiveTeacher.embed", refuse)
    train_run("student", student(**options, teacher_crops=2), tmp_path / "again")
    assert same(cached, weights(tmp_path / "again"))


def test_crops_are_cut_from_images_of_the_requested_size(tmp_path, teacher_run):
    from distill.training.setup import prepare

    noise = np.random.default_rng(0)
    for name in ("ant/1.png", "ant/2.png", "bee/1.png", "bee/2.png", "cat/1.png", "dog/1.png"):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(tmp_path / "pictures" / name)
    folders = set()
    # By default: what the centre crop of 32 pixels is cut from. Nothing is enlarged.
    for size, height in ((None, 37), (50, 50), (100, 70)):
        options = dict(data=f"folder:{tmp_path / 'pictures'}", stored_size=size, input_size=32, images_per_class=2)
        setup = prepare(
            student(method="absolute", teacher=teacher_run, cache_dir=tmp_path / "cache", **options), tmp_path / "run"
        )
        assert setup.images[0].shape[0] == height
        assert setup.images.crops(np.arange(3), 0, setup.rule, 32).shape == (3, 3, 32, 32)
        setup.teacher.prepare((0,))
        folders |= {path.parent for path in (tmp_path / "cache").rglob("view-*.npy")}
    assert len(folders) == 3  # other pixels, other embeddings


def test_the_cached_embeddings_are_those_of_the_crops_the_student_sees(tmp_path, teacher_run):
    from distill.training.setup import prepare

    setup = prepare(student(method="relative", teacher=teacher_run), tmp_path / "run")
    setup.teacher.prepare((1,))
    from distill.training.data import Batch

    indices = np.array([5, 0, 17])
    stored, _ = setup.teacher(Batch(indices, (1,), torch.empty(0), None), False)
    model, info = load_checkpoint(teacher_run)
    crops = setup.images.crops(indices, 1, setup.rule, info.preprocessing.input_size).float()
    with torch.no_grad():
        fresh = model((crops - 128) / 128)
    assert (stored - fresh).abs().max() < 1e-3


def test_unlabelled_images_and_unused_labels_join_the_teachers_loss(tmp_path, teacher_run):
    options = dict(method="relative+triplet", teacher=teacher_run, epochs=1)
    train_run("student", student(**options), tmp_path / "all")
    train_run("student", student(**options, labelled_classes=0.5), tmp_path / "half")
    train_run("student", student(**options, unlabelled="glyphs:classes=10,faces=3,size=32"), tmp_path / "more")
    assert len({weights(tmp_path / n)["linear.weight"].sum().item() for n in ("all", "half", "more")}) == 3
    assert read_info(tmp_path / "more").data["images"] == 8 * 6 + 30


def test_evaluate_knows_the_classes_of_the_run_under_another_spec(tmp_path, capsys):
    """The run trained on 12 of 16 classes; half of them are 8."""
    train_run("student", student(split="0.75"), tmp_path / "run")

    def measured(data, split=None, gallery=None):
        capsys.readouterr()
        found = evaluate_run(tmp_path / "run", data, split, "test", gallery, False)
        return found, " ".join(capsys.readouterr().err.split())

    own, said = measured(None)
    assert own == read_info(tmp_path / "run").metrics["test"] and "trained" not in said
    again, said = measured("glyphs:size=32,faces=6,classes=16")
    assert again == own and "trained" not in said
    _, said = measured("glyphs:size=32,faces=6,classes=16", "half")
    assert "4 of the 8 classes of the test part are classes that" in said
    # A teacher that indexes the gallery must not have seen them either.
    shutil.copytree(tmp_path / "run", tmp_path / "blank")
    info = json.loads((tmp_path / "blank" / "model.json").read_text())
    info["data"] |= {"classes": [], "test_classes": [], "split": "half"}
    (tmp_path / "blank" / "model.json").write_text(json.dumps(info))
    capsys.readouterr()
    evaluate_run(tmp_path / "blank", None, None, "test", tmp_path / "run", False)
    said = " ".join(capsys.readouterr().err.split())
    assert f"4 of the 8 classes of the test part are classes that {tmp_path / 'run'} was trained on" in said


def test_test_classes_among_the_unlabelled_images_are_reported(tmp_path, teacher_run, capsys):
    options = dict(method="relative+triplet", teacher=teacher_run, epochs=1)
    info = train_run("student", student(**options, unlabelled="glyphs:classes=32,faces=3,size=32"), tmp_path / "leak")
    said = " ".join(capsys.readouterr().err.split())
    assert "--unlabelled glyphs:classes=32,faces=3,size=32: holds images of 8 of the 8 test classes" in said
    assert info.data["unlabelled_test_classes"] == info.data["test_classes"] and len(info.data["test_classes"]) == 8
    evaluate_run(tmp_path / "leak", None, None, "test", None, False)
    assert "was trained on images of 8 of the 8 classes" in " ".join(capsys.readouterr().err.split())
    info = train_run("student", student(**options, unlabelled="glyphs:classes=7,faces=3,size=32"), tmp_path / "clean")
    shared = set(open_data("glyphs:classes=7").classes) & set(info.data["test_classes"])
    assert info.data.get("unlabelled_test_classes", []) == sorted(shared)


def test_a_teacher_that_saw_the_test_classes_is_reported(tmp_path, teacher_run, capsys):
    options = dict(method="relative", teacher=teacher_run, epochs=1, cache_dir=tmp_path / "cache")
    train_run("student", student(**options), tmp_path / "same")
    assert "is not that of unseen classes" not in " ".join(capsys.readouterr().err.split())
    train_run("student", student(**options, split="4"), tmp_path / "other")
    said = " ".join(capsys.readouterr().err.split())
    assert f"{teacher_run} was trained on 4 of the 12 test classes of this run" in said


def test_degrading_the_student_keeps_the_teachers_view(tmp_path, teacher_run):
    options = dict(method="relative", teacher=teacher_run, epochs=1, cache_dir=tmp_path / "cache")
    train_run("student", student(**options), tmp_path / "clean")
    before = sorted(path.name for path in (tmp_path / "cache").rglob("view-*.npy"))
    train_run("student", student(**options, student_degrade="lowres:4"), tmp_path / "worse")
    assert sorted(path.name for path in (tmp_path / "cache").rglob("view-*.npy")) == before
    assert not same(weights(tmp_path / "clean"), weights(tmp_path / "worse"))


def test_runs_of_several_seeds_share_the_crops_of_one(tmp_path, teacher_run):
    options = dict(method="relative", teacher=teacher_run, epochs=1, cache_dir=tmp_path / "cache", crop_seed=5)
    train_run("student", student(**options, seed=1), tmp_path / "a")
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("view-*.npy")}
    train_run("student", student(**options, seed=2), tmp_path / "b")
    assert stored and stored == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("view-*.npy")}
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_poor_queries_are_measured_as_such(teacher_run):
    def measured(**options):
        return evaluate_run(teacher_run, None, None, "train", None, False, **options)

    clean = measured()
    assert measured(degrade="lowres:1") == clean
    assert measured(degrade="lowres:8")["map@r"] < clean["map@r"] - 0.1
    with pytest.raises(UsageFailure, match="--degrade lowers:2"):
        measured(degrade="lowers:2")


def test_asymmetric_search_needs_the_teachers_space(tmp_path, teacher_run, capsys):
    enough = dict(epochs=40, lr=3e-3, crop_scale=1)
    train_run("student", student(method="absolute", teacher=teacher_run, **enough), tmp_path / "absolute")
    shared = evaluate_run(tmp_path / "absolute", None, None, "train", teacher_run, False)
    assert "space" not in capsys.readouterr().err
    train_run("student", student(method="triplet", **enough), tmp_path / "alone")
    apart = evaluate_run(tmp_path / "alone", None, None, "train", teacher_run, False)
    assert "expect poor results of asymmetric search" in " ".join(capsys.readouterr().err.split())
    assert shared["map@r"] > apart["map@r"] + 0.1


def test_validation_classes_choose_the_epoch_and_patience_ends_the_run(tmp_path):
    info = train_run("student", student(epochs=30, validation=0.25, patience=2), tmp_path / "run")
    with (tmp_path / "run" / "log.csv").open() as file:
        recalls = [float(row["validation_recall@1"]) for row in csv.DictReader(file)]
    assert info.training["best_epoch"] == int(np.argmax(recalls)) + 1
    assert len(recalls) == info.training["best_epoch"] + 2 or len(recalls) == 30
    assert info.metrics["validation"]["recall@1"] == pytest.approx(max(recalls))
    assert len(info.data["classes"]) == 6  # 8 train classes, 2 of them held out


def test_zero_epochs_saves_the_network_as_it_starts(tmp_path):
    info = train_run(
        "teacher",
        make_config(TeacherConfig, {**TINY, "arch": "mobilenet_v1_025", "epochs": 0, "embedding_size": 0}),
        tmp_path / "run",
    )
    assert info.embedding_size == 256 and 0 < info.metrics["test"]["recall@1"] <= 1


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(Failure, match="the loss is (nan|inf).*--lr"):
        train_run("student", student(lr=1e25, optimizer="sgd", epochs=20, warmup=0), tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (dict(method="relative"), "--teacher"),
        (dict(method="triplet", images_per_class=1), "--images-per-class"),
        (dict(method="tripplet"), "did you mean 'triplet'"),
        (dict(patience=3), "--validation"),
        (dict(arch="mobilenet_v1_033"), "mobilenet_v1"),
        (dict(data="glyph"), "glyphs"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, options, says):
    with pytest.raises(UsageFailure, match=says):
        train_run("student", student(**options), tmp_path / "run")


def test_an_out_folder_is_never_taken_by_mistake(tmp_path):
    out = tmp_path / "run"
    train_run("student", student(epochs=1), out)
    with pytest.raises(UsageFailure, match="finished run"):
        train_run("student", student(epochs=1), out)
    (out / "model.json").unlink()
    (out / "state.pt").write_bytes(b"")
    with pytest.raises(UsageFailure, match="--lr was 0.001, is 0.5"):
        train_run("student", student(epochs=1, lr=0.5), out)
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageFailure, match="not a run"):
        train_run("student", student(epochs=1), other, overwrite=True)
    assert (other / "thesis.tex").exists()
    train_run("student", student(epochs=1, lr=0.5), out, overwrite=True)
    assert json.loads((out / "config.json").read_text())["lr"] == 0.5


def test_a_start_that_failed_does_not_stand_in_the_way_of_the_corrected_command(tmp_path):
    with pytest.raises(Failure, match="no.h5"):
        train_run("student", student(epochs=1, weights=str(tmp_path / "no.h5")), tmp_path / "run")
    train_run("student", student(epochs=1), tmp_path / "run")
    assert read_info(tmp_path / "run").training["weights"] is None


def cut_after(monkeypatch, saves: int) -> None:
    save = RunFolder.save
    count = 0

    def save_then_stop(self, state):
        nonlocal count
        save(self, state)
        count += 1
        if count == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "save", save_then_stop)


def test_a_wrong_option_with_overwrite_leaves_the_old_run(tmp_path):
    train_run("student", student(epochs=1), tmp_path / "run")
    before = weights(tmp_path / "run")
    with pytest.raises(UsageFailure, match="did you mean"):
        train_run("student", student(epochs=1, method="tripplet"), tmp_path / "run", overwrite=True)
    assert same(before, weights(tmp_path / "run"))


def test_a_run_does_not_go_on_with_another_teacher(tmp_path, teacher_run, monkeypatch):
    teacher = tmp_path / "teacher"
    shutil.copytree(teacher_run, teacher)
    options = student(method="relative", teacher=teacher, epochs=3)
    cut_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        train_run("student", options, tmp_path / "run")
    train_run(
        "teacher",
        make_config(TeacherConfig, {**TINY, "arch": "mobilenet_v1_025", "epochs": 0}),
        teacher,
        overwrite=True,
    )
    with pytest.raises(Failure, match="the teacher changed.*--overwrite"):
        train_run("student", options, tmp_path / "run")


def test_a_run_out_of_patience_does_not_add_an_epoch_when_it_is_killed_then(tmp_path, monkeypatch):
    options = student(epochs=30, validation=0.25, patience=2)
    whole = train_run("student", options, tmp_path / "whole")
    with (tmp_path / "whole" / "log.csv").open() as file:
        epochs = len(list(csv.DictReader(file)))
    assert epochs == whole.training["best_epoch"] + 2 < 30
    cut_after(monkeypatch, epochs)
    with pytest.raises(KeyboardInterrupt):
        train_run("student", options, tmp_path / "cut")
    train_run("student", options, tmp_path / "cut")
    with (tmp_path / "cut" / "log.csv").open() as file:
        assert len(list(csv.DictReader(file))) == epochs
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_a_full_disk_is_told_and_the_last_state_stays(tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed\nmore")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(Failure, match="state.pt: cannot be written.*free some space"):
        train_run("student", student(epochs=1), tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.json", "log.csv", "tensorboard"]


def test_a_damaged_state_is_named(tmp_path):
    out = tmp_path / "run"
    RunFolder(out).claim(student(), overwrite=False)
    (out / "state.pt").write_bytes(b"\x80\x02cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(Failure, match="state.pt: damaged.*--overwrite"):
        train_run("student", student(), out)
