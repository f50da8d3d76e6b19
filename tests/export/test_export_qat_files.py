"""Finished files hold the integers from PyTorch and compute what PyTorch simulated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from export_helpers import SIDE, call, noise, student, write_checkpoint
from test_export_qat import integer_run, network, noise_images, tensor, tiny_graph
from test_repair import PRE, values_of

from distill.console import Failure
from export.attempt import TargetResult
from export.bundle import load_bundle
from export.bundle.tflite_file import interpreter_for
from export.cli import _advise
from export.formats.onnx.convert import graph_to_onnx, quantize_onnx
from export.formats.onnx.integers import onnx_integers, write_onnx_integers
from export.formats.tflite.convert import to_tflite
from export.formats.tflite.integers import read_integers, write_integers
from export.graph.fold import fold
from export.graph.folded import Convolution, FoldedGraph, MeanPool
from export.int8.layer_errors import _int8_outputs
from export.int8.quantized_graph import QuantizedGraph
from export.samples.calibration import CalibrationImages
from export.targets import TARGETS


def settled(graph, images: CalibrationImages) -> tuple[torch.nn.Module, QuantizedGraph]:
    """Return a network that no converter would produce: every range and weight is moved off its calibration."""
    torch.manual_seed(0)
    net = network(graph, images)
    with torch.no_grad():
        for scale in net.scales.values():
            scale.add_(torch.rand(()) * -0.2)
        for values in net.weights.values():
            values.mul_(1 + 0.1 * torch.randn_like(values))
    return net, net.quantized()


@pytest.fixture(scope="module")
def images() -> CalibrationImages:
    return CalibrationImages(noise(6, seed=1), PRE)


@pytest.fixture(scope="module")
def whole(model, images):
    """The network of the student, its integers, and the file."""
    net, numbers = settled(fold(model, SIDE), images)
    one = replace(images, pixels=images.pixels[:1])
    return net, numbers, write_integers(to_tflite(numbers.graph, "int8", one), numbers)


def same(one: QuantizedGraph, other: QuantizedGraph) -> None:
    assert one.input == other.input
    for ours, theirs in zip(one.layers, other.layers, strict=True):
        assert ours.output == theirs.output, ours.name
        if ours.weights is None:
            assert theirs.weights is None
            continue
        for part in ("weight", "scale", "bias", "bias_scale"):
            a, b = getattr(ours.weights, part), getattr(theirs.weights, part)
            assert a.dtype == b.dtype
            assert np.array_equal(a, b), (ours.name, part)


@pytest.mark.slow
def test_the_file_holds_the_integers_of_pytorch(whole):
    """Compare weights, biases, scales and zero points, number by number, as the interpreter reports them."""
    net, numbers, content = whole
    same(numbers, read_integers(content, numbers.graph))
    interpreter = interpreter_for(content, delegates=False)
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    assert len(operators) == len(numbers.layers) == 30
    for operator, layer, integers in zip(operators, net.graph.layers, numbers.layers, strict=True):
        output = details[operator["outputs"][0]]["quantization"]
        assert output == (integers.output.scale, integers.output.zero_point)
        if integers.weights is None:
            continue
        weight, bias = (details[index] for index in operator["inputs"][1:3])
        axis = 3 if isinstance(layer, Convolution) and layer.depthwise else 0
        for found, scale, where in ((weight, integers.weights.scale, axis), (bias, integers.weights.bias_scale, 0)):
            parameters = found["quantization_parameters"]
            assert np.array_equal(parameters["scales"], scale)
            assert not parameters["zero_points"].any()
            assert parameters["quantized_dimension"] == where
        stored = interpreter.get_tensor(weight["index"])
        if isinstance(layer, Convolution):
            stored = stored.transpose((3, 0, 1, 2) if layer.depthwise else (0, 3, 1, 2))
        assert np.array_equal(stored, integers.weights.weight)
        assert np.array_equal(interpreter.get_tensor(bias["index"]), integers.weights.bias)


@pytest.mark.slow
def test_the_converter_alone_would_choose_other_numbers(whole, images):
    _net, numbers, _ = whole
    found = read_integers(to_tflite(numbers.graph, "int8", images), numbers.graph)
    differ = [a.output != b.output for a, b in zip(numbers.layers[:-1], found.layers[:-1], strict=True)]
    assert all(differ)


def tflite_levels(content: bytes, images: CalibrationImages, delegates: bool) -> np.ndarray:
    interpreter = interpreter_for(content, delegates=delegates)
    entry, end = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    rows = []
    for image in images.pixels:
        interpreter.set_tensor(entry, (image.astype(np.int16) - 128).astype(np.int8)[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(end).astype(int))
    return np.concatenate(rows)


@pytest.mark.slow
def test_the_file_computes_the_simulation(whole):
    """Run 30 layers as an app does (XNNPACK): most output levels of 1/128 are equal.

    Where a sum ends at a half, float and integer arithmetic may round apart; a network of random weights
    carries that on to the end.
    """
    net, _, content = whole
    images = CalibrationImages(noise(12, seed=7), PRE, marked=False)
    with torch.no_grad():
        simulated = (net(tensor(images)) * 128).round().numpy().astype(int)
    apart = np.abs(tflite_levels(content, images, delegates=True) - simulated)
    assert apart.max() <= 8
    assert (apart == 0).mean() > 0.7


@pytest.mark.slow
def test_each_layer_computes_the_simulation(whole):
    """Given the levels of the file, a layer computes the file's next levels; they differ by one only near a tie."""
    net, numbers, content = whole
    scaled = list(CalibrationImages(noise(4, seed=8), PRE, marked=False).scaled())
    _, levels, scales = _int8_outputs(content, net.graph, scaled)
    values = torch.from_numpy(np.concatenate(scaled).transpose(0, 3, 1, 2).copy())
    params = net.entry
    for layer, real, (scale, zero_point) in zip(net.graph.layers, levels, scales, strict=True):
        one = type(net.graph)(net.graph.side, (layer,))
        alone, net.graph, net.entry = net.graph, one, params
        with torch.no_grad():
            guess = net(values)
        net.graph = alone
        values = values_of(real, scale, zero_point)
        off = (guess - values).abs() / scale
        assert off.max() < 1.01, layer.name
        if not isinstance(layer, MeanPool):  # whose integer kernel rounds differently
            assert off.mean() < 0.005, layer.name
        params = numbers.layers[net.graph.layers.index(layer)].output
    net.entry = numbers.input


@pytest.mark.slow
@pytest.mark.parametrize("delegates", [True, False])
def test_small_network_in_integers(delegates: bool):
    """Compare the file with integer arithmetic in NumPy, written from the specification."""
    images = noise_images(8, seed=2)
    _, numbers = settled(tiny_graph(), images)
    content = write_integers(to_tflite(numbers.graph, "int8", replace(images, pixels=images.pixels[:1])), numbers)
    others = replace(noise_images(32, seed=3), marked=False)
    wanted = integer_run(numbers, np.concatenate(list(others.scaled())))
    apart = np.abs(tflite_levels(content, others, delegates) - wanted)
    assert apart.max() <= 1
    assert apart.mean() < 0.15  # without XNNPACK the mean truncates


@pytest.mark.slow
def test_another_network_is_refused(whole):
    _, numbers, content = whole
    shorter = replace(numbers.graph, layers=numbers.graph.layers[1:])
    with pytest.raises(Failure, match="30 operators do not match 29 layers"):
        write_integers(content, replace(numbers, graph=shorter, layers=numbers.layers[1:]))
    wide = numbers.layers[0].weights
    other = replace(numbers.layers[0], weights=replace(wide, weight=np.repeat(wide.weight, 2, axis=0)))
    with pytest.raises(Failure, match="conv1: .* in the file"):
        write_integers(content, replace(numbers, layers=(other, *numbers.layers[1:])))


def check_onnx(graph: FoldedGraph, folder: Path) -> tuple[set[str], np.ndarray]:
    """The ONNX file holds the integers; return their names, and how far its embeddings are from the simulation's."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    images = noise_images(8, seed=2)
    net, numbers = settled(graph, images)
    onnx.save_model(graph_to_onnx(numbers.graph), folder / "float.onnx")
    quantize_onnx(folder / "float.onnx", folder / "int8.onnx", images)
    write_onnx_integers(folder / "int8.onnx", numbers)
    model = onnx.load_model(folder / "int8.onnx")
    onnx.checker.check_model(model, full_check=True)
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    wanted = onnx_integers(numbers)
    assert {name for name in found if name not in ("zero", "six")} == set(wanted)
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype
        assert np.array_equal(found[name], values), name
    others = replace(noise_images(16, seed=3), marked=False)
    session = onnxruntime.InferenceSession(str(folder / "int8.onnx"), providers=["CPUExecutionProvider"])
    got = session.run(None, {"image": tensor(others).numpy()})[0]
    with torch.no_grad():
        last = net.trace(tensor(others))[-2]  # the L2 norm is float in ONNX
    return set(wanted), np.abs(got - torch.nn.functional.normalize(last, dim=1).numpy())


def test_onnx_holds_the_same_integers(tmp_path):
    _, apart = check_onnx(tiny_graph(), tmp_path)
    assert apart.max() < 0.02
    assert np.median(apart) < 1e-6


def test_onnx_of_another_network_is_refused(tmp_path):
    import onnx

    images = noise_images(4, seed=2)
    numbers = network(tiny_graph(), images).quantized()
    onnx.save_model(graph_to_onnx(numbers.graph), tmp_path / "float.onnx")
    quantize_onnx(tmp_path / "float.onnx", tmp_path / "int8.onnx", images)
    renamed = replace(numbers.layers[0], name="c9")
    graph = replace(numbers.graph, layers=(replace(numbers.graph.layers[0], name="c9"), *numbers.graph.layers[1:]))
    with pytest.raises(Failure, match="left no c9_scale"):
        write_onnx_integers(
            tmp_path / "int8.onnx", replace(numbers, graph=graph, layers=(renamed, *numbers.layers[1:]))
        )


STEPS = ("--qat-steps", 3, "--calibration-images", 8, "--tolerance", "int8=0")


@pytest.mark.slow
def test_qat_from_the_command_line(checkpoint, tmp_path, capsys, monkeypatch):
    words = (checkpoint, "--quantize", "int8", "--repair", "cle+qat", *STEPS)
    assert call(*words, "--io", "int8,float32", "--out", tmp_path / "b", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["variants"]
    assert [row["name"] for row in rows] == ["tflite-int8", "tflite-int8-io-float32", "onnx-int8"]
    for row in rows:
        assert row["repair"] == "cle+qat"
        assert row["scheme"]["method"] == "quantization_aware"
        tuning = row["fine_tuning"]
        assert (tuning["steps"], tuning["batch_size"], tuning["seed"]) == (3, 32, 0)
        assert 0 < tuning["images"] < 24  # the check images are left out of the train part
        assert tuning["cosine_after"] >= tuning["cosine_before"]
    bundle = load_bundle(tmp_path / "b")
    assert bundle.manifest.variants[0].fine_tuning.data.startswith("folder:")
    assert "without labels" in (tmp_path / "b" / "MODEL_CARD.md").read_text()
    assert call("inspect", tmp_path / "b") == 0
    assert "repaired by cle+qat (3 steps of 32 crops" in " ".join(capsys.readouterr().out.split())
    assert call("verify", tmp_path / "b") == 0
    capsys.readouterr()

    monkeypatch.setattr("export.int8.repair.qat.train_quantized", None)  # a second export trains nothing
    assert call(*words, "--io", "int8,float32", "--out", tmp_path / "again", "--cache-dir", tmp_path / "cache") == 0
    for row in rows:
        assert (tmp_path / "again" / row["file"]).read_bytes() == (tmp_path / "b" / row["file"]).read_bytes()
    assert (
        call(*words, "--qat-steps", 4, "--out", tmp_path / "other", "--target", "onnx") == 1
    )  # other settings train again


def test_qat_for_onnx_alone(checkpoint, tmp_path, capsys):
    words = (checkpoint, "--target", "onnx", "--quantize", "int8", "--repair", "qat", *STEPS, "--no-cache")
    assert call(*words, "--out", tmp_path / "a", "--json") == 0
    first = json.loads(capsys.readouterr().out)["variants"][0]
    assert call(*words, "--out", tmp_path / "b", "--json") == 0
    assert json.loads(capsys.readouterr().out)["variants"][0]["sha256"] == first["sha256"]
    assert not (tmp_path / "cache").exists()


def test_an_interrupted_training_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.Adam, "step", stop)
    words = (checkpoint, "--target", "onnx", "--quantize", "int8", "--repair", "qat", *STEPS, "--no-cache")
    assert call(*words, "--out", tmp_path / "b") == 130
    assert list(tmp_path.iterdir()) == []


def test_auto_continues_after_a_failed_training(checkpoint, tmp_path, capsys, monkeypatch):
    def broken(*_: object) -> None:
        raise Failure("the loss is nan", "give a smaller --qat-lr")

    monkeypatch.setattr("export.int8.repair.qat._train", broken)
    words = (checkpoint, "--target", "onnx", "--quantize", "int8", *STEPS, "--no-cache", "--json")
    # Out of every tolerance, so that auto trains.
    assert call(*words, "--repair", "auto", "--tolerance", "int8=1", "--out", tmp_path / "b") == 1
    streams = capsys.readouterr()
    assert json.loads(streams.out)["variants"][0]["repair"] in ("none", "cle", "bias", "cle+bias")
    assert "the loss is nan" in streams.err
    assert call(*words, "--repair", "qat", "--out", tmp_path / "c") == 1
    row = json.loads(capsys.readouterr().out)["variants"][0]
    assert (row["state"], row["problem"]) == ("broken", "the loss is nan (give a smaller --qat-lr)")


def test_options_of_training(checkpoint, pictures, tmp_path, capsys):
    assert call(checkpoint, "--repair", "qat", "--qat-steps", 0, "--out", tmp_path / "b") == 2
    assert call(checkpoint, "--repair", "qat", "--qat-lr", 0, "--out", tmp_path / "b") == 2
    assert call(checkpoint, "--repair", "qat8", "--out", tmp_path / "b") == 2
    assert "did you mean 'qat'" in capsys.readouterr().err
    write_checkpoint(tmp_path / "resnet", student("timm:test_resnet"), {"spec": f"folder:{pictures}", "split": "half"})
    assert call(tmp_path / "resnet", "--target", "onnx", "--repair", "qat", "--out", tmp_path / "b") == 1
    assert "--repair qat works on mobilenet_v1_*, timm:mobilenetv2_* and" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "cosine", "repair", "told"),
    [
        ("none", 0.99, "none", "--repair auto looks"),
        ("none", 0.999, "none", ""),
        ("cle", 0.99, "cle", ""),
        ("auto", 0.99, "cle", "--repair cle+bias+qat may"),
        ("auto", 0.99, "none", "--repair cle+bias+qat may"),
        ("auto", 0.999, "none", ""),
        ("auto", 0.99, "cle+bias+qat", ""),
    ],
)
def test_a_coarse_int8_file_prints_a_hint(made_bundle, capsys, asked, cosine, repair, told):
    variant = next(row for row in load_bundle(made_bundle).manifest.variants if row.name == "onnx-int8")
    check = variant.check.model_copy(update={"mean_cosine": cosine})
    variant = variant.model_copy(update={"check": check, "repair": repair})
    _advise([TargetResult(TARGETS["onnx-int8"], variant, None)], asked)
    said = capsys.readouterr().err
    assert told in said if told else said == ""
