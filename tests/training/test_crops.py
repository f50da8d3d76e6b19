from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from distill.training.crops import Crop, CropRule, cut


@given(
    image=st.integers(0, 10**6),
    view=st.integers(0, 1000),
    height=st.integers(8, 300),
    width=st.integers(8, 300),
    scale=st.floats(0.05, 1.0),
    seed=st.integers(0, 2**40),
)
def test_a_crop_lies_inside_and_is_the_same_when_asked_again(image, view, height, width, scale, seed):
    rule = CropRule(scale, True, seed)
    crop = rule.box(image, view, height, width)
    assert crop.top >= 0 and crop.top + crop.height <= height and crop.height > 0
    assert crop.left >= 0 and crop.left + crop.width <= width and crop.width > 0
    assert crop == CropRule(scale, True, seed).box(image, view, height, width)


def test_views_images_and_seeds_differ():
    boxes = {
        CropRule(0.2, False, seed).box(image, view, 256, 256)
        for seed in range(3)
        for image in range(5)
        for view in range(5)
    }
    assert len(boxes) == 75


def test_areas_and_shapes_follow_torchvision():
    rule = CropRule(0.25, True, 7)
    ours = [rule.box(i, 0, 200, 300) for i in range(4000)]
    torch.manual_seed(0)
    blank = torch.zeros(3, 200, 300)
    theirs = np.array([RandomResizedCrop.get_params(blank, [0.25, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    values = np.array([(c.top, c.left, c.height, c.width) for c in ours])
    # Standard errors of these means are below 1 pixel; quantiles of the sizes agree as well.
    assert np.abs(values.mean(0) - theirs.mean(0)).max() < 3
    for share in (0.1, 0.5, 0.9):
        assert np.abs(np.quantile(values[:, 2:], share, 0) - np.quantile(theirs[:, 2:], share, 0)).max() < 5
    assert 0.46 < np.mean([c.mirrored for c in ours]) < 0.54


def test_scale_one_is_the_centre_square():
    assert CropRule(1.0, False, 0).box(5, 9, 60, 100) == Crop(0, 20, 60, 60, False)


def test_cut_without_resize_copies_pixels_and_mirrors():
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    plain = cut(pixels, Crop(2, 3, 6, 6, False), 6)
    assert np.array_equal(plain.permute(1, 2, 0).numpy(), pixels[2:8, 3:9])
    assert torch.equal(cut(pixels, Crop(2, 3, 6, 6, True), 6), plain.flip(2))


def test_cut_resizes_like_the_deployed_preprocessing():
    smooth = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(smooth).resize((96, 96), Image.Resampling.BICUBIC))
    ours = cut(pixels, Crop(0, 0, 96, 96, False), 40).permute(1, 2, 0).numpy().astype(int)
    across = Image.fromarray(pixels).resize((40, 96), Image.Resampling.BILINEAR)
    assert np.array_equal(ours, np.asarray(across.resize((40, 40), Image.Resampling.BILINEAR)))
