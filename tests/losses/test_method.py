"""The grammar of --method."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.console import Failure, UsageFailure
from distill.losses import LOSSES, Method, Term, parse_method


def test_the_issue_example():
    method = parse_method("relative:0.3+hint:1@2,3,4+triplet:1")
    assert method.terms == (Term("relative", 0.3), Term("hint", 1.0, (2, 3, 4)), Term("triplet", 1.0))
    assert str(method) == "relative:0.3+hint:1@2,3,4+triplet:1"
    assert method.needs_teacher and method.needs_labels and method.needs_stages
    assert method.space == "own" and method.views == 1


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("relative", "relative:0.3"),
        (" relative : 0.5 +\ttriplet ", "relative:0.5+triplet:1"),
        ("Multi-Similarity", "multi_similarity:1"),
        ("hint@4,2", "hint:1@2,4"),
        ("attention", "attention:1@2,3,4"),
        ("similarity_preserving", "similarity_preserving:1"),
        ("similarity_preserving@4", "similarity_preserving:1@4"),
        ("absolute:1e+3+triplet:2E-1", "absolute:1000+triplet:0.2"),
        ("absolute:1e+30", "absolute:1e30"),
        ("relative+triplet", "relative:0.3+triplet:1"),
    ],
)
def test_canonical(text, canonical):
    assert str(parse_method(text)) == canonical
    assert parse_method(canonical) == parse_method(text)


@pytest.mark.parametrize(
    ("text", "needs", "space", "views"),
    [
        ("triplet", (False, True, False), "own", 1),
        ("absolute", (True, False, False), "teacher", 1),
        ("relative+absolute:0.1", (True, False, False), "teacher", 1),
        ("raml+triplet", (True, True, False), "teacher", 2),
        ("relaxed-contrastive", (True, False, False), "own", 2),
        ("attention", (True, False, True), "own", 1),
        ("similarity_preserving", (True, False, False), "own", 1),
    ],
)
def test_what_a_method_needs(text, needs, space, views):
    method = parse_method(text)
    assert (method.needs_teacher, method.needs_labels, method.needs_stages) == needs
    assert (method.space, method.views) == (space, views)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("realtive:1", "unknown loss 'realtive'.*did you mean 'relative'"),
        ("crossentropy", "unknown loss.*known: absolute"),
        ("", "empty"),
        ("  ", "empty"),
        ("relative+", "cannot read ''"),
        ("+relative", "cannot read ''"),
        ("relative++triplet", "cannot read ''"),
        (":1", "cannot read ':1'"),
        ("hint@2@3", "cannot read"),
        ("relative:1:2", "cannot read"),
        ("hint@2:1", "cannot read"),
        ("relative+triplet+relative:2", "'relative' appears twice"),
        ("relative:-1", "weight '-1'"),
        ("relative:0", "weight '0'"),
        ("relative:nan", "weight 'nan'"),
        ("relative:inf", "weight 'inf'"),
        ("relative:", "weight ''"),
        ("relative:x", "weight 'x'"),
        ("relative:1_0", "weight '1_0'"),
        ("relative:1e", "weight '1e'"),
        ("relative@2", "works on embeddings, not on stages.*hint"),
        ("triplet@1", "works on embeddings"),
        ("hint@0", "not among 1, 2, 3, 4"),
        ("hint@5", "not among"),
        ("hint@", "not among"),
        ("hint@2,", "not among"),
        ("hint@two", "not among"),
        ("hint@2,2", "repeat"),
        ("hint@٢", "not among"),
    ],
)
def test_refused(text, message):
    with pytest.raises(UsageFailure, match=message) as error:
        parse_method(text)
    assert error.value.cure and "\n" not in str(error.value) and error.value.exit_code == 2


TERMS = st.sampled_from(sorted(LOSSES.names())).flatmap(
    lambda name: st.builds(
        Term,
        st.just(name),
        st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False),
        st.just(())
        if LOSSES[name].stages == "none"
        else st.sets(st.integers(1, 4), min_size=1 if LOSSES[name].stages == "maps" else 0).map(sorted).map(tuple),
    )
)


@given(st.lists(TERMS, min_size=1, max_size=6, unique_by=lambda term: term.name))
def test_every_method_parses_back_from_its_text(terms):
    method = Method(tuple(terms))
    assert parse_method(str(method)) == method
    spaced = " ".join(str(method).replace("+", " + ").replace("@", " @ "))
    assert parse_method(spaced) == method


@given(st.text(alphabet="relativhnp+:@,.0123456789e-_ ", max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        method = parse_method(text)
    except UsageFailure:
        return
    assert parse_method(str(method)) == method


def test_listing_losses_and_refusing_unknown_ones_needs_no_torch():
    code = """
import sys
from distill.console import UsageFailure
from distill.losses import LOSSES, parse_method

assert "relative" in LOSSES and "triplet" in LOSSES.names()
try:
    parse_method("realtive")
except UsageFailure as error:
    assert "did you mean 'relative'" in str(error)
else:
    raise AssertionError
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_lists_the_losses():
    from distill.losses.registry import LABEL_LOSSES
    from distill.training.config import StudentConfig, TeacherConfig

    assert [name for name, spec in LOSSES.items() if not spec.teacher] == list(LABEL_LOSSES)
    assert all(spec.labels for name, spec in LOSSES.items() if not spec.teacher)
    student, teacher = (config.model_fields["method"].description for config in (StudentConfig, TeacherConfig))
    assert student.endswith(": " + ", ".join(LOSSES.names()) + ".")
    assert teacher.endswith(": " + ", ".join(LABEL_LOSSES) + ".")


def test_the_tables_of_the_docs_agree_with_the_specs(monkeypatch, tmp_path):
    tables = script("methods_table")
    page = tables.PAGE.read_text(encoding="utf-8")
    assert tables.updated(page) == page
    for name, spec in LOSSES.items():
        (row,) = (
            line for line in page.splitlines() if line.startswith(f"| `{name}` | {spec.help} | {spec.equation} | ")
        )
        assert f" | {spec.weight:g} | " in row
        assert f"**`{name}`**" in page or name in ("rkd_distance", "rkd_angle")
    # A page of older specs is found, and mended.
    monkeypatch.setattr(tables, "PAGE", tmp_path / "methods.md")
    tables.PAGE.write_text(page.replace("| 9.6 |", "| 9 |"), encoding="utf-8")
    with pytest.raises(Failure, match="methods_table.py"):
        tables.main(check=True)
    tables.main(check=False)
    assert tables.PAGE.read_text(encoding="utf-8") == page
    tables.main(check=True)


def script(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
