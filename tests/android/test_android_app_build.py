"""Build the app from clean sources: Robolectric drives it, and third-party tools read the finished APK.

One Maven run compiles, tests and packages a copy of android_demo with a small bundle and gallery.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from dataclasses import dataclass
from pathlib import Path

import image_kinds
import java_build
import pytest

from distill.data.decode import decode
from distill.data.glyphs import render_glyph
from export.bundle import Bundle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DATA = "glyphs:classes=40"
TOOLS = {
    "mvn": "maven",
    "javac": "default-jdk-headless",
    "aapt2": "aapt",
    "apksigner": "apksigner",
    "zipalign": "zipalign",
}
ABIS = ("arm64-v8a", "x86_64")
MB = 10**6


@dataclass
class Built:
    folder: Path  # a copy of android_demo
    bundle: Bundle
    gallery: Path

    def apk(self, abi: str) -> Path:
        return self.folder / "build" / f"distill-to-phone-{abi}.apk"


def run(*command: object, **options: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    return done.stdout


def make_fixture(folder: Path, bundle: Bundle) -> Path:
    """Write query images and Python's results for the Java tests; see Fixture.java."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    for number, (code, face) in enumerate([(0x3A9, "DejaVuSans"), (0x21, "DejaVuSerif"), (0xA3, "DejaVuSans-Bold")]):
        render_glyph(code, face, 96).convert("RGB").save(pictures / f"{number}.png")
    index = [sys.executable, "-m", "gallery.cli"]
    gallery = folder / "demo.gallery"
    made = json.loads(run(*index, bundle.directory, DATA, "--out", gallery, "--thumbnails", 64, "--json", cwd=ROOT))
    names = sorted(pictures.iterdir())
    found = json.loads(run(*index, "search", gallery, *names, "-k", 60, "--json", cwd=ROOT))
    expected = {Path(query["query"]).name: query["neighbours"] for query in found["queries"]}
    kinds = folder / "kinds"
    kinds.mkdir()
    for name, content in image_kinds.kinds().items():
        (kinds / name).write_bytes(content)
        (kinds / f"{name}.pixels").write_bytes(bundle.manifest.preprocessing.pixels(decode(content, name)).tobytes())
    (folder / "expected.json").write_text(json.dumps({"count": made["count"], "pictures": expected}))
    return gallery


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Built:
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here: apt-get install {package}")
    work = tmp_path_factory.mktemp("app")
    folder = work / "android_demo"
    shutil.copytree(ROOT / "android_demo", folder, ignore=shutil.ignore_patterns("target", "build", "__pycache__"))
    gallery = make_fixture(work / "fixture", bundle)
    pack = [sys.executable, folder / "pack.py"]
    run(*pack, "assets", "--bundle", bundle.directory, "--gallery", gallery)
    maven = [
        "mvn",
        "-B",
        "-f",
        folder / "pom.xml",
        "package",
        "-pl",
        "app,runner",
        "-am",
        "-Dtest=org.distilltophone.app.*Test",
        "-Dsurefire.failIfNoSpecifiedTests=false",
        "-Dmaven.test.failure.ignore=true",
        f"-Dfixture={work / 'fixture'}",
    ]
    done = subprocess.run(
        list(map(str, maven)), capture_output=True, text=True, env={**os.environ, "MAVEN_OPTS": "-Xmx512m"}
    )
    if done.returncode and java_build.UNREACHABLE.search(done.stdout):
        pytest.skip("Maven Central cannot be reached")
    assert done.returncode == 0, done.stdout[-8000:]
    run(*pack, "apk")
    return Built(folder, bundle, gallery)


def test_robolectric_drives_the_app(built):
    reports = sorted((built.folder / "app/target/surefire-reports").glob("TEST-*.xml"))
    cases = [case for path in reports for case in ET.parse(path).getroot().iter("testcase")]
    wrong = {
        f"{case.get('classname')}.{case.get('name')}": (item.text or item.get("message") or "")[:2000]
        for case in cases
        for item in case
        if item.tag in {"failure", "error", "skipped"}
    }
    assert not wrong
    assert len(cases) >= 36
    shots = {path.stem for path in (built.folder / "app/target/screenshots").glob("*.png")}
    assert {"start-light", "results-light", "results-dark", "results-turned", "photos-light", "about-light"} <= shots


@pytest.mark.parametrize("abi", ABIS)
def test_the_signature_and_the_size(built, abi):
    said = run("apksigner", "verify", "--verbose", "--min-sdk-version", 26, built.apk(abi))
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in said
    run("zipalign", "-c", "-p", 4, built.apk(abi))
    assert built.apk(abi).stat().st_size <= 12 * MB


def test_a_changed_apk_does_not_verify(built, tmp_path):
    data = bytearray(built.apk("x86_64").read_bytes())
    data[len(data) // 2] ^= 1
    changed = tmp_path / "changed.apk"
    changed.write_bytes(data)
    assert subprocess.run(["apksigner", "verify", str(changed)], capture_output=True).returncode != 0


@pytest.mark.parametrize("abi", ABIS)
def test_what_lies_in_it(built, abi):
    with zipfile.ZipFile(built.apk(abi)) as apk:
        entries = {entry.filename: entry for entry in apk.infolist()}
        assert apk.testzip() is None
        manifest = built.bundle.manifest
        model = built.bundle.variant("tflite-int8")
        for name, content in {
            f"assets/bundle/{model.file}": (built.bundle.directory / model.file).read_bytes(),
            "assets/demo.gallery": built.gallery.read_bytes(),
        }.items():
            assert apk.read(name) == content
            assert entries[name].compress_type == zipfile.ZIP_STORED, f"{name} cannot be mapped"
        assert hashlib.sha256(apk.read(f"assets/bundle/{model.file}")).hexdigest() == model.sha256
        carried = {name for name in entries if name.startswith("assets/bundle/")}
        assert {f"assets/bundle/{file.file}" for file in manifest.golden.files} <= carried
        assert not [
            name
            for name in carried
            if "float32.tflite" in name or ("onnx" in name.rpartition("/")[2][:4] and "golden" not in name)
        ]
        assert {name for name in entries if name.startswith("lib/")} == {f"lib/{abi}/libtensorflowlite_jni.so"}
        assert not [name for name in entries if name.endswith((".keystore", ".java", ".class", ".jar", ".md.orig"))]
        library = entries[f"lib/{abi}/libtensorflowlite_jni.so"]
        assert library.compress_type == zipfile.ZIP_STORED
    with open(built.apk(abi), "rb") as file:
        file.seek(library.header_offset)
        name_bytes, extra_bytes = struct.unpack("<26xHH", file.read(30))
    assert (library.header_offset + 30 + name_bytes + extra_bytes) % 16384 == 0, "phones with 16 KB pages cannot map it"


@pytest.mark.parametrize("abi", ABIS)
def test_alignment_of_the_library_is_told_as_readelf_sees_it(built, abi):
    if shutil.which("readelf") is None:
        pytest.skip("no readelf here: apt-get install binutils")
    seen = run("readelf", "-lW", built.folder / "build/jni" / abi / "libtensorflowlite_jni.so")
    alignments = [int(line.split()[-1], 16) for line in seen.splitlines() if line.split()[:1] == ["LOAD"]]
    report = json.loads((built.folder / "build/report.json").read_text())
    told = {entry["abi"]: entry["native_alignment"] for entry in report["apks"]}
    assert told[abi] == min(alignments)


def test_the_manifest_as_android_reads_it(built):
    said = run("aapt", "dump", "badging", built.apk("arm64-v8a"))
    assert "package: name='org.distilltophone.demo'" in said
    assert "sdkVersion:'26'" in said and "targetSdkVersion:'35'" in said
    assert "native-code: 'arm64-v8a'" in said
    asked = re.findall(r"uses-permission: name='([\w.]+)'", said)
    assert sorted(asked) == ["android.permission.READ_EXTERNAL_STORAGE", "android.permission.READ_MEDIA_IMAGES"]
    assert re.findall(r"launchable-activity: name='([\w.]+)'", said) == ["org.distilltophone.app.MainActivity"]
    assert "application-debuggable" not in said
    tree = run("aapt", "dump", "xmltree", built.apk("arm64-v8a"), "AndroidManifest.xml")
    assert re.search(r"android:allowBackup\(0x\w+\)=\(type 0x12\)0x0", tree)
    assert len(re.findall(r"android:exported\(0x\w+\)=\(type 0x12\)0xffffffff", tree)) == 1


def test_another_reader_agrees(built):
    androguard = pytest.importorskip("androguard.core.apk", reason="pip install androguard")
    apk = androguard.APK(str(built.apk("arm64-v8a")))
    assert apk.is_valid_APK() and apk.is_signed_v2()
    assert apk.get_package() == "org.distilltophone.demo" and apk.get_target_sdk_version() == "35"
    assert set(apk.get_permissions()) == {
        "android.permission.READ_EXTERNAL_STORAGE",
        "android.permission.READ_MEDIA_IMAGES",
    }


def classes(dex: Path) -> set[str]:
    return set(re.findall(r"Class descriptor\s+: 'L([\w/$-]+);'", run("dexdump", dex)))


def test_the_code_that_went_in(built, tmp_path):
    if shutil.which("dexdump") is None:
        pytest.skip("no dexdump here: apt-get install dexdump")
    with zipfile.ZipFile(built.apk("arm64-v8a")) as apk:
        apk.extract("classes.dex", tmp_path)
    inside = classes(tmp_path / "classes.dex")
    text = (built.folder / "app/src/main/AndroidManifest.xml").read_text()
    assert {
        name.replace(".", "/") for name in re.findall(r'android:name="(org\.distilltophone\.app\.\w+)"', text)
    } <= inside
    assert {"org/distilltophone/core/Bundle", "org/tensorflow/lite/Interpreter"} <= inside
    assert {name.split("/")[0] for name in inside} <= {"org", "com"}
    assert not [
        name for name in inside if "/jvm/" in name or "robolectric" in name or "junit" in name or "android/dx" in name
    ]
    with zipfile.ZipFile(built.folder / "build/runner.jar") as jar:
        assert jar.namelist() == ["classes.dex"]
        jar.extract("classes.dex", tmp_path / "runner")
    runner = classes(tmp_path / "runner/classes.dex")
    assert [name for name in runner if name.startswith("org/distilltophone/runner/")]
    assert {
        "org/distilltophone/core/Embedder",
        "org/tensorflow/lite/Interpreter",
        "org/distilltophone/decoder/BitmapDecoder",
    } <= runner
    # Loaded by reflection, so the compiler would not notice if it were missing.
    assert "org/tensorflow/lite/gpu/GpuDelegate" in runner and not [name for name in inside if "/gpu/" in name]
    delegates = (built.folder / "tflite/src/main/java/org/distilltophone/tflite/Delegates.java").read_text()
    assert 'GPU_CLASS = "org.tensorflow.lite.gpu.GpuDelegate"' in delegates
    for abi in ABIS:
        assert (built.folder / "build/jni" / abi / "libtensorflowlite_gpu_jni.so").stat().st_size > MB
    assert not [name for name in runner if name.startswith("org/distilltophone/app/")]


def test_a_second_build_is_signed_with_the_same_key(built):
    """Otherwise a newer build would not install over an older one."""

    def digest() -> list[str]:
        return re.findall(r"SHA-256 digest: (\w+)", run("apksigner", "verify", "--print-certs", built.apk("x86_64")))

    before = digest()
    run(sys.executable, built.folder / "pack.py", "apk", "--abi", "x86_64")
    assert digest() == before != []
