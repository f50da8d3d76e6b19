"""Two processes that share a batch compute what one process computes with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from distill.runs import train_run
from distill.training.config import TeacherConfig, make_config

SCRIPT = Path(__file__).with_name("one_step.py")


@pytest.fixture(scope="module")
def teacher_run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "teacher"
    options = dict(
        data="glyphs:classes=16,faces=6,size=32", arch="mobilenet_v1_025", epochs=0, embedding_size=16, threads=1
    )
    train_run("teacher", make_config(TeacherConfig, options), out)
    return out


def step(processes: int, folder: Path, teacher: Path, method: str) -> dict:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    out = folder / "step.pt"
    folder.mkdir()
    command = [sys.executable, *launch, str(SCRIPT), str(out), str(teacher), method]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out, weights_only=True)


@pytest.fixture(scope="module")
def wide_teacher(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "wide"
    options = dict(
        data="glyphs:classes=16,faces=6,size=32", arch="mobilenet_v1_025", epochs=0, embedding_size=24, threads=1
    )
    train_run("teacher", make_config(TeacherConfig, options), out)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("method", ["relative+triplet", "hint@2,3+absolute+proxy_anchor", "rkd_raw"])
def test_loss_and_gradients_are_those_of_the_joint_batch(tmp_path, teacher_run, wide_teacher, method):
    teacher = wide_teacher if "absolute" in method else teacher_run  # reduced, by the one and by the two
    one = step(1, tmp_path / "one", teacher, method)
    two = step(2, tmp_path / "two", teacher, method)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert one["gradients"].keys() == two["gradients"].keys()
    largest = max(float(g.abs().max()) for g in one["gradients"].values())
    for name, gradient in one["gradients"].items():
        assert (gradient - two["gradients"][name]).abs().max() < 1e-4 * largest, name
