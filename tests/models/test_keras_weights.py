"""Keras' .h5 files: equal outputs, every layout, and files that are damaged or hostile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers_models import randomise

from distill.console import Failure
from distill.models.keras_weights import keras_state_dict
from distill.models.mobilenet_v1 import MobileNetV1
from distill.models.registry import build_backbone

VARIABLES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def legacy(layer: str, variable: str, _: int) -> str:
    return f"{layer}/{layer}/{variable}:0"


def whole_model(layer: str, variable: str, _: int) -> str:
    return f"model_weights/{layer}/{layer}/{variable}:0"


def nested_model(layer: str, variable: str, _: int) -> str:
    return f"model_weights/mobilenet_0.25_224/{layer}/{variable}:0"


def keras_3(layer: str, variable: str, index: int) -> str:
    """Numbered by class in the order of the network, as Keras 3 does."""
    number = 0 if layer.startswith("conv1") else int(layer.split("_")[2])
    if layer.endswith("_bn"):
        kind, number = "batch_normalization", 0 if not number else 2 * number - ("_dw_" in layer)
    else:
        kind, number = ("depthwise_conv2d", number - 1) if "_dw_" in layer else ("conv2d", number)
    return f"layers/{kind}{f'_{number}' if number else ''}/vars/{index}"


def write(path: Path, model: MobileNetV1, place: Callable[[str, str, int], str]) -> Path:
    with h5py.File(path, "w") as file:
        for layer in model.layers():
            weight = layer.conv.weight.detach().numpy()
            if layer.kind == "depthwise":
                file[place(layer.name, "depthwise_kernel", 0)] = weight.transpose(2, 3, 0, 1)
            else:
                file[place(layer.name, "kernel", 0)] = weight.transpose(2, 3, 1, 0)
            for index, (theirs, ours) in enumerate(VARIABLES.items()):
                file[place(f"{layer.name}_bn", theirs, index)] = getattr(layer.bn, ours).detach().numpy()
    return path


@pytest.fixture(scope="module")
def network() -> MobileNetV1:
    return randomise(MobileNetV1(0.25), seed=3)


@pytest.mark.parametrize("place", [legacy, whole_model, nested_model, keras_3])
def test_every_layout_gives_the_same_weights(place: Callable, network: MobileNetV1, tmp_path: Path) -> None:
    loaded = build_backbone("mobilenet_v1_025", write(tmp_path / "w.h5", network, place))
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert loaded.weights["layout"] == "Keras MobileNet"
    assert len(loaded.weights["sha256"]) == 64


@pytest.mark.parametrize("place", [legacy, keras_3])
def test_a_classifier_is_ignored(place: Callable, network: MobileNetV1, tmp_path: Path) -> None:
    path = write(tmp_path / "w.h5", network, place)
    folder = "conv_preds/conv_preds" if place is legacy else "layers/conv2d_14/vars"
    kernel, bias = ("kernel:0", "bias:0") if place is legacy else ("0", "1")
    with h5py.File(path, "a") as file:
        file[f"{folder}/{kernel}"] = np.ones((1, 1, 256, 7), "f4")
        file[f"{folder}/{bias}"] = np.ones(7, "f4")
    state = keras_state_dict(path, MobileNetV1(0.25))
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


def fails(path: Path, match: str, alpha: float = 0.25) -> Failure:
    with pytest.raises(Failure, match=match) as caught:
        keras_state_dict(path, MobileNetV1(alpha))
    assert str(path) in caught.value.what
    assert caught.value.cure
    assert "\n" not in str(caught.value)
    return caught.value


def test_another_width_is_named(network: MobileNetV1, tmp_path: Path) -> None:
    failure = fails(write(tmp_path / "w.h5", network, legacy), r"has shape \[3, 3, 3, 8\]", alpha=0.5)
    assert "alpha" in failure.cure


def test_missing_file(tmp_path: Path) -> None:
    fails(tmp_path / "none.h5", "no such file")


def test_not_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(b"<html>404</html>" * 50)
    fails(path, "not a readable HDF5")


def test_truncated_anywhere(network: MobileNetV1, tmp_path: Path) -> None:
    data = write(tmp_path / "w.h5", network, legacy).read_bytes()
    for share in (0.0, 0.01, 0.3, 0.7, 0.999):
        path = tmp_path / "cut.h5"
        path.write_bytes(data[: int(len(data) * share)])
        fails(path, "HDF5")


def test_damaged_bytes_never_escape_as_another_error(network: MobileNetV1, tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "w.h5", network, legacy).read_bytes())
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.h5"
    for _ in range(60):
        bad = data.copy()
        for position in rng.integers(0, len(data), 400):
            bad[position] = rng.integers(0, 256)
        path.write_bytes(bad)
        try:
            state = keras_state_dict(path, MobileNetV1(0.25))
        except Failure:
            continue
        # Bytes within weights may change unseen, but what is loaded is finite.
        assert all(torch.isfinite(value).all() for value in state.values())


def test_names_that_are_not_text_are_passed_over(network: MobileNetV1, tmp_path: Path) -> None:
    path = write(tmp_path / "w.h5", network, legacy)
    with h5py.File(path, "a") as file:
        file[b"\xff\xfe"] = np.zeros(3, "f4")
    state = keras_state_dict(path, MobileNetV1(0.25))
    assert torch.equal(state["stem.weight"], network.stem.weight)


def test_another_network(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["block1_conv1/block1_conv1/kernel:0"] = np.zeros((3, 3, 3, 64), "f4")
    fails(tmp_path / "w.h5", "no MobileNet layers")


def test_a_layer_too_few(network: MobileNetV1, tmp_path: Path) -> None:
    path = write(tmp_path / "w.h5", network, legacy)
    with h5py.File(path, "a") as file:
        del file["conv_dw_9_bn"]
    fails(path, "conv_dw_9_bn has no gamma")


def test_nan(network: MobileNetV1, tmp_path: Path) -> None:
    path = write(tmp_path / "w.h5", network, legacy)
    with h5py.File(path, "a") as file:
        file["conv_pw_4/conv_pw_4/kernel:0"][0, 0, 0, 0] = np.nan
    fails(path, "conv_pw_4/kernel has NaN")


def test_negative_variance(network: MobileNetV1, tmp_path: Path) -> None:
    path = write(tmp_path / "w.h5", network, legacy)
    with h5py.File(path, "a") as file:
        file["conv_pw_4_bn/conv_pw_4_bn/moving_variance:0"][0] = -1
    fails(path, "negative variance")


def test_links_and_data_outside_the_file_are_not_followed(network: MobileNetV1, tmp_path: Path) -> None:
    path = write(tmp_path / "w.h5", network, legacy)
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kernel"] = np.ones((3, 3, 3, 8), "f4")
    with h5py.File(path, "a") as file:
        del file["conv1/conv1/kernel:0"]
        file["conv1/conv1/kernel:0"] = h5py.ExternalLink(str(secret), "/kernel")
    fails(path, "conv1 has no kernel|no MobileNet layers")
    with h5py.File(path, "a") as file:
        del file["conv1/conv1/kernel:0"]
        file.create_dataset("conv1/conv1/kernel:0", (3, 3, 3, 8), "f4", external=[(str(secret), 0, 3 * 3 * 3 * 8 * 4)])
    fails(path, "not a plain array")


@pytest.mark.slow
@pytest.mark.parametrize("top", [True, False])
def test_output_equals_keras(top: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    keras = pytest.importorskip("keras")
    side = 224 if top else 96
    theirs = keras.applications.MobileNet(
        input_shape=(side, side, 3), alpha=0.25, weights=None, include_top=top,
        **({"classifier_activation": None} if top else {}),
    )  # fmt: skip
    rng = np.random.default_rng(1)
    for layer in theirs.layers:
        if layer.name.endswith("_bn"):
            size = layer.gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.7, 1.3, size),
                    rng.normal(0, 0.3, size),
                    rng.normal(0, 0.3, size),
                    rng.uniform(0.5, 1.5, size),
                ]
            )
        elif layer.weights and layer.name != "conv_preds":
            fan_in = np.prod(layer.kernel.shape[:2]) * (1 if "_dw_" in layer.name else layer.kernel.shape[2])
            layer.set_weights([rng.normal(0, (2 / fan_in) ** 0.5, layer.kernel.shape)])
    x = rng.uniform(-1, 1, (4, side, side, 3)).astype("f4")
    last = theirs.get_layer("conv_pw_13_relu").output
    maps = keras.Model(theirs.input, last).predict(x, verbose=0)
    assert maps.std() > 0.1

    whole, weights = tmp_path / "whole.h5", tmp_path / "only.weights.h5"
    theirs.save(whole)
    theirs.save_weights(weights)
    for path in (whole, weights):
        ours = build_backbone("mobilenet_v1_025", path).eval()
        with torch.no_grad():
            features = ours(torch.from_numpy(x).permute(0, 3, 1, 2))
        np.testing.assert_allclose(features.permute(0, 2, 3, 1), maps, atol=1e-4)
        if top:
            kernel, bias = theirs.get_layer("conv_preds").get_weights()
            logits = features.mean(dim=(2, 3)).numpy() @ kernel[0, 0] + bias
            np.testing.assert_allclose(logits, theirs.predict(x, verbose=0), atol=1e-4)
