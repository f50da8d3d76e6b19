"""A loss in a file of its own trains a student, and no other module changes."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from distill.console import UsageFailure
from distill.losses import LOSSES, LossContext, parse_method
from distill.models.info import read_info
from distill.runs import train_run
from distill.training.config import StudentConfig, TeacherConfig, make_config

EXAMPLE = Path(__file__).parents[2] / "examples" / "extend" / "loss.py"
TINY = dict(data="glyphs:classes=8,faces=4,size=32", batch_size=8, images_per_class=2, embedding_size=8, threads=1)


@pytest.fixture
def cosine(tmp_path, monkeypatch):
    """The example, registered from a folder outside the project."""
    (tmp_path / "lib").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "lib" / "cosine_example.py")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    with LOSSES.added("cosine", "cosine_example:COSINE"):
        yield LOSSES["cosine"]


def test_the_value_by_hand(cosine):
    loss = cosine.build(LossContext(student_size=2, teacher_size=2, num_classes=0))
    student = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    teacher = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    # Cosines 1, 1/√2 and −1.
    assert loss(student, teacher).item() == pytest.approx((0 + 1 - 0.5**0.5 + 2) / 3)


def test_a_student_trains_with_it(cosine, tmp_path):
    teacher = tmp_path / "teacher"
    info = train_run("teacher", make_config(TeacherConfig, {**TINY, "arch": "mobilenet_v1_025", "epochs": 0}), teacher)
    options = {**TINY, "method": "cosine:2+triplet:0.1", "teacher": teacher, "epochs": 1, "crop_scale": 1}
    student = train_run("student", make_config(StudentConfig, options), tmp_path / "student")
    with (tmp_path / "student" / "log.csv").open() as file:
        (row,) = csv.DictReader(file)
    parts = {name: float(row[name]) for name in ("cosine", "triplet", "loss")}
    assert 0 < parts["cosine"] < 2
    assert parts["loss"] == pytest.approx(2 * parts["cosine"] + 0.1 * parts["triplet"], rel=1e-5)
    # The spec says that it ties the student to the teacher's space.
    assert student.space == info.id == read_info(teacher).id


def test_it_is_named_where_losses_are_named(cosine):
    assert str(parse_method("cosine + triplet:2")) == "cosine:1+triplet:2"
    with pytest.raises(UsageFailure, match="did you mean 'cosine'"):
        parse_method("cosin")


def test_an_installed_package_adds_it_to_the_help(tmp_path):
    shutil.copy(EXAMPLE, tmp_path / "cosine_example.py")
    metadata = tmp_path / "cosine_example-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: cosine-example\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[distill_to_phone.losses]\ncosine = cosine_example:COSINE\n")
    paths = os.pathsep.join([str(tmp_path), str(EXAMPLE.parents[2])])
    done = subprocess.run(
        [sys.executable, "-m", "distill", "student", "--help"],
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "contrastive, cosine." in " ".join(done.stdout.replace("│", " ").split())
