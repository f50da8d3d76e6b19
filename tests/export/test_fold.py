from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from export_helpers import SIDE, noise, student
from torch.nn import functional as F

from distill.console import Failure
from distill.models.backbone import Backbone
from export.graph.fold import fold
from export.graph.folded import Convolution, FoldedGraph, MeanPool


def scaled(count: int, side: int = SIDE) -> np.ndarray:
    return ((noise(count, side).astype(np.float32)) - 128) / 128


def reference(model, images: np.ndarray) -> np.ndarray:
    """Return embeddings by PyTorch in float64, norm included, so that only the rounding of folded constants differs."""
    exact = copy.deepcopy(model).double()
    with torch.inference_mode():
        pooled = exact.backbone(torch.from_numpy(images.transpose(0, 3, 1, 2)).double()).mean(dim=(2, 3))
        return F.normalize(pooled if exact.linear is None else exact.linear(pooled), dim=1).numpy()


@pytest.mark.parametrize("side", [64, 50])  # 50: odd maps on the way, where SAME pads (1, 1) at stride 2
def test_the_folded_graph_computes_the_same_embedding(side: int):
    model = student(side=side)
    graph = fold(model, side)
    images = scaled(3, side)
    assert np.abs(graph.run(images) - reference(model, images)).max() < 5e-6


def test_without_a_linear_layer():
    model = student(size=0)
    graph = fold(model, SIDE)
    assert graph.embedding_size == 256
    assert np.abs(graph.run(scaled(2)) - reference(model, scaled(2))).max() < 5e-6


def test_folding_is_not_a_no_op(model):
    """The batch-norm statistics of the fixture change the first layer."""
    graph = fold(model, SIDE)
    first = graph.layers[0]
    raw = model.backbone.stem.weight.detach().numpy().transpose(2, 3, 1, 0)
    assert np.abs(first.kernel - raw).max() > 0.05
    assert np.abs(first.bias).max() > 0.05


def test_the_reference_convolution_is_torchs():
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(3, 3, 4, 6)).astype("f4"), rng.normal(size=6).astype("f4")
    graph = FoldedGraph(8, (Convolution("c", kernel, bias, 1, relu6=False), MeanPool("m")))
    images = rng.normal(size=(2, 8, 8, 4))
    expected = F.conv2d(
        torch.from_numpy(images.transpose(0, 3, 1, 2)),
        torch.from_numpy(kernel.astype("f8").transpose(3, 2, 0, 1)),
        torch.from_numpy(bias.astype("f8")),
        padding=1,
    ).mean(dim=(2, 3))
    assert np.allclose(graph.run(images), expected.numpy())


def test_another_architecture_is_refused_with_what_works(model):
    other = copy.copy(model)
    other.__dict__ = dict(model.__dict__)
    other._modules = {**model._modules, "backbone": Backbone()}
    other.backbone.arch = "timm:something"
    with pytest.raises(
        Failure, match=r"timm:something: cannot be folded, only mobilenet_v1_\*, timm:mobilenetv2_\*.*mobilenet_v1_025"
    ):
        fold(other, SIDE)


def test_weights_that_are_not_finite_are_refused(model):
    broken = copy.deepcopy(model)
    broken.backbone.blocks[3].pointwise_bn.bias.data[2] = float("nan")
    with pytest.raises(Failure, match="conv_pw_4: weights that are not finite"):
        fold(broken, SIDE)


def test_a_kernel_need_not_be_square():
    """A kernel of 5 x 4 at stride 4, SAME, by every builder that needs no TensorFlow."""
    import onnxruntime

    from export.formats.onnx.convert import graph_to_onnx
    from export.graph.folded import L2Norm
    from export.graph.torch_network import run

    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(5, 4, 3, 6)).astype("f4"), rng.normal(size=6).astype("f4")
    graph = FoldedGraph(24, (Convolution("c", kernel, bias, 4, relu6=True), MeanPool("m"), L2Norm("n")))
    images = rng.normal(size=(2, 24, 24, 3)).astype("f4")
    first = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    weights = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
    values = F.conv2d(F.pad(first, (0, 0, 0, 1)), weights, torch.from_numpy(bias), 4).clamp(0, 6)
    wanted = F.normalize(values.mean(dim=(2, 3)), dim=1).numpy()
    session = onnxruntime.InferenceSession(graph_to_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    for got in (graph.run(images), run(graph, first).numpy(), session.run(None, {"image": first.numpy()})[0]):
        assert np.abs(got - wanted).max() < 1e-6
