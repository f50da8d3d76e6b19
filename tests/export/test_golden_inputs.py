"""Hashes of the input tensors: a wrong input that int8's cosine limit passes is refused, exactly and with its step."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from export_helpers import call, edit

from distill.console import Failure
from export.bundle import load_bundle, open_variant
from export.bundle.engines.base import VariantRunner
from export.bundle.runtime import input_table
from export.bundle.verify import verify_bundle


def swapped(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels[..., ::-1])


def off_by_one(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels.astype(int) + 1, 0, 255).astype(np.uint8)


def gamma(pixels: np.ndarray) -> np.ndarray:
    return np.rint(255 * (pixels / 255) ** 1.1).astype(np.uint8)


PIXELS = {"swapped channels": swapped, "pixels off by one": off_by_one, "gamma 1.1": gamma}


def forgive(content: dict) -> None:
    """Let the cosine pass everything. (That of this untrained student falls lower than that of a trained one.)"""
    for vectors in content["golden"]["expected"].values():
        vectors["min_cosine"] = -1


def another_mean(content: dict) -> None:
    content["preprocessing"]["mean"] = [127.5] * 3


def as_by_an_older_version(content: dict) -> None:
    for vectors in content["golden"]["expected"].values():
        vectors.pop("input_sha256", None)


def refused(bundle, capsys) -> None:
    """``verify`` names step 3 for each variant, although the cosine is good enough."""
    assert call("verify", bundle, "--json") == 1
    captured = capsys.readouterr()
    checks = json.loads(captured.out)["variants"]
    assert len(checks) == 2
    for check in checks:
        assert not check["passed"] and check["same_inputs"] is False
        assert "step 3, the input tensor" in check["problem"] and "docs/bundle.md" in check["cure"]
        assert check["min_cosine"] >= check["limit"]
    told = " ".join(captured.err.split())
    assert "step 3, the input tensor" in told and "docs/bundle.md, step 3" in told


@pytest.mark.parametrize("case", PIXELS)
def test_a_client_that_feeds_other_values_is_refused(bundle, capsys, monkeypatch, case: str):
    edit(bundle, forgive)
    tensor = VariantRunner.tensor
    monkeypatch.setattr(VariantRunner, "tensor", lambda self, pixels: tensor(self, PIXELS[case](pixels)))
    refused(bundle, capsys)


def test_a_client_that_subtracts_another_mean_is_refused(bundle, capsys, monkeypatch):
    def careless(spec, preprocessing):
        return input_table(spec, preprocessing.model_copy(update={"mean": (127.5,) * 3}))

    edit(bundle, forgive)
    monkeypatch.setattr("export.bundle.runtime.input_table", careless)
    refused(bundle, capsys)


@pytest.mark.parametrize("case", PIXELS)
def test_a_bundle_of_other_golden_pixels_is_refused(bundle, capsys, case: str):
    pixels = PIXELS[case](load_bundle(bundle).golden_pixels())
    pixels.tofile(bundle / "golden" / "pixels.u8")

    def change(content: dict) -> None:
        forgive(content)
        content["golden"]["pixels"]["sha256"] = hashlib.sha256(pixels.tobytes()).hexdigest()
        content["golden"].pop("files")  # their rows would be noticed; a row without a file was not

    edit(bundle, change)
    refused(bundle, capsys)


def test_a_bundle_of_another_mean_is_refused(bundle, capsys):
    edit(bundle, forgive)
    edit(bundle, another_mean)
    refused(bundle, capsys)


def test_what_deviates_first_is_named_first(bundle, capsys, monkeypatch):
    """Other pixels after the resize, and other input tensors: the resize comes first."""
    edit(bundle, another_mean)
    monkeypatch.setattr("distill.data.preprocess.resize_exactly", lambda image, size: image.resize(size, resample=0))
    assert call("verify", bundle) == 1
    assert "decoded correctly, but resized differently" in capsys.readouterr().err


def test_the_hashes_are_those_of_the_documented_bytes(made_bundle):
    bundle = load_bundle(made_bundle)
    for variant in bundle.manifest.variants:
        values = (bundle.golden_pixels().astype(np.float32) - np.float32(128)) / np.float32(128)
        rows = values.transpose(0, 3, 1, 2)
        assert bundle.manifest.golden.expected[variant.name].input_sha256 == tuple(
            hashlib.sha256(row.astype("<f4").tobytes()).hexdigest() for row in rows
        )
    assert bundle.manifest.golden.expected["pytorch"].input_sha256 == ()


@pytest.mark.slow
def test_the_hashes_of_every_input_type(tflite_bundle):
    bundle, types = load_bundle(tflite_bundle), set()
    pixels = bundle.golden_pixels()
    scaled = (pixels.astype(np.float32) - np.float32(128)) / np.float32(128)
    for variant in bundle.manifest.variants:
        spec = variant.input
        wanted = {
            "float32": scaled.astype("<f4"),
            "int8": (pixels.astype(int) - 128).astype("i1"),
            "uint8": pixels,
            "int16": np.rint(scaled.astype(np.float64) / (spec.scale or 1)).clip(-32768, 32767).astype("<i2"),
        }[spec.dtype]
        types.add(spec.dtype)
        assert bundle.manifest.golden.expected[variant.name].input_sha256 == tuple(
            hashlib.sha256(row.tobytes()).hexdigest() for row in wanted
        )
    assert types == {"float32", "int8", "uint8", "int16"}
    assert all(check.passed and check.same_inputs for check in verify_bundle(tflite_bundle))


def test_verify_and_inspect_tell_of_the_hashes(bundle, capsys):
    assert call("verify", bundle) == 0
    captured = capsys.readouterr()
    assert "input" in captured.out and "exact" in captured.out and "no hashes" not in captured.err
    assert call("inspect", bundle) == 0
    assert "hashes of input tensors" in " ".join(capsys.readouterr().out.split())


def test_bundles_of_before_are_verified_as_before(bundle, capsys):
    edit(bundle, as_by_an_older_version)
    assert call("verify", bundle, "--json") == 0
    captured = capsys.readouterr()
    assert [check["same_inputs"] for check in json.loads(captured.out)["variants"]] == [None, None]
    told = " ".join(captured.err.split())
    assert "no hashes of the input tensors of onnx-float32, onnx-int8" in told and "export again" in told
    assert open_variant(load_bundle(bundle), "onnx-int8").embed(load_bundle(bundle).golden_pixels()).shape[0] > 1


@pytest.mark.parametrize(
    ("hashes", "message"), [(["0" * 64], "1 input hashes of onnx-int8 for"), (["x"] * 8, "input_sha256")]
)
def test_hashes_that_do_not_fit_are_refused(bundle, hashes: list[str], message: str):
    edit(bundle, lambda content: content["golden"]["expected"]["onnx-int8"].update(input_sha256=hashes))
    with pytest.raises(Failure, match=message):
        load_bundle(bundle)
