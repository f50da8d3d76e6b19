from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distill.console import UsageFailure
from distill.runs import train_run
from distill.training.config import StudentConfig, TeacherConfig, make_config
from distill.training.setup import Setup, prepare

DATA = "glyphs:classes=16,faces=6,size=32"
TINY = dict(data=DATA, epochs=2, batch_size=16, embedding_size=16, precision="float32", threads=1)


@pytest.fixture(scope="module")
def teacher_run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "teacher"
    train_run("teacher", make_config(TeacherConfig, {**TINY, "arch": "mobilenet_v1_050", "lr": 3e-3}), out)
    return out


def student(teacher: Path, **options) -> StudentConfig:
    values = {
        **TINY,
        "method": "absolute",
        "teacher": teacher,
        "teacher_mirror": True,
        "flip": True,
        "teacher_crops": 2,
        **options,
    }
    return make_config(StudentConfig, values)


def prepared(tmp_path: Path, teacher: Path, **options) -> Setup:
    return prepare(student(teacher, cache_dir=tmp_path / "cache", **options), tmp_path / "run")


def test_the_mean_of_an_image_and_its_mirror_image_is_the_target(tmp_path, teacher_run):
    plain = prepared(tmp_path, teacher_run, teacher_crops=0, teacher_mirror=False).teacher
    both = prepared(tmp_path, teacher_run, teacher_crops=0).teacher
    pixels = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    one, other = plain.embed(pixels)[0], plain.embed(pixels.flip(3))[0]
    assert float((one - other).abs().max()) > 1e-3
    mean = (one + other) / (one + other).norm(dim=1, keepdim=True)
    np.testing.assert_allclose(both.embed(pixels)[0], mean, atol=1e-6)
    np.testing.assert_allclose(both.embed(pixels.flip(3))[0], mean, atol=1e-6)
    # Stage maps are those of the unmirrored image.
    for ours, theirs in zip(both.embed(pixels, stages=True)[1], plain.embed(pixels, stages=True)[1], strict=True):
        assert torch.equal(ours, theirs)


def test_the_two_kinds_of_targets_are_stored_apart(tmp_path, teacher_run):
    targets = []
    for mirror in (False, True):
        setup = prepared(tmp_path, teacher_run, teacher_mirror=mirror)
        setup.teacher.prepare((0,))
        rows = np.arange(4)
        crops = setup.images.crops(rows, 0, setup.rule, 32)
        stored = np.load(next(folder for folder in setup.teacher._folder.glob("view-0000.npy")))[rows]
        np.testing.assert_allclose(stored, setup.teacher.live.embed(crops)[0], atol=2e-3)
        targets.append(stored)
    assert len(list((tmp_path / "cache").glob("teacher-*"))) == 2
    assert np.abs(targets[0] - targets[1]).max() > 2e-3


def test_stored_crops_come_back_mirrored_every_other_time(tmp_path, teacher_run, monkeypatch):
    seen: dict[int, dict[int, torch.Tensor]] = {}
    from distill.training import loop

    load = loop.load_batches

    def record(images, plan, views, *rest):
        epoch = len(seen)
        seen[epoch] = {}
        for batch in load(images, plan, views, *rest):
            seen[epoch] |= dict(zip(batch.indices.tolist(), batch.student, strict=True))
            yield batch

    monkeypatch.setattr(loop._Loop, "_start_head", lambda self: None)
    monkeypatch.setattr(loop, "load_batches", record)
    # Batches of two images a class draw all of the six once.
    train_run("student", student(teacher_run, epochs=5, images_per_class=1), tmp_path / "run")
    assert len(seen) == 5
    common = set(seen[0]) & set(seen[2]) & set(seen[4]) & set(seen[1]) & set(seen[3])
    assert len(common) > 20
    for index in common:
        assert torch.equal(seen[0][index].flip(2), seen[2][index])
        assert torch.equal(seen[1][index].flip(2), seen[3][index])
        assert torch.equal(seen[0][index], seen[4][index])
        assert not torch.equal(seen[0][index], seen[1][index])


@pytest.mark.parametrize("method", ["absolute", "relaxed_contrastive", "hint@3+absolute"])
def test_stored_and_live_targets_agree(tmp_path, teacher_run, method):
    # As many crops as the epochs need: none is reused, so both see the same images.
    for name, crops in (("live", 0), ("stored", 4)):
        train_run(
            "student",
            student(teacher_run, method=method, teacher_crops=crops, cache_dir=tmp_path / "cache"),
            tmp_path / name,
        )
    live, stored = (load_file(tmp_path / name / "model.safetensors") for name in ("live", "stored"))
    gap = max(float((live[n].float() - stored[n].float()).abs().max()) for n in live if "running" not in n)
    assert 0 < gap < 0.02


def test_stage_maps_keep_the_crop_as_it_is(tmp_path, teacher_run):
    from distill.training.loop import _Loop
    from distill.training.state import RunFolder

    for method, expected in (("absolute", True), ("attention+absolute", False)):
        config = student(teacher_run, method=method, cache_dir=tmp_path / "cache")
        setup = prepare(config, tmp_path / "run")
        trainer = _Loop(config, setup, RunFolder(tmp_path / method[:3]))
        assert trainer._views(2) == ((0,), (expected,)), method
        assert trainer._views(1) == ((1,), (False,))


def test_images_that_are_not_mirrored_are_refused(tmp_path, teacher_run):
    with pytest.raises(UsageFailure, match="--teacher-mirror.*not mirrored"):
        train_run("student", student(teacher_run, flip=None), tmp_path / "run")
