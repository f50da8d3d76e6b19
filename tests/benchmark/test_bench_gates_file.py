from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import benchmark_fakes as fakes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.cli import app
from benchmark.gates import Limits
from benchmark.gates_file import NAMES, merge_limits, read_gates
from benchmark.junit import write_junit
from benchmark.result import VariantResult
from distill.console import Failure, UsageFailure, run_app


def bench(*arguments: object) -> int:
    return run_app(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("g.toml", 'max_latency_ms = 5\nmax-recall-drop = 0.5\ncandidate = "onnx-int8"\n'),
        ("g.yaml", "max_latency_ms: 5\nmax-recall-drop: 0.5\ncandidate: onnx-int8\n"),
        ("g.YML", "{max_latency_ms: 5.0, max_recall_drop: 0.5, candidate: onnx-int8}"),
    ],
)
def test_toml_and_yaml(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_gates(tmp_path / name) == (Limits(max_latency_ms=5, max_recall_drop=0.5), "onnx-int8")


@pytest.mark.parametrize(
    ("name", "text", "kind", "message"),
    [
        ("g.toml", "max_latency = 5", UsageFailure, "did you mean 'max_latency_ms'"),
        ("g.toml", "max_size_kb = true", UsageFailure, "True: not a limit"),
        ("g.toml", "max_size_kb = nan", UsageFailure, "not a limit"),
        ("g.toml", 'max_size_kb = "400"', UsageFailure, "not a limit"),
        ("g.toml", "[max_size_kb]", UsageFailure, "not a limit"),
        ("g.toml", "candidate = 3", UsageFailure, "not a variant name"),
        ("g.toml", "max_size_kb = ", Failure, "g.toml"),
        ("g.yaml", "- 1", UsageFailure, "not a table"),
        ("g.yaml", "", UsageFailure, "not a table"),
        ("g.yaml", "a: [", Failure, "g.yaml"),
        ("g.yaml", "[" * 5000, Failure, "g.yaml"),
        ("g.yaml", "!!python/object/apply:os.system ['true']", Failure, "g.yaml"),
        ("g.ini", "", UsageFailure, "not a TOML or YAML file name"),
    ],
)
def test_what_is_refused(tmp_path, name, text, kind, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(kind, match=message):
        read_gates(tmp_path / name)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(Failure, match="no such file"):
        read_gates(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Failure, match="not text"):
        read_gates(tmp_path / "b.toml")


numbers = st.one_of(st.none(), st.floats(0, 1))  # within the range of every limit


@given(st.fixed_dictionaries(dict.fromkeys(NAMES, numbers)), st.fixed_dictionaries(dict.fromkeys(NAMES, numbers)))
def test_flags_come_before_the_file(file, flags):
    merged = merge_limits(Limits(**file), Limits(**flags))
    for name in NAMES:
        assert getattr(merged, name) == (file[name] if flags[name] is None else flags[name])


def test_a_file_of_limits_judges_like_flags(bundle_dir, toy_engines, tmp_path, capsys):
    (tmp_path / "g.toml").write_text('max_size_kb = 1\ncandidate = "onnx-float32"\n')
    common = [bundle_dir, "--seconds", "0", "--gates", tmp_path / "g.toml"]
    assert bench(*common) == 1
    assert "onnx-float32" in capsys.readouterr().out.splitlines()[-1]
    assert bench(*common, "--max-size-kb", "100000") == 0
    toy_engines["onnx-float32"] = fakes.ToyRunner(noise=2.0)
    assert bench(*common, "--max-size-kb", "100000", "--min-recall", "90") == 1
    assert "Limits not kept: Recall@1" in capsys.readouterr().out
    (tmp_path / "g.toml").write_text("max_recall_drop = 1\n")
    assert bench(*common) == 2
    assert "--checkpoint" in capsys.readouterr().err


def test_junit_counts_what_failed(result, tmp_path):
    result.variants.append(VariantResult(name='x\x00<&"\ud800', status="failed", error="no\x1b]0;", size_bytes=1))
    write_junit(tmp_path / "r.xml", result)
    root = ElementTree.parse(tmp_path / "r.xml").getroot()
    suite = root.find("testsuite")
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.get("tests")) == len(result.variants) + len(result.verdict.gates)
    failed = [case for case in cases if case.find("failure") is not None]
    assert len(failed) == int(suite.get("failures")) == int(root.get("failures")) == 2  # the planted drop, and "x"
    assert "drop of Recall@1" in failed[1].get("name") and "points" in failed[1].find("failure").get("message")
    assert result.verdict.text in suite.find("system-out").text


@given(st.text())
def test_any_text_makes_xml_that_parses(text):
    from benchmark.junit import _clean

    element = ElementTree.Element("a", b=_clean(text))
    assert ElementTree.fromstring(ElementTree.tostring(element)).tag == "a"


def test_junit_is_written_by_the_command(bundle_dir, toy_engines, tmp_path):
    path = tmp_path / "new" / "r.xml"
    assert bench(bundle_dir, "--seconds", "0", "--junit", path, "--min-recall", "101") == 2
    assert bench(bundle_dir, "--seconds", "0", "--junit", path, "--max-size-kb", "1") == 1
    assert ElementTree.parse(path).getroot().get("failures") == "1"
