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


STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$*" in *"${FAILS:-nothing}"*) echo "error: as asked" >&2; exit 1 ;; esac
while [ $# -gt 1 ]; do
    [ "$1" = --out ] && case "$2" in */teacher | */student | */alone) mkdir -p "$2" && echo trained "$2" && : >"$2/model.json" ;; esac
    shift
done
"""


def _run_script(tmp_path: Path, student: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run scripts/demo.sh with commands that only write down how they were called."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir(exist_ok=True)
    for name in ("distill-train", "distill-export", "distill-bench", "distill-index"):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    calls.write_text("")
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls)} | variables
    words = ["sh", str(ROOT / "scripts" / "demo.sh"), "out", "glyphs", student.replace("student", "teacher"), student]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)
    return done, calls.read_text().splitlines()


def test_the_demo_trains_the_student_alone_beside_the_teacher_with_its_own_recipe(tmp_path):
    done, calls = _run_script(tmp_path, "--recipe recipes/glyphs-student.yaml --arch x")
    assert done.returncode == 0, done.stderr
    alone = "distill-train student --data glyphs --recipe recipes/glyphs-student.yaml --arch x --recipe glyphs-alone --out out/alone"
    assert alone in calls[:2] and len(calls) == 7  # started before the teacher, or with it
    assert "trained out/alone" in done.stdout and (tmp_path / "out" / "alone.log").read_text() == "trained out/alone\n"
    again, calls = _run_script(tmp_path, "--recipe recipes/glyphs-student.yaml --arch x")
    assert again.stdout.count("is finished, kept") == 3 and not any("distill-train" in call for call in calls)


def test_the_demo_ends_with_the_error_of_the_student_alone(tmp_path):
    done, calls = _run_script(tmp_path, "--recipe recipes/glyphs-student.yaml", FAILS="out/alone")
    assert done.returncode == 1 and "error: as asked" in done.stderr
    assert not any(call.startswith("distill-export") for call in calls)


def test_other_recipes_train_one_after_another(tmp_path):
    """Their trainings use all cores: two at a time would wait for each other."""
    done, calls = _run_script(tmp_path, "--recipe photos-student")
    assert done.returncode == 0, done.stderr
    assert (
        calls[2]
        == "distill-train student --data glyphs --recipe photos-student --method multi_similarity --out out/alone"
    )
    assert "beside" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["teacher", "alone"])
def test_the_recipes_train_the_same_weights_with_and_without_amx(recipe, tmp_path):
    """oneDNN can hide AMX, as on an older processor. In bfloat16 the weights would differ (on a machine that has it)."""
    kind = "teacher" if recipe == "teacher" else "student"
    words = [kind, "--recipe", f"{ROOT}/recipes/glyphs-{recipe}.yaml", "--data", "glyphs:classes=24,faces=4,size=32"]
    words += ["--batch-size", "16", "--epochs", "1", "--cache-dir", str(tmp_path / "cache")]
    weights = set()
    for name, hidden in (("all", {}), ("hidden", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"})):
        command = [sys.executable, "-m", "distill", *words, "--out", str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **hidden}, timeout=600)
        weights.add((tmp_path / name / "model.safetensors").read_bytes())
    assert len(weights) == 1


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
