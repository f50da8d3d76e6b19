"""A teacher, a student, its validation, evaluation and whitening on images without labels, none of which is read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.console import UsageFailure, run_app
from distill.data.imageset import ImageSet
from distill.data.spec import open_data
from distill.data.split import split
from distill.evaluation import agreement_at, compare_neighbours, embed_images
from distill.models.checkpoint import load_checkpoint
from distill.models.info import CheckpointInfo
from distill.runs import evaluate_run, train_run
from distill.training.config import StudentConfig, TeacherConfig, make_config
from distill.training.state import RunFolder
from distill.whitening import whiten_run

TINY = dict(batch_size=16, embedding_size=16, precision="float32", threads=1, input_size=32)


@pytest.fixture(scope="module")
def no_labels():
    """Any look at a label or a class name raises an error that no command catches."""

    def read(self: ImageSet) -> None:
        raise AssertionError(f"{self.spec}: a label was read")

    there = ImageSet.labels, ImageSet.classes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageSet, "labels", property(read))
        patch.setattr(ImageSet, "classes", property(read))
        yield there


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """90 images in one folder: 30 characters in three typefaces."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    folder.mkdir()
    images = open_data("glyphs:classes=30,faces=3,size=48")
    for index, key in enumerate(images.keys):
        images.read(index).save(folder / f"{key.replace('/', '-')}.png")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def teacher(no_labels, photos: Path, runs: Path) -> CheckpointInfo:
    options = {**TINY, "data": f"folder:{photos}", "arch": "mobilenet_v1_050", "epochs": 0, "embedding_size": 0}
    return train_run("teacher", make_config(TeacherConfig, options), runs / "teacher")


def student_config(photos: Path, runs: Path, **more: object) -> StudentConfig:
    options = {**TINY, "data": f"folder:{photos}", "teacher": runs / "teacher", "method": "absolute", "lr": 3e-3}
    config = make_config(StudentConfig, options | more)
    assert isinstance(config, StudentConfig)
    return config


@pytest.fixture(scope="module")
def student(teacher: CheckpointInfo, photos: Path, runs: Path) -> CheckpointInfo:
    return train_run(
        "student",
        student_config(photos, runs, epochs=6, validation=0.2, crop_scale=1, teacher_crops=1),
        runs / "student",
    )


def test_a_teacher_without_labels_is_the_network_as_it_is(teacher: CheckpointInfo) -> None:
    assert teacher.metrics == {} and teacher.data["labels"] is False
    assert teacher.data["split"] == "0.8" and teacher.data["images"] == 72 and teacher.data["classes"] == []


def test_the_best_epoch_is_the_one_that_agrees_most(student: CheckpointInfo, runs: Path) -> None:
    with (runs / "student" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    agreement = [float(row["validation_agreement@10"]) for row in rows]
    assert len(agreement) == 6 and student.metrics["validation"] == {"agreement@10": max(agreement)}
    assert student.training["best_epoch"] == 1 + int(np.argmax(agreement))
    assert float(rows[-1]["loss"]) < 0.9 * float(rows[0]["loss"])


def test_the_figures_are_those_of_both_networks_on_the_held_out_images(
    student: CheckpointInfo, photos: Path, runs: Path
) -> None:
    test = split(open_data(f"folder:{photos}"), "0.8", "test")
    found = []
    for folder in (runs / "student", runs / "student" / "teacher"):
        model, info = load_checkpoint(folder)
        found.append(embed_images(model, info.preprocessing, test))
    expected = compare_neighbours(*found)
    assert len(test) == 18 and set(expected) == {"agreement@1", "agreement@10", "rank_correlation"}
    assert student.metrics["test"] == pytest.approx(expected)
    assert evaluate_run(runs / "student", None, None, "test", None, False) == pytest.approx(expected)
    assert agreement_at(expected) == ("agreement@10", expected["agreement@10"])


def test_another_gallery_is_compared_with_its_own_queries(student: CheckpointInfo, runs: Path) -> None:
    reduced = runs / "student" / "teacher"
    own = evaluate_run(reduced, None, None, "test", reduced, False)
    assert own["agreement@1"] == own["agreement@10"] == 1 and own["rank_correlation"] == pytest.approx(1)
    mixed = evaluate_run(runs / "student", None, None, "test", reduced, False)
    assert 0 < mixed["agreement@10"] < 1


def test_whitening_by_pictures(student: CheckpointInfo, runs: Path) -> None:
    info = whiten_run(runs / "student", runs / "whitened", "pictures", 0.5)
    assert info.training["whitened"]["images"] == 72 - 14 and "agreement@10" in info.metrics["test"]
    with pytest.raises(UsageFailure, match="--by classes needs labels.*--by pictures"):
        whiten_run(runs / "student", runs / "other", "classes", 0.5)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("student", dict(method="triplet", teacher=None), "triplet needs labels, and folder:.* has none .*--method absolute"),
        ("student", dict(method="relative+triplet:0.1"), r"triplet needs labels.*use --method relative:0.3\)"),
        ("student", dict(method="absolute", teacher_reduction="projection"), "projection learns from labels.*pca"),
        ("teacher", {}, "multi_similarity needs labels.*--epochs 0"),
    ],
)  # fmt: skip
def test_losses_that_need_labels_are_one_line(
    teacher: CheckpointInfo, photos: Path, runs: Path, tmp_path: Path, kind: str, options: dict, says: str
) -> None:
    if kind == "student":
        config = student_config(photos, runs, **options)
    else:
        config = make_config(TeacherConfig, {**TINY, "data": f"folder:{photos}", "arch": "mobilenet_v1_025"})
    with pytest.raises(UsageFailure, match=says):
        train_run(kind, config, tmp_path / "run")  # type: ignore[arg-type]


def test_evaluation_without_a_teacher_asks_for_a_reference(teacher: CheckpointInfo, runs: Path) -> None:
    with pytest.raises(UsageFailure, match="has no teacher.*add --reference"):
        evaluate_run(runs / "teacher", None, None, "test", None, False)
    with pytest.raises(UsageFailure, match="--nmi needs labels"):
        evaluate_run(runs / "teacher", None, None, "test", None, True)


def test_a_flat_folder_joins_labelled_images(no_labels, photos: Path, tmp_path: Path, monkeypatch) -> None:
    for name, there in zip(("labels", "classes"), no_labels, strict=True):
        monkeypatch.setattr(ImageSet, name, there)  # the labelled images have some
    options = {**TINY, "data": "glyphs:classes=8,faces=4,size=32", "epochs": 1, "images_per_class": 2}
    teacher = make_config(TeacherConfig, {**options, "arch": "mobilenet_v1_025", "epochs": 0})
    train_run("teacher", teacher, tmp_path / "teacher")
    config = make_config(
        StudentConfig,
        {
            **options,
            "teacher": tmp_path / "teacher",
            "unlabelled": f"folder:{photos}",
            "method": "relative+triplet:0.1",
        },
    )
    info = train_run("student", config, tmp_path / "student")
    assert info.data["images"] == 16 + 90 and "recall@1" in info.metrics["test"]


def test_commands_print_agreement(student: CheckpointInfo, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from distill.cli import app

    assert run_app(app, ["evaluate", str(runs / "student")]) == 0
    out = capsys.readouterr()
    assert "agreement@10" in out.out and "compared with those of" in " ".join(out.err.split())


def test_a_run_of_an_older_version_continues_with_its_split(tmp_path: Path) -> None:
    options = dict(data="glyphs:classes=8,faces=4", method="triplet")
    folder = RunFolder(tmp_path / "run")
    folder.claim(make_config(StudentConfig, options | {"split": "half"}), False)
    torch.save({}, tmp_path / "run" / "state.pt")
    folder.check(make_config(StudentConfig, options), False)
    with pytest.raises(UsageFailure, match="--split was half, is 0.7"):
        folder.check(make_config(StudentConfig, options | {"split": "0.7"}), False)
