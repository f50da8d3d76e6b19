from __future__ import annotations

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
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import load_file

from distill.console import Failure
from distill.losses.attention import attention_map
from distill.losses.method import parse_method
from distill.losses.pairs import same_grid
from distill.models.embedder import Embedder
from distill.models.registry import build_backbone
from distill.runs import train_run
from distill.training.config import StudentConfig, TeacherConfig, make_config
from distill.training.data import Batch
from distill.training.setup import prepare
from distill.training.stage_maps import StoredStage, decode, encode, stage_shapes, stored_stages
from distill.training.state import RunFolder
from distill.training.teacher import LiveTeacher
from distill.training.teacher_store import CachedTeacher

TINY = dict(
    data="glyphs:classes=16,faces=6,size=32",
    epochs=2,
    batch_size=16,
    images_per_class=4,
    embedding_size=16,
    precision="float32",
    threads=1,
)
MIXED = "hint@2,3+attention@3,4+hint_relative@2+similarity_preserving:10@4"


@pytest.fixture(scope="module")
def teacher_run(tmp_path_factory) -> Path:
    """A teacher that looks at twice as many pixels as its students, so that its maps are finer."""
    out = tmp_path_factory.mktemp("runs") / "teacher"
    options = {**TINY, "arch": "mobilenet_v1_025", "epochs": 1, "input_size": 64}
    train_run("teacher", make_config(TeacherConfig, options), out)
    return out


def student(teacher: Path, **options):
    return make_config(StudentConfig, {**TINY, "method": MIXED, "teacher": teacher, **options})


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return all(torch.equal(first[name], second[name]) for name in first)


def stores(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("stage*.npy"))


@given(arrays(np.float32, (3, 2, 2, 3), elements=st.floats(-(2.0**127), 2.0**127, width=32, allow_subnormal=False)))
def test_stored_maps_are_precise_whatever_their_scale(maps):
    back = decode(encode(torch.from_numpy(maps)), (2, 2, 3)).numpy()
    largest = np.abs(maps).max(axis=(1, 2, 3), keepdims=True)
    allowed = np.maximum(np.abs(maps) * 2.0**-11, largest.astype(np.float64) * 2.0**-24) + 2.0**-126
    assert (np.abs(back.astype(np.float64) - maps) <= allowed).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_maps_that_are_not_finite_are_refused(value):
    maps = torch.ones(2, 1, 2, 2)
    maps[1, 0, 0, 0] = value
    with pytest.raises(Failure, match="not finite"):
        encode(maps)


@pytest.mark.parametrize("grid", [(8, 8), (4, 5)])
def test_the_one_channel_map_gives_the_attention_of_the_whole(grid):
    torch.manual_seed(0)
    maps = torch.randn(5, 12, 8, 8) * torch.rand(5, 1, 1, 1) * 100
    stored = StoredStage(3, "attention", (1, *grid)).of(maps)
    assert stored.shape == (5, 1, *grid)
    seen = same_grid(torch.zeros(5, 1, *grid), maps)[1]
    assert torch.allclose(attention_map(stored), attention_map(seen), atol=1e-6)
    rounded = decode(encode(stored), (1, *grid))
    assert torch.allclose(attention_map(rounded), attention_map(seen), atol=1e-3)


def test_no_more_is_stored_than_the_losses_look_at():
    teacher, own = [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)], [(4, 8, 8), (8, 4, 4), (8, 4, 4), (9, 4, 4)]

    def stored(text: str) -> list[str]:
        return [stage.name for stage in stored_stages(parse_method(text).teacher_maps, teacher, own)]

    assert stored("attention@1,4") == ["stage1-attention-1x8x8", "stage4-attention-1x2x2"]
    assert stored("hint@2,3") == ["stage2-grid-16x4x4", "stage3-grid-32x4x4"]
    assert stored("attention@2,3+hint@3") == ["stage2-attention-1x4x4", "stage3-grid-32x4x4"]
    assert stored("similarity_preserving@2+hint_relative@2+relative") == ["stage2-whole-16x8x8"]
    assert stored("relative+similarity_preserving") == []


def test_shapes_are_asked_for_without_leaving_a_trace():
    model = Embedder(build_backbone("mobilenet_v1_025"), 4).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert [shape[1:] for shape in stage_shapes(model, 64)] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_stored_maps_are_the_live_ones_within_float16(tmp_path, teacher_run):
    setup = prepare(student(teacher_run), tmp_path / "run")
    assert isinstance(setup.teacher, CachedTeacher)
    setup.teacher.prepare((0, 1))
    indices = np.array([5, 0, 17, 40])
    size = setup.teacher.live.preprocessing.input_size
    crops = torch.cat([setup.images.crops(indices, view, setup.rule, size) for view in (1, 0)])
    stored, maps = setup.teacher(Batch(indices, (1, 0), torch.empty(0), None), True)
    fresh, live = setup.teacher.live.embed(crops, stages=True)
    assert (stored - fresh).abs().max() < 1e-3 and maps[0] is None
    for stage in setup.teacher.stages:
        expected = stage.of(live[stage.stage - 1])
        assert expected.shape[1:] == stage.shape == maps[stage.stage - 1].shape[1:]
        assert (maps[stage.stage - 1] - expected).abs().max() <= 2.0**-11 * expected.abs().max()
    # What counts: every term of the method sees the same.
    own = [torch.rand(8, *shape) for shape in stage_shapes(setup.model, 32)]
    embeddings = torch.nn.functional.normalize(torch.rand(8, 16))
    one = setup.losses(embeddings, stored, student_stages=own, teacher_stages=maps)
    two = setup.losses(embeddings, fresh, student_stages=own, teacher_stages=live)
    assert set(one) == {"loss", "hint", "attention", "hint_relative", "similarity_preserving"}
    for name, value in one.items():
        assert value.item() == pytest.approx(two[name].item(), rel=2e-3)


def test_training_from_stored_maps_needs_the_teacher_once(tmp_path, teacher_run, monkeypatch, capsys):
    options = dict(cache_dir=tmp_path / "cache", lr=1e-4)
    train_run("student", student(teacher_run, **options, teacher_crops=0), tmp_path / "live")
    assert stores(tmp_path / "cache") == []
    train_run("student", student(teacher_run, **options, teacher_crops=2), tmp_path / "stored")
    assert "stage maps of 2 crops an image take" in capsys.readouterr().err
    live, stored = weights(tmp_path / "live"), weights(tmp_path / "stored")
    # Adam's first steps amplify the rounding of tiny gradients.
    assert 0 < max(float((live[n] - stored[n]).abs().max()) for n in live if "running" not in n) < 0.002
    assert len(stores(tmp_path / "cache")) == 3 * 2

    def refuse(*_, **__):
        raise AssertionError("the teacher ran although its maps are stored")

    monkeypatch.setattr(LiveTeacher, "embed", refuse)
    train_run("student", student(teacher_run, **options, teacher_crops=2), tmp_path / "again")
    assert same(tmp_path / "stored", tmp_path / "again")
    # Another method that needs no more than these, or only the embeddings, shares them.
    train_run("student", student(teacher_run, **options, teacher_crops=2, method="relative"), tmp_path / "embeddings")
    train_run("student", student(teacher_run, **options, teacher_crops=2, method="hint@2+relative"), tmp_path / "hint")
    with pytest.raises(AssertionError, match="stored"):
        train_run("student", student(teacher_run, **options, teacher_crops=2, method="attention@2"), tmp_path / "other")


def test_other_crops_images_or_forms_are_another_store(tmp_path, teacher_run):
    cache = tmp_path / "cache"

    def run(**options) -> int:
        prepare(
            student(teacher_run, **{"method": "attention@3", **options}, cache_dir=cache), tmp_path / "run"
        ).teacher.prepare((0,))
        return len({path.resolve() for path in cache.rglob("stage*.npy")})

    assert run() == 1
    assert run(lr=0.5) == 1
    assert run(seed=1) == 2
    assert run(crop_scale=0.5) == 3
    assert run(data="glyphs:classes=16,faces=5,size=32") == 4
    assert run(method="hint@3") == 5
    assert run(input_size=64) == 6  # a finer student, for which the maps are not pooled
    assert run(input_size=96) == 7  # the same maps, cut from images stored larger


@pytest.mark.parametrize("damage", ["truncated", "shape", "empty"])
def test_a_damaged_store_is_computed_again(tmp_path, teacher_run, damage):
    options = dict(cache_dir=tmp_path / "cache", method="attention@2,3", epochs=1)
    train_run("student", student(teacher_run, **options), tmp_path / "a")
    path = next((tmp_path / "cache").rglob("stage3*.npy"))
    whole = path.read_bytes()
    if damage == "shape":
        np.save(path, np.zeros((48, 3), np.float16))
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"")
    train_run("student", student(teacher_run, **options), tmp_path / "b")
    assert path.read_bytes() == whole and same(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(
    ("options", "free", "says"),
    [
        (dict(teacher_store_gb=1e-6), 10**12, "more than --teacher-store-gb 1e-06: the teacher runs at every step"),
        ({}, 2_000_100_000, "GB free: the teacher runs at every step"),
    ],
)
def test_maps_that_do_not_fit_leave_the_teacher_live(tmp_path, teacher_run, monkeypatch, capsys, options, free, says):
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(free, 0, free))
    setup = prepare(student(teacher_run, **options, cache_dir=tmp_path / "cache"), tmp_path / "run")
    assert isinstance(setup.teacher, LiveTeacher)
    assert says in " ".join(capsys.readouterr().err.split())
    assert isinstance(
        prepare(student(teacher_run, method="relative", cache_dir=tmp_path / "cache"), tmp_path / "run").teacher,
        CachedTeacher,
    )


def test_a_full_disk_is_told_and_nothing_half_written_stays(tmp_path, teacher_run, monkeypatch):
    def full(*_):
        def write(first, rows):
            raise OSError(28, "No space left on device")

        return write

    monkeypatch.setattr("distill.training.teacher_store._row_writer", full)
    with pytest.raises(Failure, match="No space left on device.*free some space"):
        train_run("student", student(teacher_run, cache_dir=tmp_path / "cache"), tmp_path / "run")
    assert list((tmp_path / "cache").rglob("*view-*")) == []


def interrupt(monkeypatch) -> None:
    save = RunFolder.save

    def save_and_stop(self, state):
        save(self, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "save", save_and_stop)


@pytest.mark.parametrize("before", ["stored", "live", "older program"])
def test_a_run_goes_on_with_the_maps_it_began_with(tmp_path, teacher_run, monkeypatch, before):
    options = dict(method="hint@3", cache_dir=tmp_path / "cache", teacher_crops=2)
    limit = {"stored": 8.0}.get(before, 0.0)
    train_run("student", student(teacher_run, **options, teacher_store_gb=limit), tmp_path / "whole")
    interrupt(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train_run("student", student(teacher_run, **options, teacher_store_gb=limit), tmp_path / "cut")
    monkeypatch.undo()
    if before == "older program":
        state = torch.load(tmp_path / "cut" / "state.pt", weights_only=True)
        del state["maps"]
        torch.save(state, tmp_path / "cut" / "state.pt")
    train_run("student", student(teacher_run, **options), tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_a_store_whose_making_was_killed_is_made_again(tmp_path, teacher_run):
    options = dict(method="attention@3+hint@2", cache_dir=tmp_path / "cache", epochs=1)
    train_run("student", student(teacher_run, **options), tmp_path / "whole")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "cache").rglob("stage*.npy")}
    shutil.rmtree(tmp_path / "cache")
    code = (
        "import sys, time; from pathlib import Path; from distill.training.config import *; from distill.runs import train_run\n"
        "from distill.training import teacher_store\n"
        "writer = teacher_store._row_writer\n"
        "def slow(*a):\n    w = writer(*a)\n    return lambda *b: (w(*b), time.sleep(60))\n"
        "teacher_store._row_writer = slow\n"
        "train_run('student', make_config(StudentConfig, eval(sys.argv[1])), Path(sys.argv[2]))"
    )
    values = repr({**TINY, **options, "teacher": str(teacher_run), "cache_dir": str(tmp_path / "cache")})
    victim = subprocess.Popen([sys.executable, "-c", code, values, str(tmp_path / "cut")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in (tmp_path / "cache").rglob(".stage*")):
        assert victim.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    assert stores(tmp_path / "cache") == []
    leftovers = list((tmp_path / "cache").rglob(".stage*"))
    for leftover in leftovers:
        os.utime(leftover, (0, 0))  # as if it had been killed long ago
    train_run("student", student(teacher_run, **options), tmp_path / "cut", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "cache").rglob("stage*.npy")} == expected
    assert leftovers and not any(path.exists() for path in leftovers)
    assert same(tmp_path / "whole", tmp_path / "cut")
