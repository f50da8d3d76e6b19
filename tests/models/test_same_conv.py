"""SAME padding against its definition and against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from distill.models.padding import same_padding
from distill.models.same_conv import SameConv2d

odd_kernels = st.sampled_from([1, 3, 5, 7])


@given(size=st.integers(1, 400), kernel=odd_kernels, stride=st.integers(1, 4))
def test_padding_gives_ceil_cells_and_no_zero_too_many(size: int, kernel: int, stride: int) -> None:
    before, after = same_padding(size, kernel, stride)
    padded = size + before + after
    cells = (padded - kernel) // stride + 1
    assert cells == -(-size // stride)
    assert 0 <= after - before <= 1  # the odd zero goes after
    if before + after:
        # One zero fewer and the last cell would not fit.
        assert (padded - 1 - kernel) // stride + 1 == cells - 1


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (224, 3, 2, (0, 1)),
        (7, 3, 2, (1, 1)),
        (14, 3, 1, (1, 1)),
        (15, 5, 2, (2, 2)),
        (16, 5, 2, (1, 2)),
        (5, 1, 2, (0, 0)),
    ],
)
def test_padding_by_hand(size: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == expected


@given(
    height=st.integers(1, 12), width=st.integers(1, 12), kernel=odd_kernels, stride=st.integers(1, 3),
    depthwise=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_convolution_equals_one_on_a_padded_image(
    height: int, width: int, kernel: int, stride: int, depthwise: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    conv = SameConv2d(4, 4, kernel, stride, groups=4 if depthwise else 1)
    x = torch.randn(2, 4, height, width)
    with torch.no_grad():
        output = conv(x)
        top, bottom = same_padding(height, kernel, stride)
        left, right = same_padding(width, kernel, stride)
        expected = F.conv2d(F.pad(x, (left, right, top, bottom)), conv.weight, stride=stride, groups=conv.groups)
    assert output.shape == (2, 4, -(-height // stride), -(-width // stride))
    torch.testing.assert_close(output, expected)


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 9, 13])
@pytest.mark.parametrize("kernel", [3, 5])
def test_convolution_equals_tensorflow(size: int, kernel: int) -> None:
    tf = pytest.importorskip("tensorflow")
    torch.manual_seed(0)
    for stride in (1, 2):
        full, depthwise = SameConv2d(4, 6, kernel, stride), SameConv2d(4, 4, kernel, stride, groups=4)
        x = torch.randn(2, 4, size, size + 1)
        nhwc = x.permute(0, 2, 3, 1).numpy()
        with torch.no_grad():
            ours, ours_depthwise = full(x), depthwise(x)
        theirs = tf.nn.conv2d(nhwc, full.weight.detach().permute(2, 3, 1, 0).numpy(), stride, "SAME")
        theirs_depthwise = tf.nn.depthwise_conv2d(
            nhwc, depthwise.weight.detach().permute(2, 3, 0, 1).numpy(), [1, stride, stride, 1], "SAME"
        )
        np.testing.assert_allclose(ours.permute(0, 2, 3, 1), theirs, atol=1e-5)
        np.testing.assert_allclose(ours_depthwise.permute(0, 2, 3, 1), theirs_depthwise, atol=1e-5)
