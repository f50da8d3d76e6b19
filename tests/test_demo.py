"""Run the script of ``make demo`` end to end, with the shipped recipes, on a tiny data set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill.data.spec import open_data

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_from_images_to_a_report(tmp_path):
    out = tmp_path / "demo"
    arguments = [
        str(out),
        "glyphs:classes=40,faces=6",
        f"--recipe {ROOT}/recipes/glyphs-teacher.yaml --batch-size 24 --epochs 15",
        f"--recipe {ROOT}/recipes/glyphs-student.yaml --batch-size 24 --epochs 40",
    ]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["sh", str(ROOT / "scripts" / "demo.sh"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((out / "report.json").read_text())
    variants = {variant["name"]: variant for variant in result["variants"]}
    assert {"tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8"} <= variants.keys()
    for variant in variants.values():
        assert variant["status"] == "ok" and variant["latency_ms"]["p50"] > 0
    assert abs(variants["tflite-float32"]["recall_drop"]["1"]["value"]) < 0.01
    assert variants["tflite-int8"]["size_bytes"] < variants["tflite-float32"]["size_bytes"] / 2
    # Chance is 5 of 119, 0.04. The student must have learned something that survives int8.
    assert variants["tflite-int8"]["recall"]["1"] > 0.12
    assert {reference["name"] for reference in result["references"]} == {"teacher", "student trained alone"}
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "tflite-int8" in html and "data:image/" in html
    sheet = (out / "neighbours.html").read_text(encoding="utf-8")
    assert sheet.count('class="query"') == 12 and sheet.count("data:image/jpeg") == 12 * 12
    assert str(out / "neighbours.html") in done.stdout

    again = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=900)
    assert again.returncode == 0 and again.stdout.count("is finished, kept") == 3


NO_LABELS = """
from distill.data.imageset import ImageSet

def read(self):
    raise AssertionError(f"{self.spec}: a label was read")

ImageSet.labels = ImageSet.classes = property(read)
"""


@pytest.mark.slow
def test_from_photos_without_labels_to_a_report(tmp_path):
    """The whole chain, in processes in which any look at a label ends the run."""
    photos = tmp_path / "photos"
    photos.mkdir()
    images = open_data("glyphs:classes=40,faces=3")
    for index, key in enumerate(images.keys):
        images.read(index).save(photos / f"{key.replace('/', '-')}.png")
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(NO_LABELS)
    out = tmp_path / "demo"
    small = "--batch-size 24 --input-size 64 --threads 1"
    arguments = [
        str(out),
        f"folder:{photos}",
        f"--recipe {ROOT}/recipes/glyphs-teacher.yaml {small}",
        f"--recipe {ROOT}/recipes/glyphs-student.yaml {small} --epochs 5 --validation 0.2",
    ]
    search = os.pathsep.join([str(tmp_path / "guard"), os.environ.get("PYTHONPATH", str(ROOT))])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": search}
    guarded = [sys.executable, "-c", "from distill.data.spec import open_data; open_data('glyphs').labels"]
    checked = subprocess.run(guarded, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert "a label was read" in checked.stderr
    command = ["sh", str(ROOT / "scripts" / "demo.sh"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "no student is trained alone" in done.stdout and not (out / "alone").exists()
    result = json.loads((out / "report.json").read_text())
    assert result["data"]["classes"] is None and result["data"]["images"] == 24 and result["data"]["split"] == "0.8"
    assert [reference["name"] for reference in result["references"]] == ["teacher"]
    for variant in result["variants"]:
        assert variant["status"] == "ok" and variant["recall"] is None
        with_pytorch, with_teacher = variant["agreement"]
        assert (with_pytorch["reference"], with_teacher["reference"]) == ("PyTorch", "teacher")
        # Chance is 10 of 23, 0.43.
        assert with_pytorch["overlap"]["10"] > (0.999 if "float32" in variant["name"] else 0.7)
        assert with_teacher["overlap_drop"]["10"]["ci95"][0] <= with_teacher["overlap_drop"]["10"]["value"]
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "Nearest images compared" in html and "data:image/" in html
    assert (out / "neighbours.html").read_text(encoding="utf-8").count('class="query"') == 12
    student = json.loads((out / "student" / "model.json").read_text())
    assert student["data"]["labels"] is False and "agreement@10" in student["metrics"]["test"]
