"""The embedding layer's start: centred without a teacher, its best linear image with one."""

from __future__ import annotations

import torch
from sklearn.linear_model import Ridge

from distill.models.embedder import Embedder
from distill.models.registry import build_backbone
from distill.training.head import centre_head, fit_head, head_features


def tiny(size: int = 8) -> Embedder:
    torch.manual_seed(0)
    return Embedder(build_backbone("mobilenet_v1_025", None), size)


def test_features_are_those_of_training_and_leave_no_trace():
    model = tiny().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = torch.rand(6, 3, 32, 32)
    features = head_features(model, inputs)
    assert not model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.train()
    torch.testing.assert_close(features, model.backbone(inputs).mean((2, 3)))


def test_a_centred_start_has_mean_zero():
    model, features = tiny(), torch.rand(50, 256) + 3
    centre_head(model, features)
    torch.testing.assert_close(model.linear(features).mean(0), torch.zeros(8), atol=1e-4, rtol=0)


def test_a_fitted_start_is_ridge_regression_up_to_its_length():
    generator = torch.Generator().manual_seed(1)
    features = torch.rand(300, 256, generator=generator) * torch.linspace(0.1, 3, 256)
    targets = torch.nn.functional.normalize(torch.randn(300, 8, generator=generator) + features[:, :8])
    model = tiny()
    fit_head(model, features, targets)
    centred = features - features.mean(0)
    peer = Ridge(alpha=0.1 * float((centred.double() ** 2).sum(0).mean())).fit(features.double(), targets.double())
    expected = torch.from_numpy(peer.predict(features.double())).float()
    outputs = model.linear(features).detach()
    torch.testing.assert_close(
        outputs / outputs.norm(dim=1).mean(), expected / expected.norm(dim=1).mean(), atol=1e-4, rtol=1e-3
    )
    assert abs(float(outputs.norm(dim=1).mean()) - 8**0.5) < 1e-3


def test_fewer_images_than_features_and_equal_images_give_finite_layers():
    for features in (torch.rand(5, 256), torch.ones(20, 256)):
        model = tiny()
        fit_head(model, features, torch.nn.functional.normalize(torch.rand(len(features), 8)))
        assert torch.isfinite(model.linear.weight).all() and torch.isfinite(model.linear.bias).all()
