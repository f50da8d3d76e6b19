"""Operators: cut models, onnxruntime's profile, the peak."""

from __future__ import annotations

import json
from pathlib import Path

import benchmark_fakes as fakes
import numpy as np
import pytest
import tiny_models

from benchmark.cli import app
from benchmark.operators import tflite
from benchmark.operators.onnx import read_events
from benchmark.operators.peak import CHANNELS, SIDE, measured_peak, pointwise_model
from benchmark.operators.tflite import cuts, profile_tflite
from benchmark.timing import Plan
from distill.console import run_app
from export.bundle.engine import interpreter_for

NAMES = ("tflite-float32", "onnx-float32")


def run(content: bytes, values: np.ndarray) -> np.ndarray:
    interpreter = interpreter_for(content)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_a_cut_gives_what_the_whole_has_there():
    model = tiny_models.tflite_model(16)
    values = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    (pool, first), (reshape, last) = cuts(model)
    assert (pool.kind, pool.shape) == ("AVERAGE_POOL_2D", (1, 4, 4, 3)) and (reshape.kind, reshape.shape) == ("RESHAPE", (1, 48))
    assert np.allclose(run(first, values), values.reshape(1, 4, 4, 4, 4, 3).mean(axis=(2, 4)), atol=1e-6)
    assert np.array_equal(run(last, values), run(model, values))


@pytest.mark.parametrize("integer", [False, True])
def test_the_peak_is_of_a_model_that_computes_what_it_says(integer):
    ((operator, content),) = cuts(pointwise_model(integer))
    assert operator.kind == "CONV_2D" and operator.integer is integer
    assert operator.macs == SIDE * SIDE * CHANNELS * CHANNELS
    values = np.zeros((1, SIDE, SIDE, CHANNELS), np.int8 if integer else np.float32)
    assert not run(content, values).any()
    values[0, 0, 0, 0] = 50
    assert run(content, values)[0, 0, 0].any() and not run(content, values)[0, 1:].any()


def test_times_of_operators_add_up(monkeypatch):
    """On a clock that only a run moves: the pool takes 3 ms, the reshape 1 more."""
    clock = fakes.FakeClock()
    costs = iter([3.0, 4.0])
    monkeypatch.setattr("benchmark.operators.tflite._Cut", lambda content, threads, values: fakes.TimedRunner(clock, next(costs)))
    interleave = tflite.interleave
    monkeypatch.setattr(tflite, "interleave", lambda runners, pixels, plan, show: interleave(runners, pixels, plan, clock, show))
    plan = Plan(seconds=0, min_samples=20, max_samples=20, warmup_max_runs=20)
    found = profile_tflite(tiny_models.tflite_model(16), np.zeros((1, 16, 16, 3), np.float32), plan)
    assert [operator.ms for operator in found] == [3.0, 1.0]


def test_events_of_onnxruntime():
    def event(name: str, microseconds: int, kind: str = "Relu", cat: str = "Node") -> dict:
        return {"cat": cat, "name": name, "dur": microseconds, "args": {"op_name": kind, "output_type_shape": [{"int8": [1, 4]}]}}

    events = [event("session", 9, cat="Session"), event("b_fence_before", 9)]
    for microseconds in [900, *[10] * 4, *[11] * 4, 5000]:  # the first is the warm-up, the last a hiccup
        events += [event("b_kernel_time", microseconds, "Conv"), event("a_kernel_time", 2)]
    first, second = read_events(events, 10)
    assert (first.kind, first.shape, first.integer) == ("Conv", (1, 4), True) and second.kind == "Relu"
    assert 0.010 <= first.ms <= 0.011 and second.ms == 0.002
    assert read_events([], 10) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_command(tmp_path: Path, photos: Path, capsys, name):
    models = {"tflite": tiny_models.tflite_model(fakes.SIDE), "onnx": tiny_models.onnx_model(fakes.SIDE)}
    bundle = fakes.make_bundle(tmp_path / "bundle", f"folder:{photos}", NAMES, models=models)
    assert run_app(app, ["operators", str(bundle), "--variant", name, "--seconds", "0", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["variant"] == name and len(value["operators"]) >= 2
    assert value["ms"] == pytest.approx(sum(row["ms"] for row in value["operators"]))
    assert run_app(app, ["operators", str(bundle), "--variant", name, "--seconds", "0"]) == 0
    assert f"{name}:" in capsys.readouterr().out
    assert run_app(app, ["operators", str(bundle), "--variant", "tflite-int4"]) == 2


def test_a_peak_is_found():
    assert measured_peak(False, 1) > 1e6
