"""A real network, really exported, measured by the real engines."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from benchmark.cli import app
from distill.console import run_app

pytestmark = pytest.mark.slow

DATA = "glyphs:classes=24"


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, Path]:
    """(checkpoint, bundle) of MobileNetV1-0.25, hardly trained, at 48 pixels."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    from distill.data.spec import open_data
    from distill.models.checkpoint import save_checkpoint
    from distill.models.embedder import Embedder
    from distill.models.info import CheckpointInfo
    from distill.models.registry import build_backbone
    from export.bundle.schema import Tolerance
    from export.pipeline import ExportOptions, export_bundle

    folder = tmp_path_factory.mktemp("end to end")
    torch.manual_seed(0)
    model = Embedder(build_backbone("mobilenet_v1_025"), 32).train()
    preprocessing = model.backbone.default_preprocessing(48)
    images = open_data(DATA)
    pixels = np.stack([preprocessing.pixels(images.read(index)) for index in range(len(images))])
    scaled = torch.from_numpy(preprocessing.scale(pixels).transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(images.labels.copy())
    proxies = torch.nn.Parameter(torch.randn(len(images.classes), 32))
    optimiser = torch.optim.Adam([*model.parameters(), proxies], lr=3e-3)
    for _ in range(40):  # enough to know these classes: far from chance, not good
        batch = torch.randint(len(images), (96,))
        similarity = model(scaled[batch]) @ torch.nn.functional.normalize(proxies).T
        loss = torch.nn.functional.cross_entropy(10 * similarity, labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.inference_mode():
        for _ in range(20):  # the running statistics lag behind after such a short training
            model(scaled)
    info = CheckpointInfo(
        kind="student",
        arch="mobilenet_v1_025",
        embedding_size=32,
        preprocessing=preprocessing,
        data={"spec": DATA, "split": "half"},
    )
    save_checkpoint(folder / "student", model.eval(), info)
    loose = {name: Tolerance() for name in ("float32", "int8")}
    export = export_bundle(
        folder / "student", folder / "bundle", ExportOptions(calibration_images=64, tolerances=loose, repair="none")
    )
    assert export.folder is not None
    return folder / "student", export.folder


@pytest.fixture(scope="module")
def result(exported, tmp_path_factory) -> dict:
    checkpoint, bundle = exported
    out = tmp_path_factory.mktemp("out")
    code = run_app(app, [
        str(bundle), "--checkpoint", str(checkpoint), "--reference", f"again={checkpoint}", "--seconds", "1",
        "--json-out", str(out / "r.json"), "--html", str(out / "r.html"),
    ])  # fmt: skip
    assert code == 0
    assert (out / "r.html").stat().st_size < 2_000_000
    return json.loads((out / "r.json").read_text())


def test_float32_loses_nothing_and_int8_is_measured(result):
    variants = {variant["name"]: variant for variant in result["variants"]}
    assert {"tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8"} == set(variants)
    assert all(variant["status"] == "ok" for variant in variants.values())
    for name in ("tflite-float32", "onnx-float32"):
        assert variants[name]["recall_drop"]["1"]["value"] == 0
        assert variants[name]["cosine"]["min"] > 0.99999
    assert variants["tflite-int8"]["cosine"]["mean"] > 0.7
    assert variants["tflite-int8"]["size_bytes"] < 0.5 * variants["tflite-float32"]["size_bytes"]
    for variant in variants.values():
        assert variant["end_to_end_ms"]["p50"] >= variant["latency_ms"]["min"] > 0
        assert variant["init_ms"] > 0 and variant["first_run_ms"] > 0


def test_pytorchs_recall_is_what_training_would_report(result, exported):
    from distill.data.spec import open_data
    from distill.data.split import split
    from distill.evaluation import embed_images, score
    from distill.models.checkpoint import load_checkpoint

    model, info = load_checkpoint(exported[0])
    scores = score(embed_images(model, info.preprocessing, split(open_data(DATA), "half", "test")))
    for k in (1, 2, 4, 8):
        assert result["pytorch"]["recall"][str(k)] == pytest.approx(scores[f"recall@{k}"])
    assert result["pytorch"]["map_at_r"] == pytest.approx(scores["map@r"])
    assert result["pytorch"]["recall"]["1"] > 0.3  # chance is 0.08
    assert result["references"][0]["recall"] == result["pytorch"]["recall"]
    assert result["data"]["images"] == 144 and result["data"]["part"] == "test"


def test_no_warning_about_provenance(result):
    assert not [
        warning for warning in result["verdict"]["warnings"] if "checkpoint" in warning or "preprocess" in warning
    ]


def test_a_foreign_checkpoint_causes_a_warning(exported, tmp_path, capsys):
    checkpoint, bundle = exported
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["provenance"]["source"]["sha256"] = "1" * 64
    (copy / "bundle.json").write_text(json.dumps(manifest))
    assert run_app(app, [str(copy), "--checkpoint", str(checkpoint), "--seconds", "0", "--variant", "tflite-int8"]) == 0
    assert "not the checkpoint that this bundle was made from" in capsys.readouterr().out


def test_a_wrong_resize_rule_in_the_bundle_is_caught_by_the_gate(exported, tmp_path):
    checkpoint, bundle = exported
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["preprocessing"]["resize_size"] = 144
    (copy / "bundle.json").write_text(json.dumps(manifest))
    arguments = [
        "--checkpoint",
        str(checkpoint),
        "--seconds",
        "0",
        "--variant",
        "tflite-float32",
        "--max-recall-drop",
        "1",
    ]
    assert run_app(app, [str(bundle), *arguments]) == 0
    code = run_app(app, [str(copy), *arguments, "--json-out", str(tmp_path / "r.json")])
    value = json.loads((tmp_path / "r.json").read_text())
    assert code == 1
    assert value["variants"][0]["cosine"]["mean"] < 0.95 and value["variants"][0]["recall_drop"]["1"]["value"] > 0.05
    assert any("preprocesses images differently" in warning for warning in value["verdict"]["warnings"])


def test_the_real_engines_need_no_training_library(exported, tmp_path):
    program = textwrap.dedent("""
        import sys
        from importlib.abc import MetaPathFinder

        class Forbid(MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {"torch", "tensorflow", "timm", "sklearn", "faiss", "torchvision"}:
                    raise ImportError(f"{name} must not be imported here")

        sys.meta_path.insert(0, Forbid())
        from benchmark.cli import app
        from distill.console import run_app
        sys.exit(run_app(app, sys.argv[1:]))
    """)
    arguments = [
        str(exported[1]),
        "--seconds",
        "0",
        "--json-out",
        str(tmp_path / "r.json"),
        "--html",
        str(tmp_path / "r.html"),
    ]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    value = json.loads((tmp_path / "r.json").read_text())
    assert (
        all(variant["status"] == "ok" for variant in value["variants"]) and "torch" not in value["machine"]["packages"]
    )
