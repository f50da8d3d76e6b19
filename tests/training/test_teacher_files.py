"""Model files from elsewhere that are damaged, hostile, not described or not what they are said to be: one line each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from distill.cli import app
from distill.console import Failure, run_app
from distill.training.teachers.description import read_description
from distill.training.teachers.kind import TeacherContext
from distill.training.teachers.registry import TEACHERS, open_teacher

PIXELS = torch.arange(4 * 3 * 8 * 8, dtype=torch.uint8).reshape(4, 3, 8, 8)


def model(
    path: Path,
    shape: list = ["n", 3, 8, 8],  # noqa: B006
    outputs: tuple[str, ...] = ("embedding",),
    scale: float = 1.0,
    external: str | None = None,
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """Write an ONNX file whose outputs are the means of the colour channels times ``scale``."""
    factor = numpy_helper.from_array(np.array([scale], np.float32), "factor")
    if external is not None:
        factor.ClearField("raw_data")
        factor.data_location = TensorProto.EXTERNAL
        entry = factor.external_data.add()
        entry.key, entry.value = "location", external
    nodes = [helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("ReduceMean", ["real"], ["mean"], axes=[2, 3], keepdims=0)]
    nodes += [helper.make_node("Mul", ["mean", "factor"], [name]) for name in outputs]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("image", dtype, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in outputs],
        [factor],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


def describe(path: Path, text: str = "mean: 0\nstd: 1\n") -> Path:
    path.with_name(path.name + ".yaml").write_text(text)
    return path


def refused(path: Path) -> str:
    with pytest.raises(Failure) as found:
        open_teacher(path, TeacherContext())
    assert "\n" not in str(found.value) and str(path.parent) in str(found.value)
    return str(found.value)


def test_the_good_file_is_opened(tmp_path):
    found = open_teacher(describe(model(tmp_path / "m.onnx", scale=2.0)), TeacherContext())
    assert torch.allclose(found.features(PIXELS), 2 * PIXELS.float().mean((2, 3)))
    assert found.info.embedding_size == 3 and found.preprocessing.input_size == 8


def test_integer_inputs_get_rounded_pixels(tmp_path):
    path = describe(model(tmp_path / "m.onnx", dtype=TensorProto.UINT8), "mean: -0.4\nstd: 1\n")
    found = open_teacher(path, TeacherContext())
    assert torch.allclose(found.features(PIXELS[:2]), PIXELS[:2].float().mean((2, 3)))


def test_other_weights_or_another_description_are_another_space(tmp_path):
    path = describe(model(tmp_path / "m.onnx"))
    first = open_teacher(path, TeacherContext()).info.id
    describe(path, "mean: 0\nstd: 2\n")
    second = open_teacher(path, TeacherContext()).info.id
    describe(model(path, scale=3.0))
    third = open_teacher(path, TeacherContext()).info.id
    assert len({first, second, third}) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "m.onnx.yaml is not beside it"),
        ("mean: [1, 2]\nstd: 1\n", "mean"),
        ("mean: 0\n", "std: Field required"),
        ("mean: 0\nstd: 0\n", "std has to be above 0"),
        ("mean: .nan\nstd: 1\n", "mean"),
        ("mean: 0.5\nstd: 0.25\n", "add 'range: 1'"),
        ("mean: 0\nstd: 1\nchannel: RGB\n", "channel: Extra inputs"),
        ("mean: 0\nstd: 1\nresize: 4\n", "'resize: 4' is below the input's 8 pixels"),
        ("mean: 0\nstd: 1\nsize: 9\n", "takes 8 pixels, its description says 9"),
        ("mean: 0\nstd: 1\nlayout: NHWC\n", "is not NHWC of 3 channels"),
        ("mean: 0\nstd: 1\noutput: pooled\n", "no output 'pooled' (it has embedding"),
        ("- 1\n", "not a list of 'name: value' lines"),
        ("mean: [\n", "not YAML"),
        ("!!python/object/apply:os.system [ls]\n", "not YAML"),
        ("mean: 1.0e-30\nstd: 1.0e-44\nrange: 1\n", "not finite"),
    ],
)
def test_a_description_that_is_missing_or_wrong(tmp_path, text, says):
    path = model(tmp_path / "m.onnx")
    if text is not None:
        describe(path, text)
    assert says in refused(path)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.dictionaries(st.sampled_from(["mean", "std", "size", "x"]), st.integers() | st.text()))
def test_any_description_is_read_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("described") / "m.onnx"
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    path.with_name("m.onnx.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert min(read_description(path).std) > 0
    except Failure as failure:
        assert "\n" not in str(failure)


@pytest.mark.parametrize(
    ("shape", "text", "says"),
    [
        (["n", 1, 8, 8], "", "the axis of the 3 colour channels is not clear"),
        (["n", 3, 8, 3], "", "is not clear"),
        (["n", 3, 8, 8, 1], "", "expected images with four axes"),
        (["n", 3, 8, 16], "", "only square inputs"),
        (["n", 3, "h", "w"], "", "add 'size: PIXELS'"),
    ],
)
def test_an_input_that_is_not_square_rgb_images(tmp_path, shape, text, says):
    assert says in refused(describe(model(tmp_path / "m.onnx", shape), "mean: 0\nstd: 1\n" + text))


def test_of_several_outputs_none_is_guessed(tmp_path):
    path = describe(model(tmp_path / "m.onnx", outputs=("a", "b")))
    assert "2 outputs can be the embedding: a [None, 3], b [None, 3]" in refused(path)
    describe(path, "mean: 0\nstd: 1\noutput: b\n")
    assert open_teacher(path, TeacherContext()).info.embedding_size == 3


def test_embeddings_that_are_not_finite_are_refused(tmp_path):
    assert "not finite" in refused(describe(model(tmp_path / "m.onnx", scale=float("nan"))))


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
@pytest.mark.parametrize("content", [b"", b"\x08\x07", b"not a model", bytes(100), b"\x1c\0\0\0TFL3" + bytes(60)])
def test_other_bytes_are_no_model(tmp_path, suffix, content):
    path = describe(tmp_path / f"m{suffix}")
    path.write_bytes(content)
    assert "not a usable" in refused(path)


def test_a_cut_file_is_no_model(tmp_path):
    path = describe(model(tmp_path / "m.onnx"))
    path.write_bytes(path.read_bytes()[:-40])
    assert "not a usable ONNX file" in refused(path)


def test_weights_beside_the_file_are_read_and_belong_to_its_id(tmp_path):
    path = describe(model(tmp_path / "m.onnx", external="weights.bin"))
    assert "weights.bin: no such file" in refused(path)
    (tmp_path / "weights.bin").write_bytes(np.array([2.0], np.float32).tobytes())
    found = open_teacher(path, TeacherContext())
    assert torch.allclose(found.features(PIXELS), 2 * PIXELS.float().mean((2, 3)))
    (tmp_path / "weights.bin").write_bytes(np.array([3.0], np.float32).tobytes())
    assert open_teacher(path, TeacherContext()).info.id != found.info.id


@pytest.mark.parametrize("where", ["../secret.bin", "/etc/hostname", "sub/../../secret.bin", "link.bin"])
def test_weights_outside_the_folder_are_refused(tmp_path, where):
    (tmp_path / "secret.bin").write_bytes(np.array([2.0], np.float32).tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert "its weights are outside its folder" in refused(describe(model(folder / "m.onnx", external=where)))


def test_weights_in_an_attribute_are_checked_too(tmp_path):
    """Not only initializers: a constant of a node may point elsewhere as well."""
    (tmp_path / "secret.bin").write_bytes(bytes(4))
    folder = tmp_path / "model"
    folder.mkdir()
    path = describe(model(folder / "m.onnx"))
    made = onnx.load(path)
    tensor = TensorProto(dims=[1], data_type=TensorProto.FLOAT, name="hidden", data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret.bin"
    made.graph.node.append(helper.make_node("Constant", [], ["hidden"], value=tensor))
    path.write_bytes(made.SerializeToString())
    assert "its weights are outside its folder" in refused(path)


def test_the_folder_of_a_composite_teacher_is_checked(tmp_path):
    folder = tmp_path / "teacher"
    folder.mkdir()
    file = folder / "teacher.json"
    good = {"schema_version": 1, "id": "0" * 16, "embedding_size": 3, "of": {}}
    for content, says in (
        ("{", "not valid JSON"),
        ("[]", "teacher.json"),
        (json.dumps(good | {"schema_version": 2}), "schema_version"),
        (json.dumps(good | {"id": "../x"}), "id"),
        (json.dumps(good), "'of' is not a teacher"),
        (json.dumps(good | {"of": {"path": 3}}), "'of' is not a teacher"),
        (json.dumps(good | {"of": {"path": str(folder), "relative": ".", "id": "0" * 16}}), "more than 8 deep"),
        (json.dumps(good | {"of": {"joined": []}}), "'of' is not a teacher"),
        (json.dumps(good | {"layer_sha256": "0" * 64}), "not the layer"),
    ):
        file.write_text(content)
        with pytest.raises(Failure) as found:
            open_teacher(folder, TeacherContext())
        assert says in str(found.value) and "\n" not in str(found.value)


def test_what_is_no_teacher_names_the_kinds(tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"")
    with pytest.raises(Failure, match="no kind of teacher.*\\.onnx.*\\.tflite.*\\.npz"):
        open_teacher(tmp_path / "x.pkl", TeacherContext())
    with pytest.raises(Failure, match="no such checkpoint folder"):
        open_teacher(tmp_path / "none", TeacherContext())
    assert "onnx" in TEACHERS.names()


def test_the_command_says_it_in_one_line_and_leaves_nothing(tmp_path, capfd):
    command = ["student", "--data", "glyphs:classes=16,faces=6,size=32", "--method", "absolute", "--out", str(tmp_path / "run")]  # fmt: skip
    path = describe(tmp_path / "m.onnx")
    path.write_bytes(b"junk")
    for words, code, says in (
        (["--teacher", str(path)], 1, "not a usable ONNX file"),
        (["--teacher-embeddings", str(tmp_path / "none.npz")], 1, "no such file"),
        (["--teacher", str(path), "--teacher", str(path), "--teacher-weights", "1"], 2, "expected 2 numbers"),
    ):
        assert run_app(app, [*command, *words]) == code
        err = capfd.readouterr().err
        assert says in err and "Traceback" not in err
        assert not (tmp_path / "run").exists()
