#!/usr/bin/env python3
"""Pack the app without Android Studio, with Debian's aapt2 and apksigner and the dexer of Maven Central.

    python3 pack.py assets --bundle BUNDLE --gallery GALLERY   copies bundle and gallery to build/assets
    mvn package                                                calls "pack.py resources", compiles, tests
    python3 pack.py apk                                        writes build/distill-to-phone-ABI.apk, build/runner.jar

``make android`` in the parent folder runs all three. This script needs only Python's standard library.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parent))
from packaging_tools import elf
from packaging_tools.apk import ApkWriter

HERE = Path(__file__).resolve().parent
APP = HERE / "app"
TARGET = APP / "target"
BUILD = HERE / "build"
ASSETS = BUILD / "assets"
GPU = HERE / "tflite" / "target" / "gpu"
GPU_LIBRARY = "libtensorflowlite_gpu_jni.so"
R_PACKAGE = "org.distilltophone.app"
APPLICATION_ID = "org.distilltophone.demo"
ABIS = ("arm64-v8a", "x86_64")
# Stored uncompressed, so that the app can map them into memory.
UNCOMPRESSED = (".tflite", ".gallery", ".u8")
DEBIAN = {
    "aapt2": "aapt",
    "apksigner": "apksigner",
    "zipalign": "zipalign",
    "java": "default-jdk-headless",
    "keytool": "default-jdk-headless",
}
KEY_PASSWORD = "android"  # of the debug key, which protects nothing; the usual password of debug keys
MIB = 2**20
MAX_APK = 12 * MIB
GALLERY_MAGIC = b"DTPGALRY"


def stop(what: str, cure: str) -> NoReturn:
    """Exit with a one-line error."""
    sys.exit(f"pack.py: {what}: {cure}")


def call(tool: str, *arguments: object) -> str:
    """Run a tool and return its output, which is shown only if the tool fails."""
    if shutil.which(tool) is None:
        stop(
            f"{tool} is not installed",
            f"apt-get install {DEBIAN[tool]}, or the package that contains it on your system",
        )
    command = [tool, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        stop(f"{tool} exited with status {done.returncode}", " ".join(command))
    return done.stdout


def flat(options: dict[str, object]) -> list[object]:
    """Return options and their values as a list of arguments."""
    return [part for pair in options.items() for part in pair]


def needed(path: Path, cure: str) -> Path:
    """Return ``path``, or exit if it does not exist."""
    if not path.exists():
        stop(f"{path} does not exist", cure)
    return path


def read_bundle(folder: Path) -> dict:
    """Read ``bundle.json``."""
    file = needed(folder / "bundle.json", "give --bundle a folder that distill-export wrote")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        stop(f"{file} is damaged ({error})", "export the bundle again")


def choose_variant(manifest: dict) -> dict:
    """Return the variant that the app will choose; see Bundle.open in core."""
    found = [variant for variant in manifest["variants"] if variant["format"] == "tflite"]
    if not found:
        stop("the bundle has no TFLite file", "export it with --target tflite --quantize int8")
    return min(found, key=lambda one: (one["name"] != "tflite-int8", one["input"]["dtype"] != "int8"))


def assets(bundle: Path, gallery: Path) -> None:
    """Copy the gallery, and the files of the bundle that the app reads, to build/assets."""
    manifest = read_bundle(bundle)
    try:
        variant = choose_variant(manifest)
        golden = manifest["golden"]
        files = ["bundle.json", manifest["model_card"]["file"], variant["file"], golden["pixels"]["file"]]
        files += [entry["file"] for entry in golden["expected"].values()] + [entry["file"] for entry in golden["files"]]
        title = f"{manifest['name']}, {variant['name']}, {gallery.name}"
        outside = [name for name in files if not (bundle / name).resolve().is_relative_to(bundle.resolve())]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        stop(
            f"{bundle / 'bundle.json'} is not a bundle description ({type(error).__name__}: {error})",
            "export the bundle again",
        )
    if outside:
        stop(f"{outside[0]} leads out of the bundle", "do not trust this bundle")
    for name in files:
        needed(bundle / name, "export the bundle again")
    try:
        with open(needed(gallery, "make it with distill-index"), "rb") as file:
            magic = file.read(len(GALLERY_MAGIC))
        if magic != GALLERY_MAGIC:
            stop(f"{gallery} is not a gallery", "make it with distill-index")
        copy_assets(bundle, files, gallery)
    except OSError as error:
        stop(
            f"{error.filename or ASSETS}: {error.strerror or error}",
            "check the path, its permissions and the free space",
        )
    print(f"{ASSETS}: {title}")


def copy_assets(bundle: Path, files: list[str], gallery: Path) -> None:
    """Copy all files, or none."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="assets.") as scratch:
        fresh = Path(scratch) / "assets"
        for name in files:
            (fresh / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle / name, fresh / "bundle" / name)
        shutil.copyfile(gallery, fresh / "demo.gallery")
        shutil.rmtree(ASSETS, ignore_errors=True)
        fresh.rename(ASSETS)


def resources(version: str, version_code: int, min_sdk: int, target_sdk: int) -> None:
    """Compile and link app/src/main/res; write R.java, the manifest and resources.apk to app/target."""
    android = needed(TARGET / "tools" / "android.jar", "run this through Maven (mvn package), which puts it there")
    java = TARGET / "generated-sources" / "r"
    for folder in (java, TARGET / "res"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    # Gradle refuses a package in the manifest, aapt2 requires one.
    manifest = TARGET / "AndroidManifest.xml"
    text = (APP / "src/main/AndroidManifest.xml").read_text(encoding="utf-8")
    manifest.write_text(
        re.sub(r"<manifest\b", f'<manifest package="{APPLICATION_ID}"', text, count=1), encoding="utf-8"
    )
    call("aapt2", "compile", "--dir", APP / "src/main/res", "-o", TARGET / "res" / "compiled.zip")
    carried = ["-A", ASSETS] if ASSETS.is_dir() else []
    options: dict[str, object] = {
        "-I": android,
        "--manifest": manifest,
        "-o": TARGET / "resources.apk",
        "--java": java,
        "--custom-package": R_PACKAGE,
        "--min-sdk-version": min_sdk,
        "--target-sdk-version": target_sdk,
        "--version-name": version,
        "--version-code": version_code,
    }
    stored = [part for suffix in UNCOMPRESSED for part in ("-0", suffix)]
    switches = ["--auto-add-overlay", "--no-version-vectors", *stored, *carried]
    call("aapt2", "link", *flat(options), *switches, TARGET / "res" / "compiled.zip")


def dex(jars: list[Path], out: Path, min_sdk: int) -> None:
    """Convert jars to one dex file."""
    dx = needed(TARGET / "tools" / "dx.jar", "run mvn package first")
    out.parent.mkdir(parents=True, exist_ok=True)
    command = ["-Xmx1g", "-cp", dx, "com.android.dx.command.Main", "--dex"]
    call("java", *command, f"--min-sdk-version={min_sdk}", f"--output={out}", *jars)


def key() -> Path:
    """Return the debug key. It is created once and kept, so that a newer build installs over an older one."""
    store = BUILD / "debug.keystore"
    if not store.exists():
        options: dict[str, object] = {
            "-keystore": store,
            "-storepass": KEY_PASSWORD,
            "-alias": "debug",
            "-keyalg": "RSA",
            "-keysize": 2048,
            "-validity": 10000,
            "-dname": "CN=Debug, O=distill-to-phone",
        }
        call("keytool", "-genkeypair", *flat(options))
    return store


def apk(abis: list[str]) -> None:
    """Pack Maven's output into a signed APK for each ABI and the runner for adb."""
    if not ASSETS.is_dir():
        stop(f"{ASSETS} does not exist", "run pack.py assets first, then mvn package")
    linked = needed(TARGET / "resources.apk", "run mvn package first")
    min_sdk = int(re.findall(r"<android.min.sdk>(\d+)<", (APP / "pom.xml").read_text(encoding="utf-8"))[0])
    own = sorted(path for path in TARGET.glob("app-*.jar"))
    needed(TARGET / "libs", "run mvn package first")
    libraries = sorted(TARGET.glob("libs/*.jar"))
    native = needed(HERE / "tflite" / "target" / "aar" / "jni", "run mvn package first")
    dex([*own, *libraries], BUILD / "dex" / "classes.dex", min_sdk)
    report: list[dict[str, Any]] = []
    for abi in abis:
        library = needed(native / abi / "libtensorflowlite_jni.so", "run mvn package first")
        shipped = BUILD / "jni" / abi / library.name
        shipped.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library, shipped)
        # For distill-bench --delegate gpu; no APK contains it.
        shutil.copyfile(
            needed(GPU / "jni" / abi / GPU_LIBRARY, "run mvn package first"), shipped.with_name(GPU_LIBRARY)
        )
        aligned = elf.load_alignment(shipped.read_bytes())
        out = BUILD / f"distill-to-phone-{abi}.apk"
        unsigned = BUILD / f".{abi}.unsigned.apk"
        with ApkWriter(unsigned) as writer:
            with zipfile.ZipFile(linked) as source:
                for entry in source.infolist():
                    writer.add(entry.filename, source.read(entry), stored=entry.compress_type == zipfile.ZIP_STORED)
            writer.add("classes.dex", (BUILD / "dex" / "classes.dex").read_bytes(), stored=False)
            writer.add(f"lib/{abi}/{library.name}", shipped.read_bytes(), stored=True)
        call("zipalign", "-c", "-p", 4, unsigned)
        signed = unsigned.with_suffix(".signed")
        signing: dict[str, object] = {
            "--ks": key(),
            "--ks-pass": f"pass:{KEY_PASSWORD}",
            "--min-sdk-version": min_sdk,
            "--v4-signing-enabled": "false",
            "--out": signed,
        }
        call("apksigner", "sign", *flat(signing), unsigned)
        call("apksigner", "verify", "--min-sdk-version", min_sdk, signed)
        os.replace(signed, out)
        unsigned.unlink()
        size = out.stat().st_size
        if size > MAX_APK:
            stop(f"{out} has {size / MIB:.1f} MiB, more than {MAX_APK // MIB}", "use a smaller model or gallery")
        report.append({"apk": out.name, "abi": abi, "bytes": size, "native_alignment": aligned})
    runner_jar(min_sdk)
    (BUILD / "report.json").write_text(json.dumps({"apks": report}, indent=2) + "\n", encoding="utf-8")
    for line in report:
        pages = (
            "supports 16 KB pages"
            if line["native_alignment"] >= 16384
            else f"its TFLite is aligned to {line['native_alignment'] // 1024} KB, see README.md"
        )
        print(f"{BUILD / line['apk']}: {line['bytes'] / MIB:.1f} MiB, {pages}")


def runner_jar(min_sdk: int) -> None:
    """Write the jar with one dex file that distill-bench pushes to a phone and starts with app_process."""
    jars = sorted(HERE.glob("runner/target/runner-*.jar")) + sorted(TARGET.glob("libs/*.jar"))
    jars += [needed(folder / "classes.jar", "run mvn package first") for folder in (GPU, GPU.with_name("gpu-api"))]
    out = BUILD / "dex" / "runner" / "classes.dex"
    dex(jars, out, min_sdk)
    with ApkWriter(BUILD / "runner.jar") as writer:
        writer.add("classes.dex", out.read_bytes(), stored=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("assets", help="copy a bundle and a gallery to build/assets")
    step.add_argument("--bundle", type=Path, required=True, help="folder written by distill-export")
    step.add_argument("--gallery", type=Path, required=True, help="file written by distill-index")
    step = steps.add_parser("resources", help="compile and link the resources; called by Maven")
    step.add_argument("--version", required=True)
    step.add_argument("--version-code", type=int, required=True)
    step.add_argument("--min-sdk", type=int, required=True)
    step.add_argument("--target-sdk", type=int, required=True)
    step = steps.add_parser("apk", help="dex, pack and sign Maven's output")
    step.add_argument("--abi", choices=ABIS, action="append", help="build only for this ABI; repeatable")
    given = parser.parse_args()
    if given.step == "assets":
        assets(given.bundle, given.gallery)
    elif given.step == "resources":
        resources(given.version, given.version_code, given.min_sdk, given.target_sdk)
    else:
        apk(given.abi or list(ABIS))


if __name__ == "__main__":
    main()
