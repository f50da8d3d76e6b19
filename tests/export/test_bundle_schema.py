from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from export.bundle.schema import FileName, InputSpec, Manifest, OutputSpec, Scheme

NAME = TypeAdapter(FileName)


@pytest.mark.parametrize("name", ["tflite-int8.tflite", "golden/pixels.u8", "a/b/c/d.bin"])
def test_plain_paths_are_taken(name: str):
    assert NAME.validate_python(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../x", "a/../b", "/etc/passwd", "a//b", "a/", "C:\\x", "C:x", "a\\b", "x\0y", "~/x", " x", "a\n",
        ".hidden", "a/.git/config", "con", "nul.tflite", "golden/aux.f32", "a/b/c/d/e", "ü.bin", "a" * 101, "-rf", "http://h/x",
    ],
)  # fmt: skip
def test_other_paths_are_not(name: str):
    with pytest.raises(ValidationError):
        NAME.validate_python(name)


@given(st.text(max_size=40))
def test_whatever_is_taken_stays_inside(name: str):
    import os

    try:
        NAME.validate_python(name)
    except ValidationError:
        return
    assert not os.path.isabs(name)
    assert os.path.normpath(os.path.join("/bundle", name)) == "/bundle/" + name


@given(st.text(alphabet="./\\ab:~\0", max_size=12))
def test_nothing_made_of_separators_escapes(name: str):
    try:
        NAME.validate_python(name)
    except ValidationError:
        return
    assert ".." not in name.split("/")
    assert not name.startswith("/")


TENSOR = {"name": "i", "shape": (1, 8, 8, 3), "layout": "NHWC"}


@pytest.mark.parametrize(
    "more",
    [
        {"dtype": "int8"},
        {"dtype": "int8", "scale": 0.1},
        {"dtype": "int8", "scale": 0.1, "zero_point": 200},
        {"dtype": "uint8", "scale": 0.1, "zero_point": -3},
        {"dtype": "int8", "scale": 0.0, "zero_point": 0},
        {"dtype": "int16", "scale": 0.1, "zero_point": 1},
        {"dtype": "int8", "scale": float("nan"), "zero_point": 0},
        {"dtype": "int8", "scale": float("inf"), "zero_point": 0},
        {"dtype": "float32", "scale": 0.1, "zero_point": 0},
        {"dtype": "int32", "scale": 0.1, "zero_point": 0},
        {"dtype": "float32", "shape": (1, 8, 8)},
        {"dtype": "float32", "shape": (1, 8, 8, 0)},
        {"dtype": "float32", "shape": (1, 8, 8, 2**40)},
    ],
)
def test_an_input_that_makes_no_sense_is_refused(more: dict):
    with pytest.raises(ValidationError):
        InputSpec.model_validate(TENSOR | more)


def test_schemes_of_other_packages_are_plain_words():
    scheme = Scheme(weights="int4", activations="bfloat16", granularity="block", method="gptq")
    assert Scheme.model_validate_json(scheme.model_dump_json()) == scheme
    for word in ("", "int 4", "INT4", "<b>", "x" * 40, "a\n"):
        with pytest.raises(ValidationError):
            Scheme(weights=word, activations="int8")


def test_an_output_that_is_neither_unit_nor_renormalised_is_refused():
    facts = {"name": "o", "shape": (1, 4), "dtype": "float32", "unit_norm": False}
    OutputSpec.model_validate(facts | {"renormalise": True})
    with pytest.raises(ValidationError, match="renormalise"):
        OutputSpec.model_validate(facts | {"renormalise": False})


def test_a_bundle_survives_json(made_bundle):
    text = (made_bundle / "bundle.json").read_text()
    manifest = Manifest.model_validate_json(text)
    assert json.loads(manifest.model_dump_json()) == json.loads(text)


def test_unknown_fields_are_no_error(made_bundle):
    """A newer writer may add fields; only a higher schema version changes the meaning of fields."""
    content = json.loads((made_bundle / "bundle.json").read_text())
    content["wrapping"] = "paper"
    content["variants"][0]["colour"] = {"of": "the box"}
    Manifest.model_validate(content)
