from __future__ import annotations

import pytest

from benchmark.devices.host import describe_host
from benchmark.gates import Limits, choose_candidate, judge
from benchmark.result import Latency, LatencyRun, RecallDrop, Reference, VariantResult
from distill.console import UsageFailure


def variant(**changes) -> VariantResult:
    fields = {
        "name": "tflite-int8",
        "size_bytes": 335_000,
        "latency_ms": Latency.of([1_000_000] * 80 + [3_000_000] * 20),
        "recall": {1: 0.5, 2: 0.6, 4: 0.7, 8: 0.8},
        "recall_drop": {1: RecallDrop(value=0.008, ci95=(0.002, 0.014))},
    }
    return VariantResult(**(fields | changes))


PYTORCH = Reference(
    name="PyTorch", path="p", arch="a", kind="student", embedding_size=8, parameters=1, recall={1: 0.508}, map_at_r=0.3
)


def verdict(limits: Limits, found: VariantResult | None = None, run: LatencyRun | None = None, others=()):
    machine = describe_host()
    machine.latency = run
    found = found or variant()
    return judge(found, [found, *others], PYTORCH, machine, limits)


@pytest.mark.parametrize(
    ("limits", "passed"),
    [
        (Limits(), True),
        (Limits(max_size_kb=335), True),  # the limit itself is allowed
        (Limits(max_size_kb=334.9), False),
        (Limits(max_latency_ms=3.0), True),  # p90, not the median of 1 ms
        (Limits(max_latency_ms=2.9), False),
        (Limits(max_recall_drop=0.8), True),
        (Limits(max_recall_drop=0.79), False),
        (Limits(max_latency_ms=3.0, max_size_kb=335, max_recall_drop=0.5), False),
    ],
)
def test_limits(limits, passed):
    found = verdict(limits)
    assert found.passed is passed
    assert ("Over the limit" in found.text) is not passed
    assert len(found.gates) == sum(value is not None for value in vars(limits).values())


def test_what_was_not_measured_does_not_pass():
    found = verdict(Limits(max_latency_ms=1000), variant(latency_ms=None))
    assert not found.passed and found.gates[0].value is None


def test_a_candidate_that_failed_does_not_pass_even_without_limits():
    failed = VariantResult(name="tflite-int8", status="failed", error="no operator", size_bytes=1)
    found = verdict(Limits(), failed)
    assert not found.passed and "no operator" in found.text


def test_another_variant_that_failed_is_a_warning():
    failed = VariantResult(name="onnx-int8", status="failed", error="no operator", size_bytes=1)
    found = verdict(Limits(), others=[failed])
    assert found.passed and any("onnx-int8 failed: no operator" in warning for warning in found.warnings)


def test_a_gain_keeps_every_limit():
    better = variant(recall_drop={1: RecallDrop(value=-0.02, ci95=(-0.03, -0.01))})
    assert verdict(Limits(max_recall_drop=0), better).passed


def test_a_limit_inside_the_interval_is_called_undecided():
    assert any("inside the 95 % interval" in w for w in verdict(Limits(max_recall_drop=1)).warnings)
    assert not any("inside" in w for w in verdict(Limits(max_recall_drop=2)).warnings)


def test_the_text_says_so_when_there_is_nothing_to_compare_with():
    found = verdict(Limits(), variant(recall_drop=None))
    assert "--checkpoint" in found.text


def test_drift_causes_a_warning():
    run = LatencyRun(
        threads=1, seed=0, rounds=1, seconds=1, timer_overhead_ns=50, drift_variant="a", drift=0.2, drift_flagged=True
    )
    assert any("20% slower" in warning for warning in verdict(Limits(), run=run).warnings)
    calm = run.model_copy(update={"drift": 0.01, "drift_flagged": False})
    assert not verdict(Limits(), run=calm).warnings


def test_few_samples_cause_a_warning():
    thin = variant(latency_ms=Latency.of([1_000_000] * 99))
    assert any("fewer than 100" in warning for warning in verdict(Limits(), thin).warnings)


def test_the_default_candidate():
    assert choose_candidate(["onnx-int8", "tflite-float32", "tflite-int8"]) == "tflite-int8"
    assert choose_candidate(["onnx-float32", "tflite-float32"]) == "tflite-float32"
    assert choose_candidate(["onnx-float32", "onnx-int8"]) == "onnx-float32"
    assert choose_candidate(["tflite-int8", "onnx-int8"], "onnx-int8") == "onnx-int8"
    with pytest.raises(UsageFailure, match="did you mean 'onnx-int8'"):
        choose_candidate(["tflite-int8", "onnx-int8"], "onnx-int")
