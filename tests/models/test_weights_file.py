"""Weights from files: wrappers' names, files that do not fit, files that are damaged or hostile."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch
from helpers_models import randomise
from safetensors.torch import save_file
from torch import nn

from distill.console import Failure, UsageFailure
from distill.models.embedder import Embedder
from distill.models.mobilenet_v1 import MobileNetV1
from distill.models.registry import build_backbone
from distill.models.weights_file import load_matching, read_state_dict

ARCH = "timm:test_resnet"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return randomise(build_backbone(ARCH).net, seed=2).state_dict()


def loads(path: Path, state: dict[str, torch.Tensor], arch: str = ARCH) -> None:
    backbone = build_backbone(arch, path)
    loaded = getattr(backbone, "net", backbone).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    assert backbone.weights["source"] == path.name


def fails(path: Path, match: str, arch: str = ARCH) -> None:
    with pytest.raises(Failure, match=match) as caught:
        build_backbone(arch, path)
    assert str(path) in str(caught.value)
    assert caught.value.cure
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_safetensors(state: dict, tmp_path: Path) -> None:
    save_file(state, tmp_path / "w.safetensors")
    loads(tmp_path / "w.safetensors", state)


@pytest.mark.parametrize("nest", [(), ("state_dict",), ("model",), ("checkpoint", "model")])
@pytest.mark.parametrize("prefix", ["", "module.", "module.model.", "_orig_mod.backbone."])
def test_what_training_programs_save(nest: tuple[str, ...], prefix: str, state: dict, tmp_path: Path) -> None:
    content: object = {prefix + key: value for key, value in state.items()}
    content[prefix + "fc.weight"] = torch.zeros(1000, 512)
    content[prefix + "fc.bias"] = torch.zeros(1000)
    for name in reversed(nest):
        content = {"epoch": 3, name: content}
    torch.save(content, tmp_path / "w.pth")
    if nest and nest[0] == "checkpoint":
        fails(tmp_path / "w.pth", "holds no named tensors")
    else:
        loads(tmp_path / "w.pth", state)


def test_a_classifier_outside_the_wrapper_does_not_hinder(state: dict, tmp_path: Path) -> None:
    content = {f"backbone.{key}": value for key, value in state.items()} | {"classifier.1.weight": torch.zeros(3, 3)}
    torch.save(content, tmp_path / "w.pt")
    loads(tmp_path / "w.pt", state)


@pytest.mark.parametrize("arch", [ARCH, "mobilenet_v1_025"])
def test_our_own_checkpoints_weights(arch: str, tmp_path: Path) -> None:
    model = Embedder(randomise(build_backbone(arch)), 16)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    loads(tmp_path / "model.safetensors", getattr(model.backbone, "net", model.backbone).state_dict(), arch)


def test_half_precision_is_widened(state: dict, tmp_path: Path) -> None:
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "w.safetensors")
    backbone = build_backbone(ARCH, tmp_path / "w.safetensors")
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    key = "conv1.0.weight" if "conv1.0.weight" in state else next(k for k in state if k.endswith("weight"))
    assert torch.equal(backbone.net.state_dict()[key], state[key].half().float())


def test_counters_may_be_absent(state: dict, tmp_path: Path) -> None:
    kept = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    save_file(kept, tmp_path / "w.safetensors")
    loads(tmp_path / "w.safetensors", kept)


def test_missing_and_unknown_names_are_listed(state: dict, tmp_path: Path) -> None:
    names = [k for k in state if k.endswith("weight")]
    content = {k: v for k, v in state.items() if k != names[0]} | {"extra.weight": torch.zeros(1)}
    save_file(content, tmp_path / "w.safetensors")
    fails(tmp_path / "w.safetensors", rf"lacks {names[0]}; has unknown extra.weight \(is --arch")
    save_file({names[0]: state[names[0]]}, tmp_path / "w.safetensors")
    fails(tmp_path / "w.safetensors", r"lacks .+, .+, .+, .+ and \d+ more")


def test_another_width_shows_the_shapes(tmp_path: Path) -> None:
    save_file(MobileNetV1(0.5).state_dict(), tmp_path / "w.safetensors")
    fails(tmp_path / "w.safetensors", r"stem.weight \[16, 3, 3, 3\] instead of \[8, 3, 3, 3\]", "mobilenet_v1_025")


def test_nan(state: dict, tmp_path: Path) -> None:
    key = next(k for k in state if k.endswith("running_var"))
    bad = dict(state, **{key: torch.full_like(state[key], torch.nan)})
    save_file(bad, tmp_path / "w.safetensors")
    fails(tmp_path / "w.safetensors", f"NaN or infinite values in {key}")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_truncated_empty_and_foreign_content(suffix: str, state: dict, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    data = path.read_bytes()
    for bad in (b"", data[:100], data[: len(data) // 2], data[:-1], b"<html>404</html>" * 40, b"\xff" * 64):
        path.write_bytes(bad)
        fails(path, "not a whole|damaged")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_bytes_changed_at_random_raise_nothing_else(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    small = {f"layer.{i}.weight": torch.randn(3, 3) for i in range(5)}
    if suffix == ".safetensors":
        save_file(small, path)
    else:
        torch.save(small, path, _use_new_zipfile_serialization=suffix == ".pth")
    data = path.read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(400):
        bad = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            bad[rng.randrange(rng.choice([len(bad), 300]))] = rng.randrange(256)
        path.write_bytes(bad)
        try:
            read_state_dict(path)
        except Failure:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "value", [torch.ones(3, 3).to_sparse(), torch.ones(3, 3, dtype=torch.int8), torch.ones(3, 3, dtype=torch.complex64)]
)
def test_tensors_of_another_kind(value: torch.Tensor) -> None:
    with pytest.raises(Failure, match="w.pth: not dense tensors of the right type: weight"):
        load_matching(nn.Linear(3, 3, bias=False), {"weight": value}, "w.pth")


def test_old_style_pickle_files_are_read_too(state: dict, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    loads(tmp_path / "w.pth", state)


class Bomb:
    def __reduce__(self) -> tuple:
        return os.system, ("touch exploded",)


def test_code_in_a_pickle_does_not_run(state: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": state, "bomb": Bomb()}, tmp_path / "w.pth")
    fails(tmp_path / "w.pth", "holds more than tensors")
    assert not (tmp_path / "exploded").exists()


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    fails(tmp_path / "w.pth", "holds more than tensors")


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, torch.zeros(3), {"model": {"epoch": 1}}])
def test_files_without_weights(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    fails(tmp_path / "w.pth", "holds no named tensors")


def test_missing_file_and_unknown_kind(tmp_path: Path) -> None:
    fails(tmp_path / "none.pth", "no such file")
    fails(tmp_path, "a folder, not a file")
    (tmp_path / "w.onnx").write_bytes(b"x")
    with pytest.raises(UsageFailure, match="unknown kind of weights file '.onnx'"):
        build_backbone(ARCH, tmp_path / "w.onnx")
    (tmp_path / "w.h5").write_bytes(b"x")
    with pytest.raises(UsageFailure, match=r"unknown kind of weights file '.h5' .*mobilenet_v1_\* only"):
        build_backbone(ARCH, tmp_path / "w.h5")
