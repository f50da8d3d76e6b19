from __future__ import annotations

import shutil

import numpy as np
import pytest
from export_helpers import SIDE, SIZE, edit

from distill.console import Failure, UsageFailure
from export.bundle import load_bundle, open_variant


def variant(content: dict, name: str = "onnx-float32") -> dict:
    return next(v for v in content["variants"] if v["name"] == name)


def test_a_good_bundle_loads(bundle):
    loaded = load_bundle(bundle)
    assert [v.name for v in loaded.manifest.variants] == ["onnx-float32", "onnx-int8"]
    assert loaded.golden_pixels().shape == (loaded.manifest.golden.count, SIDE, SIDE, 3)
    for name in ("pytorch", "onnx-int8"):
        rows = loaded.golden_embeddings(name)
        assert rows.shape == (loaded.manifest.golden.count, SIZE)
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_names_that_are_not_there_get_a_suggestion(bundle):
    with pytest.raises(UsageFailure, match="did you mean 'onnx-int8'"):
        load_bundle(bundle).variant("onnx-int9")
    with pytest.raises(UsageFailure, match="no golden embeddings of 'torch'"):
        load_bundle(bundle).golden_embeddings("torch")


def test_no_folder_and_no_bundle(tmp_path):
    with pytest.raises(Failure, match="no such folder.*distill-export"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(Failure, match=r"no bundle\.json in it"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", "{}", '{"schema_version": 1}', "\0", "[" * 100_000])
def test_a_description_that_is_none(bundle, content: str):
    (bundle / "bundle.json").write_text(content)
    with pytest.raises(Failure, match=r"bundle\.json"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("version", "cure"),
    [
        (2, "update"),
        (99, "update"),
        (0, "export it again"),
        ("1", "export it again"),
        (True, "export it again"),
        (None, "again"),
    ],
)
def test_another_schema_version_says_what_to_do(bundle, version, cure: str):
    edit(bundle, lambda content: content.update(schema_version=version))
    with pytest.raises(Failure, match=f"schema version.*this reader knows 1.*{cure}"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["../secret.onnx", "/etc/hostname", "a/../../x", "golden/../../x", "..\\x"])
def test_a_file_outside_is_refused(bundle, name: str):
    (bundle.parent / "secret.onnx").write_bytes(b"x")
    edit(bundle, lambda content: variant(content).update(file=name, size_bytes=1))
    with pytest.raises(Failure, match="not a plain path inside the bundle"):
        load_bundle(bundle)


def test_a_link_that_leads_outside_is_refused(bundle):
    outside = bundle.parent / "outside.onnx"
    shutil.move(bundle / "onnx-float32.onnx", outside)
    (bundle / "onnx-float32.onnx").symlink_to(outside)
    with pytest.raises(Failure, match="points outside the bundle"):
        load_bundle(bundle)


def test_a_linked_folder_that_leads_outside_is_refused(bundle):
    shutil.move(bundle / "golden", bundle.parent / "golden")
    (bundle / "golden").symlink_to(bundle.parent / "golden")
    with pytest.raises(Failure, match="points outside the bundle"):
        load_bundle(bundle)


def test_a_bundle_behind_a_link_loads(bundle, tmp_path):
    (tmp_path / "link").symlink_to(bundle)
    load_bundle(tmp_path / "link")


def test_one_changed_byte_is_found(bundle):
    path = bundle / "onnx-int8.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Failure, match=r"onnx-int8\.onnx: its content changed"):
        load_bundle(bundle)
    load_bundle(bundle, check_hashes=False)


@pytest.mark.parametrize("name", ["onnx-int8.onnx", "golden/pixels.u8", "golden/pytorch.f32"])
@pytest.mark.parametrize("check_hashes", [True, False])
def test_truncated_and_missing_files(bundle, name: str, check_hashes: bool):
    path = bundle / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Failure, match="bytes instead of"):
        load_bundle(bundle, check_hashes)
    path.unlink()
    with pytest.raises(Failure, match="missing"):
        load_bundle(bundle, check_hashes)
    path.mkdir()
    with pytest.raises(Failure, match="missing"):
        load_bundle(bundle, check_hashes)


SPOILED = {
    "size above the limit": (lambda c: variant(c).update(size_bytes=2**40), "size_bytes"),
    "negative size": (lambda c: variant(c).update(size_bytes=-1), "size_bytes"),
    "hash that is none": (lambda c: variant(c).update(sha256="abc"), "sha256"),
    "embedding of another width": (lambda c: c.update(embedding_size=SIZE + 1), "not 17 wide"),
    "huge embedding": (lambda c: c.update(embedding_size=2**40), "embedding_size"),
    "input of another size": (lambda c: variant(c)["input"].update(shape=[1, 3, 32, 32]), "is not 64 x 64 x 3"),
    "input size beyond all": (
        lambda c: c["preprocessing"].update(input_size=10**9, resize_size=10**9),
        "preprocessing",
    ),
    "two of a name": (lambda c: c["variants"].append(variant(c)), "occurs twice"),
    "golden over a model": (lambda c: c["golden"]["pixels"].update(file="onnx-int8.onnx"), "occurs twice"),
    "description as a model": (lambda c: variant(c).update(file="bundle.json"), "occurs twice"),
    "no variants": (lambda c: c.update(variants=[]), "variants"),
    "many golden images": (lambda c: c["golden"].update(count=10**9), "golden.count"),
    "golden count and keys": (lambda c: c["golden"].update(count=2), "keys for 2 images"),
    "golden pixels too few": (lambda c: c["golden"]["pixels"].update(size_bytes=7), "7 bytes instead of"),
    "no golden of a variant": (
        lambda c: c["golden"]["expected"].pop("onnx-int8"),
        "no expected embeddings of onnx-int8",
    ),
    "no golden of pytorch": (lambda c: c["golden"]["expected"].pop("pytorch"), "no expected embeddings of pytorch"),
    "name with a line break": (lambda c: variant(c).update(name="a\nb"), "name"),
    "another norm": (lambda c: c.update(normalisation="none"), "normalisation"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_description_that_does_not_hold_together(bundle, case: str):
    change, message = SPOILED[case]
    edit(bundle, change)
    with pytest.raises(Failure, match=message) as caught:
        load_bundle(bundle)
    assert "\n" not in str(caught.value)


def test_a_huge_description_is_not_even_parsed(bundle):
    with open(bundle / "bundle.json", "r+b") as file:
        file.truncate(2**31)
    with pytest.raises(Failure, match="too large for a description"):
        load_bundle(bundle)


def test_a_file_of_another_shape_under_a_right_hash(bundle):
    """Description and model disagree: an error before the first wrong embedding."""
    edit(bundle, lambda content: variant(content)["input"].update(layout="NHWC", shape=[1, SIDE, SIDE, 3]))
    with pytest.raises(Failure, match="the bundle says"):
        open_variant(load_bundle(bundle), "onnx-float32")
