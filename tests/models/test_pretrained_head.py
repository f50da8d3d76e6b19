"""Networks trained to embed: the norm and last layer of their own head, and the scaling of their pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from helpers_models import randomise
from safetensors.torch import save_file
from torch.nn import functional as F

from distill.cli import app
from distill.console import Failure, UsageFailure, run_app
from distill.models.checkpoint import load_checkpoint, save_checkpoint
from distill.models.embedder import Embedder
from distill.models.info import CheckpointInfo
from distill.models.pretrained_head import keep_head, pixel_triple
from distill.models.registry import build_backbone

ARCH, SIZE = "edgenext_xx_small", 24


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    """timm's own network with an embedding head, and its weights in a file."""
    torch.manual_seed(0)
    network = randomise(timm.create_model(ARCH, num_classes=SIZE))
    with torch.no_grad():  # a norm that does nothing would not be missed
        network.head.norm.weight.uniform_(0.5, 2.0)
        network.head.norm.bias.normal_()
    path = tmp_path_factory.mktemp("weights") / "recogniser.safetensors"
    save_file(network.state_dict(), path)
    return network, path


def kept(path: Path, size: int = SIZE) -> Embedder:
    model = Embedder(build_backbone(f"timm:{ARCH}", path), size).eval()
    keep_head(model, path)
    return model


def test_the_embedding_is_the_output_of_timms_whole_network(recogniser) -> None:
    network, path = recogniser
    x = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(kept(path)(x), F.normalize(network(x)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["convnext_atto", "edgenext_xx_small"])
def test_pooled_features_are_timms(name: str) -> None:
    network = randomise(timm.create_model(name, num_classes=0))
    with torch.no_grad():
        network.head.norm.weight.uniform_(0.5, 2.0)
    backbone = build_backbone(f"timm:{name}").eval()
    backbone.net.load_state_dict(network.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(Embedder(backbone, 0).eval()(x), F.normalize(network(x)), atol=1e-5, rtol=0)


def test_a_checkpoint_of_an_older_version_embeds_as_it_did(recogniser, tmp_path: Path) -> None:
    model = kept(recogniser[1])
    info = CheckpointInfo(
        kind="teacher",
        arch=f"timm:{ARCH}",
        embedding_size=SIZE,
        preprocessing=model.backbone.default_preprocessing(64),
    )
    new = save_checkpoint(tmp_path, model, info)
    assert new.head_norm
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(load_checkpoint(tmp_path)[0](x), model(x))
        written = json.loads((tmp_path / "model.json").read_text())
        del written["head_norm"]  # as versions before 0.3 wrote it
        (tmp_path / "model.json").write_text(json.dumps(written))
        old, old_info = load_checkpoint(tmp_path)
        pooled = model.backbone(x).mean(dim=(2, 3))
        torch.testing.assert_close(old(x), F.normalize(model.linear(pooled)), atol=1e-6, rtol=0)
    assert old_info.id != new.id


def test_head_norm_of_a_network_without_one_is_refused(tmp_path: Path) -> None:
    model = Embedder(build_backbone("mobilenet_v1_025"), 4).eval()
    info = CheckpointInfo(
        kind="student",
        arch="mobilenet_v1_025",
        embedding_size=4,
        preprocessing=model.backbone.default_preprocessing(32),
    )
    save_checkpoint(tmp_path, model, info)
    written = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(written | {"head_norm": True}))
    with pytest.raises(Failure, match="has no norm in its head"):
        load_checkpoint(tmp_path)


def test_what_keep_head_refuses(recogniser, tmp_path: Path) -> None:
    _, path = recogniser
    with pytest.raises(Failure, match=r"no last layer of \[12, 168\].*head.fc.weight \[24, 168\]"):
        kept(path, 12)
    model = Embedder(build_backbone(f"timm:{ARCH}"), SIZE)
    with pytest.raises(UsageFailure, match="takes the layer from a file"):
        keep_head(model, None)
    with pytest.raises(UsageFailure, match="takes the layer from a file"):
        keep_head(model, "imagenet")
    with pytest.raises(UsageFailure, match="--embedding-size 0"):
        keep_head(Embedder(build_backbone(f"timm:{ARCH}"), 0), path)
    save_file({"head.fc.weight": torch.full((SIZE, 168), float("nan"))}, tmp_path / "nan.safetensors")
    with pytest.raises(Failure, match="not finite"):
        keep_head(model, tmp_path / "nan.safetensors")
    save_file({"fc.weight": torch.ones(SIZE, 168)}, tmp_path / "no_bias.safetensors")
    keep_head(model, tmp_path / "no_bias.safetensors")
    assert not model.linear.bias.any()


def test_pixel_values() -> None:
    default = (1.0, 2.0, 3.0)
    assert pixel_triple(None, "--pixel-mean", default) == default
    assert pixel_triple("123.7, 116.3,103.5", "--pixel-mean", default) == (123.7, 116.3, 103.5)
    assert pixel_triple("0", "--pixel-mean", default) == (0.0, 0.0, 0.0)
    for bad in ("", "a", "1,2", "1,2,3,4", "nan", "inf", "-1", "256"):
        with pytest.raises(UsageFailure, match="not one number, or three"):
            pixel_triple(bad, "--pixel-mean", default)
    with pytest.raises(UsageFailure, match="above 0"):
        pixel_triple("0", "--pixel-std", default, above_zero=True)


def test_a_run_of_no_epochs_is_the_given_network(recogniser, tmp_path: Path, capsys) -> None:
    network, path = recogniser
    words = f"--data glyphs:classes=8,faces=2 --arch timm:{ARCH} --weights {path} --keep-head --embedding-size {SIZE}"
    words += " --pixel-mean 127.5 --pixel-std 127.5 --input-size 64 --epochs 0"
    assert run_app(app, ["teacher", *words.split(), "--out", str(tmp_path / "teacher")]) == 0, capsys.readouterr().err
    model, info = load_checkpoint(tmp_path / "teacher")
    assert info.preprocessing.mean == info.preprocessing.std == (127.5,) * 3
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    x = torch.from_numpy(info.preprocessing.scale(pixels).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        torch.testing.assert_close(model(x), F.normalize(network(x)), atol=1e-5, rtol=0)
