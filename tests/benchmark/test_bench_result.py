from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from benchmark.result import Latency, Result, VariantResult, read_result, write_result
from distill.console import Failure


def test_what_is_written_is_read_back(result: Result, tmp_path):
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result


def test_the_json_has_the_documented_shape(result: Result, tmp_path):
    write_result(tmp_path / "r.json", result)
    value = json.loads((tmp_path / "r.json").read_text())
    assert value["schema_version"] == 2
    int8 = next(variant for variant in value["variants"] if variant["name"] == "tflite-int8")
    assert set(int8["latency_ms"]) == {"p50", "p90", "p99", "mean", "min", "samples", "raw"}
    assert set(int8["recall"]) == {"1", "2", "4", "8"}
    assert 0 <= int8["recall"]["1"] <= 1
    drop = int8["recall_drop"]["1"]
    assert drop["ci95"][0] <= drop["value"] <= drop["ci95"][1]
    assert isinstance(value["verdict"]["pass"], bool)
    assert all("pass" in gate for gate in value["verdict"]["gates"])
    assert value["machine"]["cpu"] and value["machine"]["packages"]["numpy"]
    assert "training" in value["bundle"]["provenance"]["source"]


def test_a_result_of_version_1_is_read_without_its_storage(result: Result, tmp_path):
    """Its figures for int8 and bits used a rule that no gallery follows."""
    value = result.model_dump(mode="json", by_alias=True) | {"schema_version": 1}
    value["variants"][0]["storage"] = [{"name": "binary", "bytes_per_image": 8}]
    (tmp_path / "r.json").write_text(json.dumps(value))
    read = read_result(tmp_path / "r.json")
    assert read.variants[0].storage is None and read.variants[0].recall == result.variants[0].recall


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema_version": 1, "variants": 3}', '{"schema_version": 1}', '{"schema_version": 99}'],
)
def test_damaged_files_are_refused_with_a_cure(text, tmp_path):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(Failure) as failure:
        read_result(tmp_path / "r.json")
    assert "r.json" in failure.value.what and failure.value.cure


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Failure, match="no such file"):
        read_result(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("variants", 0, "recall", "1"), 52.8),  # percent instead of a fraction
        (("variants", 0, "latency_ms", "samples"), 3),
        (("variants", 0, "status"), "maybe"),
        (("verdict", "pas"), True),
        (("machine", "cores"), "many"),
        (("created",), "yesterday"),
        (("created",), "2026-11-24T12:00:00"),  # no time zone
        (("verdict", "candidate"), "tflite-int4"),
    ],
)
def test_fields_that_do_not_fit_are_named(result: Result, tmp_path, path, value):
    content = result.model_dump(mode="json", by_alias=True)
    at = content
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(Failure, match=str(path[0])):
        read_result(tmp_path / "r.json")


def test_not_a_number_is_no_latency():
    with pytest.raises(ValidationError):
        Latency(p50=float("nan"), p90=1, p99=1, mean=1, min=1, samples=1, raw=[1.0])


def test_a_failed_variant_needs_no_figures():
    variant = VariantResult(name="x", status="failed", error="no", size_bytes=1)
    assert variant.latency_ms is None and variant.recall is None
