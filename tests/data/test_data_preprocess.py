from __future__ import annotations

import math

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from distill.data.preprocess import Preprocessing

PRECISION_BITS = 32 - 8 - 2


def reference_weights(source: int, target: int) -> list[tuple[int, np.ndarray]]:
    """Per target pixel: the first source pixel and the fixed-point weights (docs/preprocessing.md)."""
    scale = source / target
    support = max(scale, 1.0)
    rows = []
    for x in range(target):
        center = (x + 0.5) * scale
        first = max(0, int(center - support + 0.5))
        last = min(source, int(center + support + 0.5))
        weights = [max(0.0, 1.0 - abs((i - center + 0.5) * (1.0 / support))) for i in range(first, last)]
        total = sum(weights)
        rows.append((first, np.array([int(0.5 + w / total * (1 << PRECISION_BITS)) for w in weights], np.int64)))
    return rows


def reference_pass(pixels: np.ndarray, target: int) -> np.ndarray:
    """One pass along the first axis; nothing happens where the size stays."""
    if pixels.shape[0] == target:
        return pixels
    out = np.empty((target, *pixels.shape[1:]), np.uint8)
    for x, (first, weights) in enumerate(reference_weights(pixels.shape[0], target)):
        window = pixels[first : first + len(weights)].astype(np.int64)
        total = np.tensordot(weights, window, 1) + (1 << (PRECISION_BITS - 1))
        out[x] = np.clip(total >> PRECISION_BITS, 0, 255)
    return out


def reference_resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Horizontal pass, rounded to 8 bits, then vertical pass."""
    narrowed = reference_pass(pixels.transpose(1, 0, 2), width).transpose(1, 0, 2)
    return reference_pass(narrowed, height)


def noise(width: int, height: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    # Extremes as well as noise: rounding and clipping show at black and white edges.
    if seed % 2:
        return rng.choice(np.array([0, 255], np.uint8), (height, width, 3))
    return rng.integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 48), st.integers(0, 16), st.integers(0, 2**16))
def test_integer_reference_is_pillow(width: int, height: int, side: int, extra: int, seed: int) -> None:
    preprocessing = Preprocessing(input_size=side, resize_size=side + extra)
    pixels = noise(width, height, seed)
    shorter, longer = sorted((width, height))
    resized = (side + extra, longer * (side + extra) // shorter)
    new_width, new_height = resized if width <= height else resized[::-1]
    left, top = (new_width - side) // 2, (new_height - side) // 2
    expected = reference_resize(pixels, new_width, new_height)[top : top + side, left : left + side]
    np.testing.assert_array_equal(preprocessing.pixels(PIL.Image.fromarray(pixels)), expected)


@pytest.mark.parametrize("size", [(640, 480), (333, 500), (1000, 257), (256, 256)])
def test_integer_reference_on_camera_sizes(size: tuple[int, int]) -> None:
    preprocessing = Preprocessing(input_size=224, resize_size=256)
    pixels = noise(*size, seed=4)
    width, height = preprocessing.resized_size(*size)
    left, top = preprocessing.crop_corner(width, height)
    expected = reference_resize(pixels, width, height)[top : top + 224, left : left + 224]
    np.testing.assert_array_equal(preprocessing.pixels(PIL.Image.fromarray(pixels)), expected)


def test_sizes_and_corners_to_the_integer() -> None:
    preprocessing = Preprocessing(input_size=224, resize_size=256)
    assert preprocessing.resized_size(640, 480) == (341, 256)  # 341.33 is cut, not rounded
    assert preprocessing.resized_size(333, 500) == (256, 384)  # 384.38
    assert preprocessing.resized_size(100, 100) == (256, 256)  # enlarged
    assert preprocessing.resized_size(1, 64) == (256, 16384)
    assert preprocessing.crop_corner(341, 256) == (58, 16)  # 58.5: the odd pixel is lost on the right


def test_image_of_the_right_size_stays_untouched() -> None:
    pixels = noise(40, 32, seed=0)
    preprocessing = Preprocessing(input_size=32, resize_size=32)
    np.testing.assert_array_equal(preprocessing.pixels(PIL.Image.fromarray(pixels)), pixels[:, 4:36])


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 300), st.integers(0, 100))
def test_crop_always_fits(width: int, height: int, side: int, extra: int) -> None:
    preprocessing = Preprocessing(input_size=side, resize_size=side + extra)
    new_width, new_height = preprocessing.resized_size(width, height)
    left, top = preprocessing.crop_corner(new_width, new_height)
    assert min(new_width, new_height) == side + extra
    assert 0 <= left <= new_width - side and 0 <= top <= new_height - side
    # The aspect ratio is kept to within the pixel that the division cuts off.
    assert math.isclose(new_width / new_height, width / height, rel_tol=1 / max(1, min(new_width, new_height)))


def test_pixels_are_rgb_bytes_that_may_be_written() -> None:
    grey = PIL.Image.fromarray(np.full((9, 9), 7, np.uint8))
    pixels = Preprocessing(input_size=8, resize_size=8).pixels(grey)
    assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8 and (pixels == 7).all()
    pixels[0] = 0


def test_scale_of_students_is_pixel_minus_128_over_128() -> None:
    pixels = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
    scaled = Preprocessing(input_size=8, resize_size=8).scale(pixels)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled * 128, pixels.astype(int) - 128)


def test_scale_is_per_channel_with_any_leading_axes() -> None:
    preprocessing = Preprocessing(input_size=8, resize_size=8, mean=(1, 2, 3), std=(1, 2, 4))
    scaled = preprocessing.scale(np.full((2, 5, 4, 3), 5, np.uint8))
    np.testing.assert_array_equal(scaled[1, 2, 3], np.float32([4, 1.5, 0.5]))
    with pytest.raises(ValueError, match="shape"):
        preprocessing.scale(np.zeros((3, 8, 8), np.uint8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_size": 0},
        {"input_size": 4097, "resize_size": 4097},
        {"resize_size": 31},
        {"resize_size": 5000},
        {"std": (1, 0, 1)},
        {"std": (1, -1, 1)},
        {"std": (1, math.inf, 1)},
        {"mean": (0, math.nan, 0)},
        {"mean": (0, 0)},
        {"crop": "random"},
        {"resize_rule": "bicubic"},
        {"colour_order": "BGR"},
        {"extra": 1},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preprocessing.model_validate({"input_size": 32, "resize_size": 32, **wrong})


def test_survives_json_and_is_frozen() -> None:
    preprocessing = Preprocessing(
        input_size=96, resize_size=110, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
    )
    assert Preprocessing.model_validate_json(preprocessing.model_dump_json()) == preprocessing
    with pytest.raises(ValidationError):
        preprocessing.input_size = 5


def test_the_documented_examples() -> None:
    assert [(first, k.tolist()) for first, k in reference_weights(5, 3)] == [
        (0, [2396745, 1797559, 0]),
        (1, [932068, 2330169, 932068]),
        (3, [1797559, 2396745]),
    ]
    for line, result in (([10, 250, 3, 77, 200], [113, 74, 147]), ([0, 255], [0, 64, 191, 255])):
        row = PIL.Image.fromarray(np.array([line], np.uint8))
        assert np.asarray(row.resize((len(result), 1), PIL.Image.Resampling.BILINEAR))[0].tolist() == result
        assert reference_pass(np.array(line, np.uint8), len(result)).tolist() == result
