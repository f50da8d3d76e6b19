"""Run the script of ``make demo`` end to end, with the shipped recipes, on a tiny data set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
