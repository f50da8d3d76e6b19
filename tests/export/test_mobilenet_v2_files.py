"""Files of MobileNetV2: every scheme through the command line, both routes, and the integers of the simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from export_helpers import SIDE, call, export_everything, noise, student
from test_export_qat import integer_run, network, noise_images, tensor
from test_export_qat_files import check_onnx, same, settled, tflite_levels
from test_generic_route import embed, needs_generic
from test_repair import values_of

from export.bundle import load_bundle, open_variant
from export.bundle.tflite_file import interpreter_for
from export.check import cosines, reference_embeddings
from export.formats.tflite.convert import to_tflite
from export.formats.tflite.integers import read_integers, write_integers
from export.formats.tflite.operators import layer_operators, operator_names
from export.graph.fold import fold
from export.graph.folded import Add, Convolution, FoldedGraph, L2Norm, Linear, MeanPool
from export.int8.layer_errors import _int8_outputs, compare_layers
from export.samples.calibration import CalibrationImages

ARCH = "timm:mobilenetv2_035"
PROMISED = {
    "PAD": 5, "CONV_2D": 35, "DEPTHWISE_CONV_2D": 17, "ADD": 10, "MEAN": 1, "FULLY_CONNECTED": 1, "L2_NORMALIZATION": 1,
}  # fmt: skip
TFLITE = (
    "tflite-float32", "tflite-float16", "tflite-int8", "tflite-int8-io-uint8", "tflite-int8-io-float32", "tflite-int16x8",
    "tflite-int16x8-io-int16",
)  # fmt: skip


@pytest.fixture(scope="module")
def net():
    return student(ARCH)


@pytest.fixture(scope="module")
def made(net, pictures, tmp_path_factory) -> Path:
    """Folder with ``student``, the checkpoint, and ``b``, a bundle of every variant."""
    return export_everything(tmp_path_factory.mktemp("v2"), net, pictures)


def residual_graph(seed: int = 0) -> FoldedGraph:
    """An inverted residual on 16 pixels between two convolutions that PyTorch pads, linear bottlenecks included."""
    rng = np.random.default_rng(seed)

    def kernel(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[:3]))).astype(np.float32)

    def bias(size: int) -> np.ndarray:
        return rng.uniform(-0.2, 0.5, size).astype(np.float32)

    layers = (
        Convolution("c1", kernel(3, 3, 3, 12), bias(12), 2, True, padding=1),
        Convolution("p0", kernel(1, 1, 12, 8), bias(8), 1, False, padding=0),
        Convolution("e1", kernel(1, 1, 8, 16), bias(16), 1, True, padding=0),
        Convolution("d1", kernel(3, 3, 16, 1) * 4, bias(16), 1, True, True, padding=1),
        Convolution("p1", kernel(1, 1, 16, 8), bias(8), 1, False, padding=0),
        Add("a1", "p0"),
        Convolution("d2", kernel(3, 3, 8, 1) * 3, bias(8), 2, True, True, padding=1),
        MeanPool("pool"),
        Linear("head", rng.normal(size=(8, 8)).astype(np.float32), bias(8)),
        L2Norm("l2"),
    )
    return FoldedGraph(16, layers)


@pytest.mark.slow
@pytest.mark.parametrize("name", TFLITE)
def test_operators_are_the_documented_ones(made, name: str):
    """No TRANSPOSE and no RESHAPE; a PAD for each of the five layers that PyTorch pads at stride 2."""
    counts = {operator.name: operator.count for operator in load_bundle(made / "b").variant(name).operators}
    counts.pop("QUANTIZE", None)
    counts.pop("DEQUANTIZE", None)
    assert counts == PROMISED


@pytest.mark.slow
def test_onnx_pads_in_its_convolutions(made):
    bundle = load_bundle(made / "b")
    counts = {operator.name: operator.count for operator in bundle.variant("onnx-float32").operators}
    assert counts == {"Conv": 52, "Clip": 35, "Add": 10, "ReduceMean": 1, "Gemm": 1, "LpNormalization": 1}
    int8 = {operator.name: operator.count for operator in bundle.variant("onnx-int8").operators}
    assert set(int8) == {"QuantizeLinear", "DequantizeLinear", *counts} - {"Clip"}


@pytest.mark.slow
def test_each_scheme_is_the_network(made, net):
    bundle = load_bundle(made / "b")
    pixels = noise(12, seed=9)
    wanted = reference_embeddings(net, pixels, bundle.manifest.preprocessing)
    got = {variant.name: open_variant(bundle, variant.name).embed(pixels) for variant in bundle.manifest.variants}
    assert set(got) == {*TFLITE, "onnx-float32", "onnx-int8"}
    for name in ("tflite-float32", "onnx-float32"):
        assert np.abs(got[name] - wanted).max() < 1e-5
    near = {name: cosines(wanted, rows) for name, rows in got.items()}
    assert near["tflite-float16"].min() > 0.999
    for name in ("tflite-int8", "onnx-int8", "tflite-int16x8"):
        assert 0.85 < near[name].min() < 0.9999999
    assert near["tflite-int16x8"].mean() > near["tflite-int8"].mean()
    for border in ("uint8", "float32"):
        assert np.abs(got[f"tflite-int8-io-{border}"] - got["tflite-int8"]).max() < 1e-6
    assert call("verify", made / "b") == 0


@pytest.mark.slow
def test_layer_report_includes_adds(made, net):
    bundle = load_bundle(made / "b")
    content = bundle.path(bundle.variant("tflite-int8")).read_bytes()
    images = CalibrationImages(noise(4, seed=9), bundle.manifest.preprocessing, marked=False)
    rows = {row.name: row for row in compare_layers(content, fold(net, SIDE), images.scaled())}
    assert len(rows) == 65
    assert rows["blocks.1.1.add"].operator == "ADD"
    assert rows["blocks.1.0.conv_dw"].operator == "DEPTHWISE_CONV_2D"  # not its PAD
    assert rows["conv_stem"].snr_db > 30
    assert rows["blocks.1.1.add"].snr_db > 20


@pytest.mark.parametrize(("side", "pads"), [(64, 5), (33, 0), (50, 2), (224, 5), (100, 2)])
def test_same_is_pytorchs_padding_for_odd_sides(net, side: int, pads: int):
    """Sides before the five strides of 2: 50, 25, 13, 7, 4; 100, 50, 25, 13, 7. Only even ones need it."""
    names = operator_names(replace(fold(net, SIDE), side=side))
    assert sum(one == "PAD" for layer in names for one in layer) == pads


@pytest.mark.slow
def test_an_odd_input_size_in_the_file(net):
    images = CalibrationImages(noise(3, 50), net.backbone.default_preprocessing(50, 50), marked=False)
    wanted = reference_embeddings(net, images.pixels, images.preprocessing)
    assert np.abs(embed(to_tflite(fold(net, 50), "float32"), list(images.scaled())) - wanted).max() < 1e-5


@needs_generic
@pytest.mark.slow
def test_both_routes_give_the_same_network(made, net):
    from export.formats.tflite.generic import add_norm, convert_module

    bundle = load_bundle(made / "b")
    images = CalibrationImages(noise(6, seed=3), bundle.manifest.preprocessing, marked=False)
    content = add_norm(convert_module(net, SIDE))
    folded = bundle.path(bundle.variant("tflite-float32")).read_bytes()
    scaled = list(images.scaled())
    assert np.abs(embed(content, scaled) - embed(folded, scaled)).max() < 1e-5
    names = [
        [op["op_name"] for op in interpreter_for(c, delegates=False)._get_ops_details()] for c in (content, folded)
    ]
    assert sorted(names[0]) == sorted([*names[1], "TRANSPOSE"])  # of the last map, which ours does not need


@pytest.fixture(scope="module")
def whole(net):
    """A network with every number moved off its calibration, its integers, the file, and images."""
    images = CalibrationImages(noise(6, seed=1), net.backbone.default_preprocessing(SIDE, SIDE))
    moved, numbers = settled(fold(net, SIDE), images)
    content = to_tflite(numbers.graph, "int8", replace(images, pixels=images.pixels[:1]))
    return moved, numbers, write_integers(content, numbers), images


@pytest.mark.slow
def test_the_file_holds_the_integers_of_pytorch(whole):
    """Compare numbers as the interpreter reports them: outputs of ADD, and of PAD, whose range is that of its input."""
    _, numbers, content, _ = whole
    same(numbers, read_integers(content, numbers.graph))
    interpreter = interpreter_for(content, delegates=False)
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    operators = layer_operators(numbers.graph, interpreter._get_ops_details(), lambda op: op["op_name"])
    kinds = []
    for (*pads, operator), integers in zip(operators, numbers.layers, strict=True):
        kinds.append(operator["op_name"])
        assert details[operator["outputs"][0]]["quantization"] == (integers.output.scale, integers.output.zero_point)
        for pad in pads:
            assert details[pad["inputs"][0]]["quantization"] == details[pad["outputs"][0]]["quantization"]
        if integers.weights is not None:
            weight, bias = (details[index] for index in operator["inputs"][1:3])
            assert np.array_equal(weight["quantization_parameters"]["scales"], integers.weights.scale)
            assert np.array_equal(interpreter.get_tensor(bias["index"]), integers.weights.bias)
    assert kinds.count("ADD") == 10
    assert sum(len(pads) for *pads, _ in operators) == 5


@pytest.mark.slow
def test_each_layer_computes_the_simulation(whole):
    """Given the levels of the file, a layer computes the file's next levels; they differ by one only near a tie."""
    moved, numbers, content, images = whole
    scaled = list(replace(images, pixels=noise(4, seed=8), marked=False).scaled())
    _, levels, scales = _int8_outputs(content, numbers.graph, scaled)
    real = {}
    for layer, found, (scale, zero_point) in zip(numbers.graph.layers, levels, scales, strict=True):
        real[layer.name] = (values_of(found, scale, zero_point), torch.tensor(scale))
    entry = torch.tensor(numbers.input.scale)
    first = torch.from_numpy(np.concatenate(scaled).transpose(0, 3, 1, 2).copy())
    levels = (first / entry + numbers.input.zero_point).round().clamp(-128, 127)

    def step(layer, inputs):
        with torch.no_grad():
            guess = moved.layer(layer, inputs[0][1], *(values for values, _ in inputs))
        values, scale = real[layer.name]
        off = (guess - values).abs() / scale
        assert off.max() < 1.01, layer.name
        if not isinstance(layer, MeanPool):  # whose integer kernel rounds differently
            assert off.mean() < 0.01, layer.name
        return real[layer.name]

    moved.graph.flow(((levels - numbers.input.zero_point) * entry, entry), step)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_integers_compute_what_the_simulation_does(seed: int):
    images = noise_images(12, seed=seed)
    net, numbers = settled(residual_graph(seed), images)
    with torch.no_grad():
        wanted = (net(tensor(images)) * 128).round().numpy()
    levels = integer_run(numbers, np.concatenate(list(images.scaled())))
    assert np.abs(levels - wanted).max() <= 1
    assert np.mean(levels != wanted) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("delegates", [True, False])
def test_small_network_in_integers(delegates: bool):
    """Compare a file with ADD and PADs with integer arithmetic in NumPy, written from the specification."""
    images = noise_images(8, seed=2)
    _, numbers = settled(residual_graph(), images)
    one = replace(images, pixels=images.pixels[:1])
    content = write_integers(to_tflite(numbers.graph, "int8", one), numbers)
    others = replace(noise_images(32, seed=3), marked=False)
    wanted = integer_run(numbers, np.concatenate(list(others.scaled())))
    apart = np.abs(tflite_levels(content, others, delegates) - wanted)
    assert apart.max() <= 2
    assert apart.mean() < 0.2  # without XNNPACK the mean truncates


def test_onnx_holds_the_same_integers(tmp_path):
    names, apart = check_onnx(residual_graph(), tmp_path)
    assert "a1_scale" in names
    assert apart.max() < 0.03
    assert np.median(apart) < 1e-5


def test_training_moves_the_scale_of_an_add():
    """Gradients reach both branches and the scale of their sum."""
    images = noise_images(8, seed=2)
    net = network(residual_graph(), images)
    net(tensor(images)).square().mul(torch.arange(8.0)).sum().backward()
    for name in ("a1", "p0", "p1"):
        assert net.scales[name].grad.abs() > 0
    assert net.weights["p0"].grad.abs().sum() > 0


@pytest.mark.slow
def test_trained_repair_through_the_command_line(made, tmp_path):
    """The integers of the add are read back from the file of a trained network."""
    words = ("--quantize", "int8", "--repair", "cle+qat", "--qat-steps", 2, "--tolerance", "int8=0.5", "--no-cache")
    assert call(made / "student", *words, "--target", "tflite", "--out", tmp_path / "b") == 0
    variant = load_bundle(tmp_path / "b").manifest.variants[0]
    assert (variant.repair, variant.scheme.method) == ("cle+qat", "quantization_aware")
    assert call("verify", tmp_path / "b") == 0


@pytest.mark.slow
@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_layers_and_adds_stay_in_float(made, target: str, tmp_path):
    names = "conv_stem,blocks.1.0.conv_dw,blocks.1.1.add"
    words = ("--quantize", "int8", "--target", target, "--tolerance", "int8=0.7", "--no-cache")
    assert call(made / "student", *words, "--exclude-layers", f"1,{names}", "--out", tmp_path / "b") == 0
    variant = load_bundle(tmp_path / "b").manifest.variants[0]
    assert {*names.split(",")} < {*variant.in_float}
    assert len(variant.in_float) == 4
    assert call(made / "student", *words, "--exclude-layers", "blocks.1.1.ad", "--out", tmp_path / "c") == 2
