"""A bundle teaches: with its own preprocessing, in the space of the checkpoint it was made of."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from export_helpers import noise

from distill.console import Failure
from distill.models.info import read_info
from distill.runs import train_run
from distill.training.config import StudentConfig, make_config
from distill.training.teachers.kind import TeacherContext
from distill.training.teachers.registry import open_teacher
from export.teacher import BundleTeacher

CONTEXT = TeacherContext()


def pixels(count: int = 6, side: int = 64) -> torch.Tensor:
    return torch.from_numpy(noise(count, side, seed=4)).permute(0, 3, 1, 2)


def test_a_bundle_gives_the_targets_of_its_checkpoint(made_bundle, checkpoint):
    ours, exported = open_teacher(checkpoint, CONTEXT), open_teacher(made_bundle, CONTEXT)
    assert isinstance(exported, BundleTeacher)
    assert torch.allclose(exported.embed(pixels())[0], ours.embed(pixels())[0], atol=1e-5)
    assert exported.info.id == read_info(checkpoint).id and exported.preprocessing == ours.preprocessing
    # Its rows are scaled before a reduction, the checkpoint's are not: they must not share a cache.
    assert exported.cache_id != ours.cache_id


def test_a_file_in_a_bundle_is_that_variant(made_bundle):
    files = {name: next(made_bundle.glob(f"*{name}*.onnx")) for name in ("float32", "int8")}
    whole, by_file, rounded = (open_teacher(path, CONTEXT) for path in (made_bundle, *files.values()))
    assert torch.equal(whole.embed(pixels())[0], by_file.embed(pixels())[0])
    assert rounded.info.id != whole.info.id == by_file.info.id
    near = (rounded.embed(pixels())[0] * whole.embed(pixels())[0]).sum(1)
    assert near.min() > 0.8 and near.max() < 0.9999999


def test_a_file_that_the_bundle_does_not_list_is_refused(bundle):
    shutil.copy(next(bundle.glob("*float32*.onnx")), bundle / "other.onnx")
    with pytest.raises(Failure, match="bundle.json beside it does not list it"):
        open_teacher(bundle / "other.onnx", CONTEXT)
    (bundle / "bundle.json").write_text("{}")
    with pytest.raises(Failure, match="no schema_version"):
        open_teacher(bundle, CONTEXT)


def test_a_bundle_trains_a_student(made_bundle, pictures, tmp_path):
    options = dict(
        data=f"folder:{pictures}", teacher=made_bundle, method="absolute", embedding_size=16, input_size=32, threads=1,
        epochs=1, batch_size=8, images_per_class=2, precision="float32", cache_dir=tmp_path / "cache",
    )  # fmt: skip
    info = train_run("student", make_config(StudentConfig, options), tmp_path / "run")
    assert info.space == info.training["teacher_id"] == info.training["teacher_of"]["id"]
    assert Path(info.training["teacher"]) == made_bundle


@pytest.mark.slow
def test_a_tflite_file_gives_the_targets_of_its_checkpoint(tflite_bundle, checkpoint, tmp_path):
    ours = open_teacher(checkpoint, CONTEXT).embed(pixels())[0]
    for name, least in (("float32", 0.99999), ("int8", 0.8)):
        file = next(path for path in sorted(tflite_bundle.glob("*.tflite")) if path.stem.endswith(name))
        assert torch.equal(
            open_teacher(file, CONTEXT).embed(pixels())[0], open_teacher(file, CONTEXT).embed(pixels())[0]
        )
        copy = Path(shutil.copy(file, tmp_path / f"{name}.tflite"))  # outside the bundle, it needs a description
        copy.with_name(copy.name + ".yaml").write_text(yaml.safe_dump({"mean": 128, "std": 128}))
        found = open_teacher(copy, CONTEXT)
        assert found.preprocessing.input_size == 64
        rows = found.embed(pixels())[0]
        assert (rows * ours).sum(1).min() > least
        again = np.concatenate([found.embed(pixels()[i : i + 1])[0] for i in range(6)])
        assert np.allclose(rows, again, atol=1e-6)
