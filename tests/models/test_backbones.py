"""Names, stage maps and preprocessing of backbones, and what a user reads when a name is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

from distill.console import Failure, UsageFailure
from distill.models.mobilenet_v1 import MobileNetV1
from distill.models.registry import BACKBONES, BackboneSpec, arch_help, build_backbone

# Small convolutional networks of several families; mambaout keeps its maps as [N, h, w, C].
FAMILIES = [
    "resnet18", "timm:test_resnet", "timm:test_efficientnet", "timm:test_convnext", "timm:test_mambaout",
    "timm:mobilenetv3_small_050",
]  # fmt: skip


@pytest.mark.parametrize("arch", ["mobilenet_v1_025", *FAMILIES])
def test_stage_maps_have_the_channels_and_strides_announced(arch: str) -> None:
    backbone = build_backbone(arch).eval()
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps, last = backbone.stages(x), backbone(x)
    assert backbone.stage_strides == (4, 8, 16, 32)
    for features, channels, stride in zip(maps, backbone.stage_channels, backbone.stage_strides, strict=True):
        assert features.shape == (2, channels, 64 // stride, 96 // stride)
    assert torch.equal(maps[-1], last)
    assert last.shape[1] == backbone.feature_size


def test_maps_of_resnet_are_those_of_its_four_layers() -> None:
    backbone = build_backbone("resnet18").eval()
    seen = []
    for layer in (backbone.net.layer1, backbone.net.layer2, backbone.net.layer3, backbone.net.layer4):
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        maps = backbone.stages(torch.randn(1, 3, 64, 64))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(maps, seen, strict=True))


def test_transformers_give_their_patch_tokens_as_maps() -> None:
    backbone = build_backbone("timm:test_vit").eval()
    size = backbone.fixed_input_size
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        maps, last = backbone.stages(x), backbone(x)
        tokens = backbone.net.forward_features(x)[:, backbone.net.num_prefix_tokens :]
    stride = backbone.stage_strides[0]
    assert {tuple(m.shape) for m in maps} == {(2, backbone.feature_size, size // stride, size // stride)}
    assert torch.equal(maps[-1], last)
    assert torch.equal(last.flatten(2), tokens.transpose(1, 2))


def test_channels_last_networks_are_transposed() -> None:
    backbone = build_backbone("timm:swin_tiny_patch4_window7_224").eval()
    with torch.no_grad():
        maps = backbone.stages(torch.randn(1, 3, 224, 224))
    assert [tuple(m.shape[1:]) for m in maps] == [(96, 56, 56), (192, 28, 28), (384, 14, 14), (768, 7, 7)]


def test_fixed_input_size_is_enforced() -> None:
    backbone = build_backbone("timm:vit_tiny_patch16_224")
    assert backbone.default_preprocessing(224).input_size == 224
    with pytest.raises(UsageFailure, match="224-pixel images only, not 128"):
        backbone.default_preprocessing(128)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_resnets_are_timms(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=0).state_dict()
        ours = build_backbone(name).net.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_preprocessing_of_each_kind() -> None:
    student = build_backbone("mobilenet_v1_025").default_preprocessing(128)
    assert student.mean == student.std == (128.0, 128.0, 128.0)
    assert (student.input_size, student.resize_size) == (128, 146)  # round(128 * 256 / 224)
    resnet = build_backbone("resnet18").default_preprocessing(224)
    assert resnet.resize_size == 256
    assert resnet.mean == pytest.approx((123.675, 116.28, 103.53))
    assert resnet.std == pytest.approx((58.395, 57.12, 57.375))
    assert build_backbone("resnet18").default_preprocessing(64, resize_size=64).resize_size == 64


def test_resize_is_never_below_the_input() -> None:
    backbone = build_backbone("mobilenet_v1_025")
    assert all(backbone.default_preprocessing(size).resize_size >= size for size in range(1, 513))


def test_every_name_of_the_table_builds_under_its_name() -> None:
    with torch.device("meta"):
        assert [build_backbone(arch).arch for arch in BACKBONES.names()] == BACKBONES.names()


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        ("resnet19", "did you mean 'resnet18'"),
        ("mobilenet_v1_25", "did you mean 'mobilenet_v1_025'"),
        ("", "known:"),
        ("timm:", "known:|did you mean"),
        ("timm:resnet5", "did you mean 'resnet50'"),
        ("timm:../../etc/passwd", "unknown timm network"),
        ("timm:hf-hub:someone/something", "unknown timm network"),
        ("timm:zzzzzz", "timm.list_models"),
    ],
)
def test_unknown_names_get_a_suggestion(arch: str, says: str) -> None:
    with pytest.raises(UsageFailure, match=says) as caught:
        build_backbone(arch)
    assert len(str(caught.value)) < 300


def test_imagenet_weights_that_nobody_published() -> None:
    with (
        BACKBONES.added("plain", BackboneSpec(lambda arch: MobileNetV1(0.25, arch=arch))),
        pytest.raises(UsageFailure, match="plain: has no ImageNet weights .*--weights FILE"),
    ):
        build_backbone("plain", "imagenet")


def test_naming_backbones_does_not_import_torch() -> None:
    code = (
        "import sys; from distill.models.registry import arch_help; text = arch_help()\n"
        "assert 'resnet18' in text and 'timm:NAME' in text, text\n"
        "assert not {'torch', 'timm'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with BACKBONES.added("plain", BackboneSpec(MobileNetV1)):
        assert "plain" in arch_help()


def test_imagenet_weights_offline_name_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def no_network(*_: object, **__: object) -> None:
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(Failure, match="mobilenet_2_5_224_tf_no_top.h5: cannot be downloaded.*--weights FILE.h5"):
        build_backbone("mobilenet_v1_025", "imagenet")

    real = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: object) -> object:
        if pretrained:
            raise RuntimeError("cannot reach the hub\nmany more lines")
        return real(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(Failure, match=r"resnet18: its ImageNet weights could not be fetched: cannot reach the hub \("):
        build_backbone("resnet18", "imagenet")


def test_imagenet_weights_of_keras_are_kept_and_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from helpers_models import randomise
    from test_keras_weights import legacy, write

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    source = randomise(MobileNetV1(0.5), seed=5)
    fetched = []

    def download(url: str, path: str, progress: bool) -> None:
        fetched.append(url)
        write(Path(path), source, legacy)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        loaded = build_backbone("mobilenet_v1_050", "imagenet")
        assert torch.equal(loaded.stem.weight, source.stem.weight)
        assert loaded.weights["source"] == "mobilenet_5_0_224_tf_no_top.h5"
    assert len(fetched) == 1
