"""The packaging script: its output, and its errors if something is missing."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

DEMO = Path(__file__).parents[2] / "android_demo"
sys.path.append(str(DEMO))

from packaging_tools.apk import ApkWriter
from packaging_tools.elf import load_alignment


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A copy, because the script writes to its own folder."""
    folder = tmp_path / "android_demo"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("target", "build", "__pycache__", "src"))
    return folder


def pack(demo: Path, *arguments: object, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) if path is None else {**os.environ, "PATH": path}
    command = [sys.executable, str(demo / "pack.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def make_bundle(folder: Path, **changes: object) -> Path:
    """Write the parts of a bundle that the script reads."""
    files = {
        "m.tflite": b"int8",
        "f.tflite": b"float",
        "MODEL_CARD.md": b"#",
        "golden/pixels.u8": b"p",
        "golden/pytorch.f32": b"f",
        "golden/a.png": b"png",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    manifest = {
        "name": "toy",
        "variants": [
            {"name": "tflite-float32", "format": "tflite", "file": "f.tflite", "input": {"dtype": "float32"}},
            {"name": "tflite-int8", "format": "tflite", "file": "m.tflite", "input": {"dtype": "int8"}},
        ],
        "golden": {
            "pixels": {"file": "golden/pixels.u8"},
            "expected": {"pytorch": {"file": "golden/pytorch.f32"}},
            "files": [{"file": "golden/a.png"}],
        },
        "model_card": {"file": "MODEL_CARD.md"},
        **changes,
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def test_assets_are_what_the_app_reads(demo, tmp_path):
    (tmp_path / "g").write_bytes(b"DTPGALRY gallery")
    done = pack(demo, "assets", "--bundle", make_bundle(tmp_path / "b"), "--gallery", tmp_path / "g")
    assert done.returncode == 0, done.stderr
    assets = demo / "build/assets"
    found = {str(path.relative_to(assets)) for path in assets.rglob("*") if path.is_file()}
    assert found == {
        "demo.gallery",
        "bundle/bundle.json",
        "bundle/m.tflite",
        "bundle/MODEL_CARD.md",
        "bundle/golden/pixels.u8",
        "bundle/golden/pytorch.f32",
        "bundle/golden/a.png",
    }
    again = pack(demo, "assets", "--bundle", tmp_path / "b", "--gallery", tmp_path / "missing")
    assert again.returncode == 1 and "distill-index" in again.stderr
    assert (assets / "demo.gallery").read_bytes() == b"DTPGALRY gallery", "what was there stays"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variants": []}, "--target tflite"),
        ({"model_card": {"file": "../outside"}}, "leads out"),
        ({"model_card": {"file": "gone.md"}}, "gone.md does not exist"),
        ({"model_card": {"file": 3}}, "not a bundle description"),
        ({"variants": "many"}, "not a bundle description"),
        ({"golden": {"expected": {}, "files": []}}, "not a bundle description (KeyError: 'pixels')"),
    ],
)
def test_a_bad_bundle_is_one_line_with_a_cure(demo, tmp_path, changes, words):
    (tmp_path / "g").write_bytes(b"DTPGALRY gallery")
    (tmp_path / "outside").write_bytes(b"secret")
    done = pack(demo, "assets", "--bundle", make_bundle(tmp_path / "b", **changes), "--gallery", tmp_path / "g")
    assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1
    assert not list(demo.glob("build/*"))


def test_what_is_no_gallery_or_no_json_is_one_line(demo, tmp_path):
    bundle = make_bundle(tmp_path / "b")
    (tmp_path / "g").write_bytes(b"JFIF")
    for gallery, words in ((tmp_path / "g", "is not a gallery"), (bundle, "Is a directory")):
        done = pack(demo, "assets", "--bundle", bundle, "--gallery", gallery)
        assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1
    (bundle / "bundle.json").write_text("[" * 100_000)
    done = pack(demo, "assets", "--bundle", bundle, "--gallery", tmp_path / "g")
    assert done.returncode == 1 and "is damaged" in done.stderr and done.stderr.count("\n") == 1
    assert not list(demo.glob("build/*"))


def test_steps_in_the_wrong_order_are_explained(demo, tmp_path):
    done = pack(demo, "apk")
    assert done.returncode == 1 and "pack.py assets" in done.stderr
    (demo / "build/assets").mkdir(parents=True)
    done = pack(demo, "apk")
    assert done.returncode == 1 and "mvn package" in done.stderr
    done = pack(demo, "resources", "--version", "1", "--version-code", "1", "--min-sdk", "26", "--target-sdk", "35")
    assert done.returncode == 1 and "mvn package" in done.stderr


def test_a_missing_tool_names_its_package(demo, tmp_path):
    shutil.copytree(DEMO / "app/src/main", demo / "app/src/main")
    (demo / "app/target/tools").mkdir(parents=True)
    (demo / "app/target/tools/android.jar").write_bytes(b"")
    empty = tmp_path / "bin"
    empty.mkdir()
    done = pack(
        demo,
        "resources",
        "--version",
        "1",
        "--version-code",
        "1",
        "--min-sdk",
        "26",
        "--target-sdk",
        "35",
        path=str(empty),
    )
    assert done.returncode == 1 and "apt-get install aapt" in done.stderr


def test_make_android_names_what_is_missing(tmp_path):
    (tmp_path / "dirname").symlink_to(shutil.which("dirname") or "")
    command = [shutil.which("sh") or "sh", str(DEMO.parent / "scripts/android.sh"), "", ""]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": str(tmp_path)}, cwd=tmp_path)
    assert done.returncode == 1 and "mvn is not installed: apt-get install maven aapt" in done.stderr


@given(
    st.lists(
        st.tuples(st.sampled_from(["a.so", "b.tflite", "folder/c", "ü.bin"]), st.binary(max_size=300), st.booleans()),
        unique_by=lambda entry: entry[0],
    )
)
def test_stored_entries_are_aligned(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("zip") / "x.apk"
    with ApkWriter(path) as writer:
        for name, data, stored in entries:
            writer.add(name, data, stored=stored)
    with zipfile.ZipFile(path) as read:
        assert read.testzip() is None
        raw = path.read_bytes()
        for (name, data, stored), entry in zip(entries, read.infolist(), strict=True):
            assert entry.filename == name and read.read(entry) == data
            if stored:
                name_bytes, extra_bytes = struct.unpack_from("<26xHH", raw, entry.header_offset)
                start = entry.header_offset + 30 + name_bytes + extra_bytes
                assert start % (16384 if name.endswith(".so") else 4) == 0 and raw[start : start + len(data)] == data


def elf(*segments: tuple[int, int]) -> bytes:
    """Return only the headers of an ELF file with segments of (type, alignment)."""
    head = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 3, 183, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0)
    )
    return head + b"".join(struct.pack("<II6Q", kind, 0, 0, 0, 0, 0, 0, align) for kind, align in segments)


def test_alignment_is_the_smallest_of_what_is_loaded():
    assert load_alignment(elf((1, 65536), (2, 8), (1, 16384))) == 16384
    assert load_alignment(elf((1, 4096), (1, 16384))) == 4096


@given(st.one_of(st.binary(max_size=200), st.integers(0, 200).map(lambda cut: elf((1, 4096), (1, 16384))[:cut])))
def test_what_is_no_library_is_refused(data):
    if data != elf((1, 4096), (1, 16384)):
        with pytest.raises(ValueError, match=r"ELF|load"):
            load_alignment(data)
