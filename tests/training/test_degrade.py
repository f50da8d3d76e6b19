from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.console import UsageFailure
from distill.training.degrade import parse_degrade


def image() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8))


@pytest.mark.parametrize("text", ["lowres:4", "blur:2", "jpeg:5", "lowres:2+jpeg:30"])
def test_degraded_images_keep_shape_and_lose_detail(text):
    before = image()
    after = parse_degrade(text)(before)
    assert after.shape == before.shape and after.dtype == torch.uint8

    def detail(x: torch.Tensor) -> float:
        return float(x.float().diff(dim=2).abs().mean())

    assert detail(after) < 0.8 * detail(before)
    assert abs(float(after.float().mean() - before.float().mean())) < 6


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lowers:4", "did you mean 'lowres'"),
        ("jpeg:0", "from 1 to 100"),
        ("blur:x", "needs a number"),
        ("blur", "needs a number"),
        ("jpeg:nan", "needs"),
    ],
)
def test_wrong_kinds_and_numbers_are_refused(text, says):
    with pytest.raises(UsageFailure, match=says):
        parse_degrade(text)


def test_nothing_asked_nothing_done():
    assert parse_degrade(None) is None
