"""The patch stem: it begins as the layers it replaces, from weights of the whole network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers_models import randomise
from safetensors.torch import save_file

from distill.console import Failure
from distill.models.mobilenet_v1 import MobileNetV1
from distill.models.patch_stem import noise_images, start_from_whole
from distill.models.registry import build_backbone

PATCH = "mobilenet_v1_025_patch"


@pytest.fixture
def whole() -> MobileNetV1:
    return randomise(MobileNetV1(0.25)).eval()


def _explained(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Share of the variance over places and images, channels on their own scale."""
    centred = wanted - wanted.mean(dim=(0, 2, 3), keepdim=True)
    return 1 - float(((found - wanted).square().sum(dim=(0, 2, 3)) / centred.square().sum(dim=(0, 2, 3))).median())


def test_noise_images_have_the_spectrum_of_natural_images() -> None:
    images = noise_images(16, 128, seed=3)
    assert images.shape == (16, 3, 128, 128) and images.min() >= -1 and images.max() <= 1
    assert torch.equal(images, noise_images(16, 128, seed=3))
    power = torch.fft.fft2(images.mean(dim=1)).abs().square().mean(dim=0)[0, 1:64]
    frequency = torch.arange(1, 64).float()
    centred = frequency.log() - frequency.log().mean()
    slope = float((centred * power.log()).sum() / centred.square().sum())
    assert -2.4 < slope < -1.6  # amplitude ~ 1 / f, so power ~ 1 / f ** 2


def test_layers_without_a_bend_are_found(whole: MobileNetV1) -> None:
    """First layers that stay between 0 and 6 and look at no more than the stem does are a linear map: this one."""
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in list(whole.layers())[:5]:
            layer.conv.weight.zero_()
            layer.bn.running_mean.zero_()
            layer.bn.running_var.fill_(1 - layer.bn.eps)
            layer.bn.weight.fill_(1)
            if layer.kind == "depthwise":
                tap = 0 if layer.stride == 2 else 1  # so that all look at the first pixel of four
                layer.conv.weight[:, :, tap, tap] = 0.5
                layer.bn.bias.fill_(1.5)
            else:
                weight = 0.2 * torch.randn(layer.conv.weight.shape[:2])
                layer.conv.weight[:, :, 0, 0] = weight - weight.mean(dim=1, keepdim=True)
                layer.bn.bias.fill_(3)
    model = MobileNetV1(0.25, patch=True).eval()
    images = noise_images(2, 64, seed=5)  # others than it is fitted to
    with torch.no_grad():
        wanted = images
        for layer in list(whole.layers())[:5]:
            wanted = whole.activation(layer.bn(layer.conv(wanted)))
        before = model.activation(model.stem_bn(model.stem(images)))
        start_from_whole(model, whole)
        after = model.activation(model.stem_bn(model.stem(images)))
    assert _explained(after, wanted) > 0.9 > 0.5 > _explained(before, wanted)


def test_the_other_blocks_are_taken_over(whole: MobileNetV1) -> None:
    model = MobileNetV1(0.25, patch=True)
    start_from_whole(model, whole)
    for ours, theirs in zip(model.blocks, whole.blocks[2:], strict=True):
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name


def test_weights_of_the_whole_network_and_own_ones_are_both_taken(whole: MobileNetV1, tmp_path: Path) -> None:
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    fitted = build_backbone(PATCH, tmp_path / "whole.safetensors")
    assert fitted.weights["layout"] == "own names, first layers fitted"
    save_file(fitted.state_dict(), tmp_path / "own.safetensors")
    again = build_backbone(PATCH, tmp_path / "own.safetensors")
    assert again.weights["layout"] == "own names"
    assert all(torch.equal(value, fitted.state_dict()[name]) for name, value in again.state_dict().items())
    # With a head that is not taken over, as a checkpoint or a classifier has it, it is still the own network.
    headed = {f"backbone.{name}": value for name, value in fitted.state_dict().items()}
    save_file(
        headed | {"linear.weight": torch.zeros(4, 256), "linear.bias": torch.zeros(4)}, tmp_path / "run.safetensors"
    )
    from_run = build_backbone(PATCH, tmp_path / "run.safetensors")
    assert from_run.weights["layout"] == "own names"
    assert torch.equal(from_run.stem.weight, fitted.stem.weight)
    with pytest.raises(Failure, match="does not fit the network"):
        build_backbone("mobilenet_v1_025", tmp_path / "own.safetensors")


def test_keras_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    save_file(randomise(MobileNetV1(0.5)).state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(Failure, match=r"does not fit the network.*instead of"):
        build_backbone(PATCH, tmp_path / "wide.safetensors")
