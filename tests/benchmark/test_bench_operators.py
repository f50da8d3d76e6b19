"""Operators: cut models, onnxruntime's profile, the peak."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path

import benchmark_fakes as fakes
import numpy as np
import onnx
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from benchmark.cli import app
from benchmark.operators import tflite
from benchmark.operators.bandwidth import bandwidth_at, measured_bandwidth
from benchmark.operators.onnx import _macs, profile_onnx, read_events
from benchmark.operators.onnx_graph import Graph, Weights, read_graph
from benchmark.operators.peak import CHANNELS, SIDE, measured_peak, pointwise_model
from benchmark.operators.profile import ProfiledOperator
from benchmark.operators.roofline import as_json, roof_of
from benchmark.operators.tflite import cuts, profile_tflite
from benchmark.report.operators import render_operators
from benchmark.timing import Plan
from distill.console import run_app
from export.bundle.engines.tflite import interpreter_for
from export.bundle.formats import FORMATS

NAMES = ("tflite-float32", "onnx-float32")


def run(content: bytes, values: np.ndarray) -> np.ndarray:
    interpreter = interpreter_for(content)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_a_cut_computes_what_the_model_computes_there():
    model = tiny_models.tflite_model(16)
    values = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    (pool, first), (reshape, last) = cuts(model)
    assert pool.bytes == 4 * (16 * 16 * 3 + 48) and reshape.bytes == 4 * (48 + 48) + 2 * 4  # the shape is an input too
    assert (pool.kind, pool.shape) == ("AVERAGE_POOL_2D", (1, 4, 4, 3)) and (reshape.kind, reshape.shape) == (
        "RESHAPE",
        (1, 48),
    )
    assert np.allclose(run(first, values), values.reshape(1, 4, 4, 4, 4, 3).mean(axis=(2, 4)), atol=1e-6)
    assert np.array_equal(run(last, values), run(model, values))


@pytest.mark.parametrize("integer", [False, True])
def test_the_peak_is_of_a_model_that_computes_what_it_says(integer):
    ((operator, content),) = cuts(pointwise_model(integer))
    assert operator.kind == "CONV_2D" and operator.integer is integer
    assert operator.macs == SIDE * SIDE * CHANNELS * CHANNELS
    each, bias = (1, 4) if integer else (4, 4)
    assert operator.bytes == each * (2 * SIDE * SIDE * CHANNELS + CHANNELS * CHANNELS) + bias * CHANNELS
    values = np.zeros((1, SIDE, SIDE, CHANNELS), np.int8 if integer else np.float32)
    assert not run(content, values).any()
    values[0, 0, 0, 0] = 50
    assert run(content, values)[0, 0, 0].any() and not run(content, values)[0, 1:].any()


def test_times_of_operators_add_up(monkeypatch):
    """On a fake clock: the pool takes 3 ms, the reshape 1 ms more."""
    clock = fakes.FakeClock()
    costs = iter([3.0, 4.0])
    monkeypatch.setattr(
        "benchmark.operators.tflite._Cut", lambda content, threads, values: fakes.TimedRunner(clock, next(costs))
    )
    interleave = tflite.interleave
    monkeypatch.setattr(
        tflite, "interleave", lambda runners, pixels, plan, show: interleave(runners, pixels, plan, clock, show)
    )
    plan = Plan(seconds=0, min_samples=20, max_samples=20, warmup_max_runs=20)
    found = profile_tflite(tiny_models.tflite_model(16), np.zeros((1, 16, 16, 3), np.float32), plan)
    assert [operator.ms for operator in found] == [3.0, 1.0]


def test_events_of_onnxruntime():
    def event(name: str, microseconds: int, kind: str = "Relu", cat: str = "Node") -> dict:
        args = {
            "op_name": kind,
            "output_type_shape": [{"int8": [1, 4, 2, 2]}],
            "activation_size": "30",
            "output_size": "16",
        }
        return {"cat": cat, "name": name, "dur": microseconds, "args": args}

    events = [event("session", 9, cat="Session"), event("b_fence_before", 9)]
    for microseconds in [900, *[10] * 4, *[11] * 4, 5000]:  # the first is the warm-up, the last a hiccup
        events += [event("b_kernel_time", microseconds, "Conv"), event("a_kernel_time", 2)]
    graph = Graph({"b": ["x", "w", "bias"], "a": ["b"]}, {"w": Weights((4, 3, 2, 2), 48), "bias": Weights((4,), 16)})
    first, second = read_events(events, 10, graph)
    assert (first.kind, first.shape, first.integer) == ("Conv", (1, 4, 2, 2), True) and second.kind == "Relu"
    assert 0.010 <= first.ms <= 0.011 and second.ms == 0.002
    assert (first.macs, first.bytes) == (16 * 12, 30 + 16 + 48 + 16) and (second.macs, second.bytes) == (0, 46)
    assert read_events([], 10, graph) == []


def test_multiplications_of_matrices():
    assert (
        _macs("Gemm", [None, Weights((20, 30), 0)], (5, 20))
        == _macs("MatMul", [None, Weights((30, 20), 0)], (5, 20))
        == 5 * 20 * 30
    )
    assert _macs("MatMul", [None, None], (5, 20)) == 0 and _macs("Add", [None, Weights((20,), 80)], (5, 20)) == 0
    assert (
        _macs("QLinearConv", [None] * 3 + [Weights((8, 1, 3, 3), 72)], (1, 16, 16, 8)) == 16 * 16 * 8 * 9
    )  # depthwise


@given(st.lists(st.lists(st.integers(0, 2**40), max_size=4), min_size=1, max_size=4), st.sampled_from([1, 3, 10, 11]))
def test_a_graph_is_read_as_onnx_reads_it(shapes, kind):
    tensors = [onnx.TensorProto(name=f"w{index}", data_type=kind, dims=shape) for index, shape in enumerate(shapes)]
    nodes = [
        helper.make_node("Relu", ["x", f"w{index}"], ["y"], name=f"n{index}", kernel=[1, 2], text="t")
        for index in range(len(shapes))
    ]
    value = helper.make_tensor_value_info
    model = helper.make_model(helper.make_graph(nodes, "g", [value("x", 1, [1])], [value("y", 1, [1])], tensors))
    found = read_graph(model.SerializeToString())
    assert found.nodes == {f"n{index}": ["x", f"w{index}"] for index in range(len(shapes))}
    size = {1: 4, 3: 1, 10: 2, 11: 8}[kind]
    assert found.weights == {
        f"w{index}": Weights(tuple(shape), math.prod(shape) * size) for index, shape in enumerate(shapes)
    }


@given(st.binary(max_size=60))
def test_invalid_graphs(data):
    with contextlib.suppress(ValueError):
        read_graph(b"\x3a" + bytes([len(data)]) + data)


def test_roofs():
    peaks, bandwidth = {True: 1e12, False: 1e11}, {1000: 1e9, 100_000: 3e9}
    bound = roof_of(ProfiledOperator("Conv", (1,), 10**8, True, 1.0, 1000), peaks, bandwidth)
    assert bound.bound == "compute" and bound.ms == pytest.approx(0.1)
    bound = roof_of(ProfiledOperator("Conv", (1,), 10**5, False, 1.0, 10_000), peaks, bandwidth)
    assert bound.bound == "memory" and bound.ms == pytest.approx(10_000 / 2e9 * 1e3)  # half way between the rungs
    assert roof_of(ProfiledOperator("Shape", (1,), 0, False, 1.0, 0), peaks, bandwidth) is None
    assert bandwidth_at(1, bandwidth) == 1e9 and bandwidth_at(10**9, bandwidth) == 3e9


def test_a_bandwidth_is_found():
    for threads in (1, 2):
        found = measured_bandwidth(threads, (2**15, 2**23), 0.02)
        assert all(rate > 1e6 for rate in found.values()) and set(found) == {2**15, 2**23}


def test_a_page_without_anything_that_multiplies():
    value = as_json("x", 1, [ProfiledOperator("Relu", (1, 4), 0, False, 0.001, 32)], {}, {1000: 1e9})
    assert "Relu" in render_operators(value) and "<svg" not in render_operators(value)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_command(tmp_path: Path, photos: Path, capsys, name):
    models = {"tflite": tiny_models.tflite_model(fakes.SIDE), "onnx": tiny_models.onnx_model(fakes.SIDE)}
    bundle = fakes.make_bundle(tmp_path / "bundle", f"folder:{photos}", NAMES, models=models)
    assert run_app(app, ["operators", str(bundle), "--variant", name, "--seconds", "0", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["variant"] == name and len(value["operators"]) >= 2
    assert value["ms"] == pytest.approx(sum(row["ms"] for row in value["operators"]))
    assert value["schema_version"] == 1 and all(
        row["bytes"] > 0 and row["bound"] == "memory" for row in value["operators"]
    )
    page = tmp_path / "operators.html"
    assert run_app(app, ["operators", str(bundle), "--variant", name, "--seconds", "0", "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert f"{name}:" in out and "at the roof" in out and "GB/s" in out
    assert value["operators"][0]["operator"] in page.read_text() and "://" not in page.read_text()
    assert run_app(app, ["operators", str(bundle), "--variant", "tflite-int4"]) == 2


def test_a_format_without_a_profiler(bundle_dir, monkeypatch, capsys):
    monkeypatch.setitem(FORMATS._table, "onnx", replace(FORMATS["onnx"], profile=""))
    assert run_app(app, ["operators", str(bundle_dir), "--variant", "onnx-float32"]) == 2
    error = capsys.readouterr().err
    assert "onnx has no profiler" in error and "tflite" in error


@pytest.mark.parametrize("integer", [False, True])
def test_the_page_draws_the_roofline(integer):
    """For both number types."""
    ((operator, _),) = cuts(pointwise_model(integer))
    value = as_json("x", 1, [replace(operator, ms=1.0)], {integer: 1e11}, {2**15: 1e11, 2**27: 1e10})
    text = render_operators(value)
    assert text.count("<svg") == 2 and "CONV_2D 32×32×256" in text and "main memory" in text


@pytest.mark.slow
def test_onnx_convolutions_are_counted(tmp_path):
    """After onnxruntime's fusions and layouts: 8 to 16 channels, 3 x 3, on 12 x 12."""
    weights = np.random.default_rng(0).normal(size=(16, 8, 3, 3)).astype(np.float32)
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="c", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], name="r"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", 1, [1, 8, 12, 12])],
        [value("y", 1, [1, 16, 12, 12])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    found = profile_onnx(model.SerializeToString(), np.zeros((1, 8, 12, 12), np.float32), Plan(), runs=10)
    assert sum(operator.macs for operator in found) == 16 * 12 * 12 * 8 * 9
    convolution = next(operator for operator in found if operator.macs)
    assert convolution.bytes >= 4 * (8 * 144 + 16 * 144 + 16 * 8 * 9)


def test_a_peak_is_found():
    assert measured_peak(False, 1) > 1e6
