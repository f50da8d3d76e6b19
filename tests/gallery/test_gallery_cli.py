"""The command ``distill-index`` as people and scripts use it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gallery_photos import write_photo

from distill.console import run_app
from gallery import open_gallery
from gallery.cli import app
from gallery.models import relation
from gallery.schema import Model


@pytest.fixture
def indexed(bundle_dir: Path, photos: Path, tmp_path: Path) -> Path:
    out = tmp_path / "photos.gallery"
    assert run_app(app, [str(bundle_dir), str(photos), "--out", str(out)]) == 0
    return out


def run(*arguments: object) -> int:
    return run_app(app, [str(argument) for argument in arguments])


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    found = capsys.readouterr()
    return found.out, " ".join(found.err.split())


def test_build_says_what_it_did(
    bundle_dir: Path, photos: Path, indexed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys)
    assert run(bundle_dir, photos, "--out", indexed) == 0
    assert "9 images" in (out := said(capsys)[0]) and "up to date" in out
    (photos / "IMG_0000.jpg").unlink()
    write_photo(photos / "new.jpg", 40)
    (photos / "bad.jpg").write_bytes(b"")
    assert run("build", bundle_dir, photos, "-o", indexed, "--json") == 0
    facts = json.loads(said(capsys)[0])
    assert {k: facts[k] for k in ("count", "added", "kept", "dropped", "skipped")} == {
        "count": 9,
        "added": 1,
        "kept": 8,
        "dropped": 1,
        "skipped": 1,
    }
    assert facts["unreadable"][0]["id"] == "bad.jpg" and facts["model"] == "toy/tflite-float32"


def test_a_photo_finds_itself_and_its_like(photos: Path, indexed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys)
    # The bundle is found at its recorded path. The query is an image of the gallery, enlarged and encoded again.
    query = photos.parent / "query.png"
    from PIL import Image

    Image.open(photos / "IMG_0003.jpg").resize((60, 48)).save(query)
    assert run("search", indexed, query, photos / "IMG_0004.jpg", "-k", 3, "--json") == 0
    found = json.loads(said(capsys)[0])
    assert found["relation"] == {"kind": "same", "reason": "the same model file"} and found["search"] == "exact search"
    first, second = found["queries"]
    assert first["query"] == str(query) and first["neighbours"][0]["id"] == "IMG_0003.jpg"
    assert first["neighbours"][0]["score"] > 0.98 and len(first["neighbours"]) == 3
    assert second["neighbours"][0]["id"] == "IMG_0004.jpg"

    assert run("search", indexed, query, "-k", 2) == 0
    out = said(capsys)[0]
    assert "query.png" in out and "IMG_0003.jpg" in out and re.search(r"\b(1\.000|0\.9\d\d)\b", out)


def test_images_of_the_gallery_need_no_model(
    indexed: Path, bundle_dir: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    alone = tmp_path / "elsewhere" / "g"
    alone.parent.mkdir()
    shutil.copy(indexed, alone)
    said(capsys)
    assert run("search", alone, "--id", "IMG_0003.jpg", "-k", 20, "--json") == 0
    answer = json.loads(said(capsys)[0])["queries"][0]
    assert len(answer["neighbours"]) == 8 and "IMG_0003.jpg" not in {n["id"] for n in answer["neighbours"]}
    assert run("search", alone, "--id", "IMG_003.jpg") == 2
    assert "no image 'IMG_003.jpg' (did you mean 'IMG_0003.jpg'?)" in said(capsys)[1]
    samples = []
    for seed in (0, 0, 1):
        assert run("search", alone, "--sample", 3, "--seed", seed, "--json") == 0
        samples.append([q["query"] for q in json.loads(said(capsys)[0])["queries"]])
    assert samples[0] == samples[1] != samples[2] and len(samples[0]) == 3
    # A gallery moved away from its bundle asks for the bundle.
    assert run("search", alone, bundle_dir.parent / "x.jpg") == 1
    assert "no longer there (give --bundle DIR)" in said(capsys)[1]


def test_another_model_is_refused_and_the_reason_told(
    indexed: Path, bundle_dir: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = photos / "IMG_0001.jpg"
    said(capsys)
    assert run("search", indexed, photo, "--variant", "onnx-float32") == 1
    error = said(capsys)[1]
    assert "belongs to another model: toy/tflite-float32, not toy/onnx-float32" in error
    assert "--variant tflite-float32 is the model that made it; or --asymmetric" in error
    sheet = tmp_path / "s.html"
    command = ("search", indexed, photo, "--variant", "onnx-float32", "--asymmetric", "--json", "--html", sheet)
    assert run(*command) == 0
    out, err = said(capsys)
    reason = "toy/onnx-float32 and toy/tflite-float32 come from one checkpoint, " + "0" * 64
    assert json.loads(out)["relation"] == {"kind": "asymmetric", "reason": reason}
    assert json.loads(out)["queries"][0]["neighbours"][0]["id"] == "IMG_0001.jpg"
    assert reason in err and reason in sheet.read_text(encoding="utf-8")

    stranger = Path(shutil.copytree(bundle_dir, tmp_path / "stranger"))
    text = (stranger / "bundle.json").read_text().replace('"id": "' + "0" * 64, '"id": "' + "1" * 64)
    (stranger / "bundle.json").write_text(text)
    arguments = ("search", indexed, photo, "--bundle", stranger, "--variant", "onnx-float32", "--asymmetric")
    assert run(*arguments) == 1
    assert "toy/onnx-float32 and toy/tflite-float32 share no embedding space" in said(capsys)[1]


def model(**facts: object) -> Model:
    default = {
        "name": "m",
        "variant": "v",
        "sha256": "0" * 64,
        "source_id": "s",
        "preprocessing": {"input_size": 8, "resize_size": 8},
    }
    return Model.model_validate(default | facts)


@pytest.mark.parametrize(
    ("query", "gallery", "kind"),
    [
        ({}, {}, "same"),
        ({}, {"name": "other", "source_id": "t"}, "same"),  # the file is what counts
        ({}, {"preprocessing": {"input_size": 8, "resize_size": 9}}, "none"),
        ({"sha256": "1" * 64}, {}, "asymmetric"),
        ({"sha256": "1" * 64, "source_id": "t"}, {}, "none"),
        ({"sha256": "1" * 64, "source_id": "t", "space": "s"}, {}, "asymmetric"),
        ({"sha256": "1" * 64, "source_id": "t"}, {"space": "t"}, "asymmetric"),
        ({"sha256": "1" * 64, "source_id": "t", "space": "x"}, {"space": "x"}, "asymmetric"),
        ({"sha256": "1" * 64, "source_id": "t", "space": "x"}, {"space": "y"}, "none"),
        ({"sha256": "1" * 64, "source_id": ""}, {"source_id": ""}, "none"),
    ],
)
def test_which_models_share_a_space(query: dict, gallery: dict, kind: str) -> None:
    assert relation(model(**query), model(**gallery)).kind == kind


def test_a_contact_sheet_stands_alone(
    indexed: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheets" / "s.html"
    evil = write_photo(tmp_path / "<script>alert(1)</script>.jpg", 3) if sys.platform != "win32" else photos
    assert run("search", indexed, photos / "IMG_0000.jpg", "-k", 4, "--html", sheet) == 0
    text = sheet.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 5
    assert "prefers-color-scheme: dark" in text and "Made by distill-index" in text
    assert not re.search(r"<script|https?://|src=\"(?!data:)", text)
    assert evil
    assert run("search", indexed, "--sample", 2, "--html", sheet) == 0
    assert sheet.read_text(encoding="utf-8").count('class="query"') == 2
    assert f"contact sheet: {sheet}" in said(capsys)[1].replace("\n", "")
    assert run("search", indexed, "--sample", 2, "--html", tmp_path) == 2


def test_hostile_names_are_shown_harmlessly(
    bundle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "p"
    names = ["<img src=x onerror=alert(1)>.jpg", "[red]bold[.jpg", "\x1b[2J.jpg"]
    for seed, name in enumerate(names):
        write_photo(folder / "x.jpg", seed).rename(folder / name)
    assert run(bundle_dir, folder, "--out", tmp_path / "g") == 0
    assert run("search", tmp_path / "g", "--sample", 3, "--html", tmp_path / "s.html") == 0
    assert "<img src=x" not in (tmp_path / "s.html").read_text(encoding="utf-8")
    said(capsys)
    assert run("search", tmp_path / "g", "--id", names[0]) == 0
    out = said(capsys)[0]
    assert "\x1b[2J" not in out and "[red]bold[.jpg" in out


def test_thumbnails_may_be_missing(bundle_dir: Path, photos: Path, tmp_path: Path) -> None:
    assert run(bundle_dir, photos, "--out", tmp_path / "g", "--thumbnails", 0, "--bits") == 0
    assert run("search", tmp_path / "g", "--sample", 2, "--html", tmp_path / "s.html") == 0
    assert "no thumbnail" in (tmp_path / "s.html").read_text(encoding="utf-8")


def test_info_and_check(indexed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys)
    assert run("info", indexed) == 0
    out = said(capsys)[0]
    assert "toy/tflite-float32" in out and "48 int8" in out
    assert run("info", indexed, "--json") == 0
    facts = json.loads(said(capsys)[0])
    assert facts["count"] == 9 and facts["file_bytes"] == indexed.stat().st_size
    assert run("check", indexed) == 0 and "all sections intact" in said(capsys)[0]
    data = bytearray(indexed.read_bytes())
    data[open_gallery(indexed).header.sections["ids"].offset] ^= 1
    indexed.write_bytes(data)
    assert run("check", indexed, "--json") == 1
    assert "section ids changed since it was written" in said(capsys)[1]


def test_unreadable_queries(indexed: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"x")
    said(capsys)
    assert run("search", indexed, photos / "IMG_0000.jpg", tmp_path / "bad.jpg", tmp_path / "no.jpg", "--json") == 0
    out, err = said(capsys)
    assert len(json.loads(out)["queries"]) == 1 and "skipped 2 of 3 images" in err
    assert run("search", indexed, tmp_path / "bad.jpg") == 1
    assert "no readable image" in said(capsys)[1]


def test_wrong_usage(
    indexed: Path, bundle_dir: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys)
    for arguments, code, says in [
        (("search", indexed), 2, "no query"),
        (("search", indexed, photos / "IMG_0000.jpg", "--sample", 2), 2, "exclude each other"),
        (("search", indexed, "--sample", 2, "-k", 0), 2, "-k"),
        (("search", tmp_path / "none", "--sample", 2), 1, "no such gallery"),
        (
            ("search", indexed, photos / "IMG_0000.jpg", "--variant", "tflite-flot32"),
            2,
            "did you mean 'tflite-float32'?",
        ),
        ((bundle_dir, photos, "--out", tmp_path / "x", "--dtype", "int4"), 2, "did you mean 'int8'?"),
        ((bundle_dir, photos, "--out", bundle_dir / "x"), 2, "is inside "),
        ((bundle_dir, photos, "--out", tmp_path / "x", "--variant", "onnx-int8"), 2, "no variant 'onnx-int8'"),
        ((bundle_dir, photos), 2, "--out"),
        ((tmp_path / "none", photos, "--out", tmp_path / "x"), 1, "not a bundle"),
        ((bundle_dir, "glyps", "--out", tmp_path / "x"), 2, "no such folder"),
    ]:
        assert run(*arguments) == code, arguments
        assert says in said(capsys)[1], arguments
    assert not (tmp_path / "x").exists()


PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "tensorflow", "timm", "sklearn", "faiss", "onnx", "safetensors", "yaml", "h5py"):
            raise ImportError(name + " is not there")

sys.meta_path.insert(0, Absent())
from distill.console import run_app
from gallery.cli import app
bundle, photos, photo, out = sys.argv[1:]
assert run_app(app, [bundle, photos, "--out", out]) == 0
assert run_app(app, ["search", out, photo, "--html", out + ".html"]) == 0
"""


def test_the_run_extra_suffices(bundle_dir: Path, photos: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(bundle_dir),
        str(photos),
        str(photos / "IMG_0000.jpg"),
        str(tmp_path / "g"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "IMG_0000.jpg" in done.stdout and (tmp_path / "g.html").exists()
