from __future__ import annotations

import hashlib

import numpy as np
import pytest
from export_helpers import SIDE, SIZE, edit, noise
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.console import Failure
from distill.data.preprocess import Preprocessing
from export.bundle import load_bundle, open_variant
from export.bundle.quiet import quiet_stderr
from export.bundle.runtime import input_table
from export.bundle.schema import InputSpec

ALL_PIXELS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def spec(dtype: str, scale: float | None = None, zero_point: int | None = None) -> InputSpec:
    return InputSpec(name="i", shape=(1, 8, 8, 3), layout="NHWC", dtype=dtype, scale=scale, zero_point=zero_point)


def test_int8_is_pixel_minus_128():
    table = input_table(spec("int8", 1 / 128, 0), Preprocessing(input_size=8, resize_size=8))
    assert table.dtype == np.int8
    assert np.array_equal(table, ALL_PIXELS.astype(int) - 128)


def test_uint8_is_the_pixel_itself():
    table = input_table(spec("uint8", 1 / 128, 128), Preprocessing(input_size=8, resize_size=8))
    assert table.dtype == np.uint8
    assert np.array_equal(table, ALL_PIXELS)


@given(
    mean=st.tuples(*[st.floats(0, 255)] * 3),
    std=st.tuples(*[st.floats(1, 255)] * 3),
    scale=st.floats(1e-3, 1),
    zero_point=st.integers(-128, 127),
)
@settings(deadline=None)
def test_other_scalings_round_to_the_nearest_and_stay_in_range(mean, std, scale: float, zero_point: int):
    preprocessing = Preprocessing(input_size=8, resize_size=8, mean=mean, std=std)
    table = input_table(spec("int8", scale, zero_point), preprocessing).astype(float)
    exact = preprocessing.scale(ALL_PIXELS).astype(float) / scale + zero_point
    inside = (exact >= -128) & (exact <= 127)
    assert np.abs(table - exact)[inside].max(initial=0) <= 0.5 + 1e-9
    assert (table[exact > 127] == 127).all()
    assert (table[exact < -128] == -128).all()


def test_halves_go_to_the_even_neighbour():
    preprocessing = Preprocessing(input_size=8, resize_size=8, mean=(0, 0, 0), std=(1, 1, 1))
    table = input_table(spec("int8", 2.0, 0), preprocessing)
    assert table[[1, 3, 5, 7], 0].tolist() == [0, 2, 2, 4]  # 0.5, 1.5, 2.5, 3.5


def test_channels_of_their_own_scaling_and_nchw(bundle):
    loaded = load_bundle(bundle)
    preprocessing = loaded.manifest.preprocessing.model_copy(update={"mean": (1.0, 2.0, 3.0), "std": (4.0, 5.0, 6.0)})
    from export.bundle.runtime import open_file

    variant = loaded.variant("onnx-float32")
    pixels = noise(3)
    values = open_file(loaded.path(variant), variant, preprocessing).tensor(pixels)
    assert values.flags.c_contiguous
    assert np.array_equal(values, preprocessing.scale(pixels).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("name", ["onnx-float32", "onnx-int8"])
def test_embed_is_prepare_and_invoke(made_bundle, name: str):
    runner = open_variant(load_bundle(made_bundle), name)
    pixels = noise(37)
    rows = runner.embed(pixels)
    assert rows.shape == (37, SIZE)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    for index in (0, 36):
        runner.prepare(pixels[index : index + 1])
        runner.invoke()
        assert np.allclose(runner.output(), rows[index], atol=1e-5)
    assert runner.embed(pixels[:0]).shape == (0, SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tflite-float32", "tflite-int8"])
def test_the_same_for_tflite(tflite_bundle, name: str):
    test_embed_is_prepare_and_invoke(tflite_bundle, name)


@pytest.mark.slow
def test_threads_do_not_change_int8(tflite_bundle):
    bundle = load_bundle(tflite_bundle)
    one, two = (open_variant(bundle, "tflite-int8", threads=n).embed(noise(4)) for n in (1, 2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, SIDE, SIDE, 3), np.float32),
        np.zeros((1, SIDE, SIDE + 1, 3), np.uint8),
        np.zeros((1, 3, SIDE, SIDE), np.uint8),
        np.zeros((SIDE, SIDE, 3), np.uint8),
    ],
)
def test_other_pixels_are_refused(made_bundle, pixels: np.ndarray):
    runner = open_variant(load_bundle(made_bundle), "onnx-float32")
    with pytest.raises(Failure, match=r"the model takes uint8 \[N, 64, 64, 3\]"):
        runner.embed(pixels)


def test_prepare_takes_one_image(made_bundle):
    with pytest.raises(Failure, match="one image, not 2"):
        open_variant(load_bundle(made_bundle), "onnx-float32").prepare(noise(2))


@pytest.mark.parametrize("fmt", ["onnx", "tflite", "pte"])
def test_a_model_that_is_rubbish(bundle, fmt: str):
    path = bundle / "onnx-float32.onnx"
    path.write_bytes(b"rubbish" * 100)

    def change(content: dict) -> None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        content["variants"][0].update(format=fmt, sha256=digest, size_bytes=700)

    edit(bundle, change)
    with pytest.raises(Failure, match="no engine here runs 'pte'" if fmt == "pte" else "the engine refuses it"):
        open_variant(load_bundle(bundle), "onnx-float32")


def test_quiet_drops_native_output_and_keeps_python_streams(capfd):
    import os
    import sys

    with quiet_stderr():
        os.write(2, b"native chatter\n")
        kept = sys.stderr
        print("from python", file=sys.stderr)
    print("afterwards", file=kept)
    os.write(2, b"native again\n")
    text = capfd.readouterr().err
    assert "chatter" not in text
    assert "afterwards" in text
    assert "native again" in text
    with quiet_stderr(False):
        os.write(2, b"debug\n")
    assert "debug" in capfd.readouterr().err
