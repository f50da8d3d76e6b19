"""A student with a patch stem, whose first convolution is computed on groups of pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from export_helpers import SIDE, call, export_everything, noise, student
from hypothesis import given, settings
from hypothesis import strategies as st
from test_export_qat_files import same, settled
from test_fold import reference

from distill.models.patch_conv import PatchConv2d
from export.bundle import load_bundle, open_variant
from export.bundle.tflite_file import interpreter_for
from export.check import cosines, reference_embeddings
from export.formats.tflite.convert import to_tflite
from export.formats.tflite.integers import read_integers, write_integers
from export.graph.fold import fold
from export.graph.folded import Convolution, FoldedGraph, L2Norm, MeanPool
from export.graph.torch_network import linear_part, run
from export.samples.calibration import CalibrationImages

ARCH = "mobilenet_v1_025_patch"


@pytest.fixture(scope="module")
def net():
    return student(ARCH)


@pytest.fixture(scope="module")
def made(net, pictures, tmp_path_factory) -> Path:
    return export_everything(tmp_path_factory.mktemp("patch"), net, pictures) / "b"


@given(st.integers(1, 21), st.integers(1, 21), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_right_padding_and_groups_are_the_patch_convolution(height: int, width: int, seed: int):
    """For any sides; and if the width is a multiple of four, with the same sums on groups of four columns."""
    torch.manual_seed(seed)
    conv = PatchConv2d(3, 5)
    values = torch.randn(2, 3, height, width)
    with torch.no_grad():
        wanted = conv(values)
    assert wanted.shape == (2, 5, -(-height // 4), -(-width // 4))
    kernel = conv.weight.detach().numpy().transpose(2, 3, 1, 0)
    layer = Convolution("patch", np.ascontiguousarray(kernel), np.zeros(5, np.float32), 4, False, padding="right")
    assert torch.allclose(linear_part(layer, values), wanted, atol=1e-5)
    grouped = layer.grouped_kernel(width)
    assert (grouped is None) == (width % 4 > 0)
    if grouped is not None:
        rows = torch.nn.functional.pad(values, (0, 4, *layer.pads((height, width))[0]))
        memory = rows.permute(0, 2, 3, 1).reshape(2, rows.shape[2], -1, 12).permute(0, 3, 1, 2)
        weights = torch.from_numpy(grouped.transpose(3, 2, 0, 1).copy())
        assert torch.allclose(torch.nn.functional.conv2d(memory, weights, stride=(4, 1)), wanted, atol=1e-5)


@pytest.mark.parametrize("side", [64, 50, 33])
def test_the_folded_graph_computes_the_same_embedding(side: int):
    model = student(ARCH, side=side)
    scaled = model.backbone.default_preprocessing(side, side).scale(noise(3, side))
    wanted, graph = reference(model, scaled), fold(model, side)
    assert np.abs(graph.run(scaled) - wanted).max() < 5e-6
    with torch.inference_mode():
        got = run(graph, torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)))
    assert np.abs(got.numpy() - wanted).max() < 1e-5


@pytest.mark.parametrize(("side", "first"), [(64, "RESHAPE"), (50, "PAD")])
def test_a_float_file_computes_the_same_embedding(side: int, first: str):
    model = student(ARCH, side=side)
    preprocessing = model.backbone.default_preprocessing(side, side)
    content = to_tflite(fold(model, side), "float32")
    interpreter = interpreter_for(content, delegates=False)
    names = [op["op_name"] for op in interpreter._get_ops_details()]
    assert names[:3] == [first, "CONV_2D", "DEPTHWISE_CONV_2D"]
    assert len(names) == 1 + 23 + 3  # mean, linear layer, norm
    images = CalibrationImages(noise(3, side), preprocessing, marked=False)
    wanted = reference_embeddings(model, images.pixels, preprocessing)
    rows = []
    for image in images.scaled():
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    assert np.abs(np.stack(rows) - wanted).max() < 1e-5


@pytest.mark.slow
def test_each_scheme_is_the_network(made, net):
    bundle = load_bundle(made)
    pixels = noise(12, seed=9)
    wanted = reference_embeddings(net, pixels, bundle.manifest.preprocessing)
    got = {variant.name: open_variant(bundle, variant.name).embed(pixels) for variant in bundle.manifest.variants}
    for name in ("tflite-float32", "onnx-float32"):
        assert np.abs(got[name] - wanted).max() < 1e-5
    assert cosines(wanted, got["tflite-float16"]).min() > 0.999
    for name in ("tflite-int8", "onnx-int8", "tflite-int16x8"):
        assert 0.9 < cosines(wanted, got[name]).min() < 0.9999999
    for border in ("uint8", "float32"):
        assert np.abs(got[f"tflite-int8-io-{border}"] - got["tflite-int8"]).max() < 1e-6
    counts = {operator.name: operator.count for operator in bundle.variant("tflite-int8").operators}
    assert counts == {
        "RESHAPE": 1, "CONV_2D": 12, "DEPTHWISE_CONV_2D": 11, "MEAN": 1, "FULLY_CONNECTED": 1, "L2_NORMALIZATION": 1,
    }  # fmt: skip
    assert {operator.name for operator in bundle.variant("onnx-float32").operators} == {
        "Conv", "Clip", "ReduceMean", "Gemm", "LpNormalization",
    }  # fmt: skip
    assert call("verify", made) == 0


@pytest.mark.slow
def test_the_file_holds_the_integers_of_pytorch(net):
    images = CalibrationImages(noise(6, seed=1), net.backbone.default_preprocessing(SIDE, SIDE))
    _, numbers = settled(fold(net, SIDE), images)
    content = to_tflite(numbers.graph, "int8", replace(images, pixels=images.pixels[:1]))
    same(numbers, read_integers(write_integers(content, numbers), numbers.graph))


@pytest.mark.slow
def test_the_integers_mean_the_same_on_groups():
    """Compare the file, computed on groups, with the float layer that has the int8 weights of the file."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(7, 8, 3, 6)).astype(np.float32) / 10
    layers = (
        Convolution("patch", kernel, rng.uniform(0, 1, 6).astype(np.float32), 4, True, padding="right"),
        MeanPool("pool"),
        L2Norm("l2"),
    )
    graph = FoldedGraph(16, layers)
    from distill.data.preprocess import Preprocessing
    from export.int8.simulation import quantized_weight

    images = CalibrationImages(noise(16, 16, seed=4), Preprocessing(input_size=16, resize_size=16))
    content = to_tflite(graph, "int8", images)
    interpreter = interpreter_for(content, delegates=False)
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    got, wanted = [], []
    for image in images.scaled():
        levels = np.clip(np.rint(image / entry["quantization"][0]) + entry["quantization"][1], -128, 127).astype(
            np.int8
        )
        interpreter.set_tensor(entry["index"], levels)
        interpreter.invoke()
        scale, zero = end["quantization"]
        got.append((interpreter.get_tensor(end["index"])[0].astype(float) - zero) * scale)
        values = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
        mean = linear_part(layers[0], values, quantized_weight(layers[0])).clamp(0, 6).mean(dim=(2, 3))
        wanted.append((mean / mean.norm()).numpy()[0])
    assert cosines(np.stack(wanted), np.stack(got).astype(np.float32)).min() > 0.999
