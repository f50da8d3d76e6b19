from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from export_helpers import SIDE, SIZE, noise, student

from export.bundle import load_bundle, open_variant
from export.check import cosines, reference_embeddings
from export.formats.onnx.convert import graph_to_onnx, module_to_onnx
from export.graph.fold import fold

PLAIN = {"Conv": 27, "Clip": 27, "ReduceMean": 1, "Gemm": 1, "LpNormalization": 1}


def counts(variant) -> dict[str, int]:
    return {operator.name: operator.count for operator in variant.operators}


def test_float32_is_the_torch_model(made_bundle, model):
    bundle = load_bundle(made_bundle)
    pixels = noise(20, seed=9)
    reference = reference_embeddings(model, pixels, bundle.manifest.preprocessing)
    got = open_variant(bundle, "onnx-float32").embed(pixels)
    assert got.shape == (20, SIZE)
    assert np.abs(got - reference).max() < 1e-5


def test_the_graph_has_no_stray_operator(made_bundle):
    bundle = load_bundle(made_bundle)
    assert counts(bundle.variant("onnx-float32")) == PLAIN


def test_the_padding_stands_in_the_convolutions(model):
    graph = graph_to_onnx(fold(model, SIDE)).graph
    pads = {
        node.name: list(attribute.ints)
        for node in graph.node
        for attribute in node.attribute
        if attribute.name == "pads"
    }
    assert pads["conv1.conv"] == pads["conv_dw_2.conv"] == [0, 0, 1, 1]
    assert pads["conv_dw_1.conv"] == [1, 1, 1, 1]
    assert pads["conv_pw_1.conv"] == [0, 0, 0, 0]


def test_int8_is_near_and_per_channel(made_bundle, model):
    bundle = load_bundle(made_bundle)
    variant = bundle.variant("onnx-int8")
    pixels = noise(20, seed=9)
    reference = reference_embeddings(model, pixels, bundle.manifest.preprocessing)
    near = cosines(reference, open_variant(bundle, "onnx-int8").embed(pixels))
    assert near.min() > 0.85  # random weights and 18 calibration images
    assert near.mean() > 0.93
    assert near.min() < 0.9999999  # it is quantized
    assert set(counts(variant)) == {"QuantizeLinear", "DequantizeLinear", *PLAIN} - {"Clip"}
    scales = {
        tensor.name: int(np.prod(tensor.dims)) for tensor in onnx.load(bundle.path(variant)).graph.initializer
        if tensor.name.endswith("weight_scale")
    }  # fmt: skip
    assert scales["conv1.weight_scale"] == 8
    assert scales["conv_pw_13.weight_scale"] == 256


@pytest.mark.slow
def test_any_other_network_goes_through_torch(tmp_path):
    import onnxruntime
    import torch

    model = student("resnet18", side=64)
    exported = module_to_onnx(model, SIDE)
    onnx.checker.check_model(exported, full_check=True)
    kinds = {node.op_type for node in exported.graph.node}
    assert kinds == {"Conv", "Relu", "MaxPool", "Add", "ReduceMean", "Gemm", "LpNormalization"}
    images = torch.rand(5, 3, SIDE, SIDE) * 2 - 1
    session = onnxruntime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        for batch in (1, 5):
            got = session.run(None, {"image": images[:batch].numpy()})[0]
            assert np.abs(got - model(images[:batch]).numpy()).max() < 1e-5


def test_the_quantizer_leaves_the_search_path_alone():
    # It appends a folder with a benchmark.py, which would hide ours. A process of its own: it may be imported here.
    code = (
        "import sys; before = list(sys.path)\n"
        "from export.formats.onnx.convert import _quantizer\n"
        "assert _quantizer().quantize_static and sys.path == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
