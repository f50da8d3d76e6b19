"""The embedding head and frozen batch norm."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from distill.models.embedder import Embedder, freeze_batch_norm
from distill.models.registry import build_backbone


@pytest.mark.parametrize(("asked", "length"), [(16, 16), (0, 256)])
def test_embeddings_are_the_normalised_linear_map_of_the_pooled_features(asked: int, length: int) -> None:
    torch.manual_seed(0)
    model = Embedder(build_backbone("mobilenet_v1_025"), asked).eval()
    assert model.embedding_size == length
    assert (model.linear is None) == (asked == 0)
    x = torch.randn(5, 3, 64, 64)
    with torch.no_grad():
        embeddings = model(x)
        pooled = F.adaptive_avg_pool2d(model.backbone(x), 1).flatten(1)
        expected = pooled @ model.linear.weight.T + model.linear.bias if asked else pooled
    assert embeddings.shape == (5, length)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(embeddings, expected / expected.norm(dim=1, keepdim=True))


def test_stage_pass_gives_the_same_embeddings_and_the_backbones_maps() -> None:
    model = Embedder(build_backbone("resnet18"), 8).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        embeddings, maps = model.forward_stages(x)
        torch.testing.assert_close(embeddings, model(x))
        for ours, theirs in zip(maps, model.backbone.stages(x), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_embeddings_are_float32_of_unit_length_under_bfloat16_autocast() -> None:
    model = Embedder(build_backbone("mobilenet_v1_025"), 64)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = model(torch.randn(4, 3, 32, 32))
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))


def test_a_blank_feature_map_gives_no_nan() -> None:
    model = Embedder(build_backbone("mobilenet_v1_025"), 0).eval()
    features = torch.zeros(1, 256, 2, 2, requires_grad=True)
    embeddings = model.embed_map(features)
    embeddings.sum().backward()
    assert torch.equal(embeddings, torch.zeros(1, 256))
    assert torch.isfinite(features.grad).all()


def test_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        Embedder(build_backbone("mobilenet_v1_025"), -1)


@pytest.mark.parametrize("arch", ["mobilenet_v1_025", "timm:test_efficientnet", "timm:test_resnet"])
def test_frozen_batch_norm_outlives_train_and_copies(arch: str) -> None:
    torch.manual_seed(0)
    model = freeze_batch_norm(Embedder(build_backbone(arch), 8))
    x = torch.randn(4, 3, 64, 64)
    for each in (model, copy.deepcopy(model)):
        each.eval()
        each.train()
        before = {k: v.clone() for k, v in each.state_dict().items()}
        assert each.training and each.backbone.training
        embeddings = each(x)
        assert all(torch.equal(v, each.state_dict()[k]) for k, v in before.items())
        embeddings.sum().backward()
        norms = [m for m in each.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert norms and all(m.weight.grad is not None for m in norms)  # scale and shift still learn


def test_unfreezing_lets_the_statistics_move_again() -> None:
    model = freeze_batch_norm(Embedder(build_backbone("mobilenet_v1_025"), 8))
    freeze_batch_norm(model, frozen=False)
    before = model.backbone.stem_bn.running_mean.clone()
    model(torch.randn(4, 3, 32, 32))
    assert not torch.equal(before, model.backbone.stem_bn.running_mean)


def test_freezing_does_not_switch_an_evaluated_model_to_training() -> None:
    model = freeze_batch_norm(Embedder(build_backbone("mobilenet_v1_025"), 8).eval())
    assert not any(module.training for module in model.modules())
