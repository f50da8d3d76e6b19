"""Checkpoints: what goes in comes out, and nothing half-written or tampered with is taken for whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers_models import randomise
from safetensors import safe_open

from distill.console import Failure
from distill.models import checkpoint
from distill.models.checkpoint import load_checkpoint, save_checkpoint
from distill.models.embedder import Embedder
from distill.models.info import CheckpointInfo, read_info
from distill.models.registry import build_backbone


def make(arch: str = "mobilenet_v1_025", size: int = 16, seed: int = 0) -> tuple[Embedder, CheckpointInfo]:
    torch.manual_seed(seed)
    model = Embedder(randomise(build_backbone(arch), seed), size).eval()
    info = CheckpointInfo(
        kind="student", arch=arch, embedding_size=size,
        preprocessing=model.backbone.default_preprocessing(64),
        training={"method": "relative", "lr": 1e-3}, data={"spec": "glyphs", "classes": ["a", "ä"]},
        space="0123456789abcdef", metrics={"recall": {"1": 0.5}}, versions={"torch": torch.__version__},
    )  # fmt: skip
    return model, info


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "run"
    save_checkpoint(folder, *make())
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def fails(folder: Path, match: str) -> None:
    with pytest.raises(Failure, match=match) as caught:
        load_checkpoint(folder)
    assert str(folder) in str(caught.value)
    assert caught.value.cure
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arch", "size"),
    [("mobilenet_v1_025", 16), ("mobilenet_v1_050", 0), ("timm:test_efficientnet", 8), ("resnet18", 0)],
)
def test_round_trip(arch: str, size: int, tmp_path: Path) -> None:
    model, info = make(arch, size)
    written = save_checkpoint(tmp_path / "deep" / "run", model, info)
    loaded, read = load_checkpoint(tmp_path / "deep" / "run")
    assert read == written == read_info(tmp_path / "deep" / "run")
    assert read.embedding_size == loaded.embedding_size == model.embedding_size
    assert (read.training, read.data, read.space, read.metrics) == (info.training, info.data, info.space, info.metrics)
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    assert sorted(p.name for p in (tmp_path / "deep" / "run").iterdir()) == ["model.json", "model.safetensors"]


def test_weights_are_float32_and_contiguous_whatever_the_model(tmp_path: Path) -> None:
    model, info = make()
    model.to(torch.bfloat16).to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path, model, info)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        keys = list(file.keys())
        dtypes = {file.get_tensor(key).dtype for key in keys if not key.endswith("num_batches_tracked")}
    assert dtypes == {torch.float32}
    loaded, _ = load_checkpoint(tmp_path)
    assert torch.equal(loaded.linear.weight, model.linear.weight.float())


def test_scaling_and_provenance_of_the_first_weights_travel(tmp_path: Path) -> None:
    from test_keras_weights import legacy, write

    path = write(tmp_path / "w.h5", randomise(build_backbone("mobilenet_v1_025")), legacy)
    model = Embedder(build_backbone("mobilenet_v1_025", path), 8)
    path.unlink()  # loading must not need it
    info = make()[1].model_copy(
        update={"preprocessing": make()[1].preprocessing.model_copy(update={"mean": (1.0, 2.0, 3.0)})}
    )
    save_checkpoint(tmp_path / "run", model, info)
    loaded, read = load_checkpoint(tmp_path / "run")
    assert read.weights["source"] == "w.h5"
    assert loaded.backbone.default_preprocessing(64).mean == (1.0, 2.0, 3.0)
    assert loaded.backbone.weights == model.backbone.weights


def test_id_follows_weights_and_preprocessing_and_nothing_else(tmp_path: Path) -> None:
    model, info = make()
    first = save_checkpoint(tmp_path / "a", model, info)
    assert len(first.id) == 16
    assert save_checkpoint(tmp_path / "b", *make()).id == first.id
    assert save_checkpoint(tmp_path / "c", model, info.model_copy(update={"metrics": {}, "space": None})).id == first.id
    other = info.preprocessing.model_copy(update={"resize_size": 70})
    assert save_checkpoint(tmp_path / "d", model, info.model_copy(update={"preprocessing": other})).id != first.id
    with torch.no_grad():
        model.linear.bias[0] += 1e-3
    assert save_checkpoint(tmp_path / "e", model, info).id != first.id
    with pytest.raises(ValueError, match="once it is saved"):
        _ = info.id


def test_an_interrupted_save_over_an_older_one_is_noticed(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(copied, *make(seed=1))
    fails(copied, "not the weights that model.json describes")


def test_an_interrupted_first_save_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "run", *make())
    fails(tmp_path / "run", "saving was interrupted")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_checkpoint import make
from distill.console import Failure
from distill.models.checkpoint import save_checkpoint
model, info = make(seed=1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.dont_write_bytecode = True  # importlib would leave a cut one, and every later start would fail
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(sys.argv[1], model, info)
except (OSError, Failure) as error:
    print("refused:", error)
    assert sys.argv[1] in str(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits")
def test_a_full_disk_leaves_the_older_checkpoint_whole(copied: Path) -> None:
    expected, _ = make()
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(copied), str(Path(__file__).parent)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("refused:")
    loaded, _ = load_checkpoint(copied)
    assert torch.equal(loaded.linear.weight, expected.linear.weight)
    assert sorted(p.name for p in copied.iterdir()) == ["model.json", "model.safetensors"]


def test_truncated_or_changed_weights(copied: Path) -> None:
    weights = copied / "model.safetensors"
    data = weights.read_bytes()
    for bad in (b"", data[: len(data) // 2], data[:-1], data[:-1] + bytes([data[-1] ^ 1])):
        weights.write_bytes(bad)
        fails(copied, "not the weights")
    weights.unlink()
    fails(copied, "model.safetensors: no such file")


def test_no_checkpoint(tmp_path: Path) -> None:
    fails(tmp_path / "none", "no such checkpoint folder")
    fails(tmp_path, "no checkpoint here")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"kind": "pupil"}, "kind: "),
        ({"arch": "mobilenet_v9"}, "unknown backbone 'mobilenet_v9'"),
        ({"arch": "mobilenet_v1_050"}, "does not fit the network"),
        ({"arch": 3}, "arch: "),
        ({"embedding_size": 32}, "says embedding size 32, the weights have 16"),
        ({"preprocessing": None}, "preprocessing: "),
        ({"weights_sha256": "x"}, "weights_sha256: "),
        ({"weights_sha256": ""}, "not the weights"),
        ({"surprise": 1}, "surprise: "),
    ],
)
def test_edited_description(change: dict, says: str, copied: Path) -> None:
    path = copied / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(Failure, match=says) as caught:
        load_checkpoint(copied)
    assert "\n" not in str(caught.value)
    assert str(copied) in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"x"', "[" * 100_000, '{"schema_version": 1}'])
def test_description_that_is_no_description(text: str, copied: Path) -> None:
    (copied / "model.json").write_text(text)
    fails(copied, "model.json")


def test_reading_the_description_needs_no_torch(saved: Path) -> None:
    code = (
        "import sys; from distill.models.info import read_info; print(read_info(sys.argv[1]).id);"
        "bad = {'torch', 'timm', 'tensorflow', 'sklearn'} & set(sys.modules); assert not bad, bad"
    )
    run = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == read_info(saved).id
