"""The wheel holds the four packages and the recipes, and runs outside the repository.

It is built and installed without the network. The environments hold the wheel and, linked from this one, what an extra
requires: ``run`` measures a bundle, ``train`` trains with the recipes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
sys.path.append(str(Path(__file__).parent / "benchmark"))  # the tiny models and the bundle around them

from benchmark_fakes import SIDE, make_bundle
from tiny_models import onnx_model, tflite_model

PACKAGES = ("distill", "export", "gallery", "benchmark")
NOT_CODE = {".git", ".venv", "android_demo", "build", "dist", "runs"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, in which an earlier build has left a module that no longer exists."""
    source, out = tmp_path_factory.mktemp("source") / "repository", tmp_path_factory.mktemp("wheel")
    leave_out = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache", ".venv-*")
    shutil.copytree(ROOT, source, ignore=lambda folder, names: NOT_CODE & {*names} | leave_out(folder, names))
    (source / "build" / "lib" / "distill").mkdir(parents=True)
    (source / "build" / "lib" / "distill" / "renamed_since.py").touch()
    words = ["wheel", source, "--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", out]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_holds_the_four_packages_the_recipes_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name for name in names if ".dist-info/" not in name}
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == wanted | {f"distill/recipes/{path.name}" for path in (ROOT / "recipes").iterdir()}
    assert {f"{package}/py.typed" for package in PACKAGES} <= packed
    assert all(any(name.endswith(suffix) for name in packed) for suffix in (".html", ".css", ".yaml"))


def left_out() -> set[str]:
    """Names of the packages that ``make`` never installs, though others require them."""
    lines = (ROOT / "overrides.txt").read_text().splitlines()
    return {Requirement(line.split("#")[0]).name for line in lines if line.split("#")[0].strip()}


def stand_in(site: Path, requirement: Requirement) -> None:
    """Satisfy pip's check of a package that is left out, with metadata and no code."""
    version = next((each.version for each in requirement.specifier if each.operator in ("==", ">=", "~=")), "0")
    folder = site / f"{requirement.name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {requirement.name}\nVersion: {version}\n")


def distributions(
    requires: list[str] | None, extras: set[str], found: set[str], missing: dict[str, Requirement]
) -> set[str]:
    """Names of all distributions that these requirements bring along, by their installed metadata.

    Those that are left out of the environment are added to ``missing`` as well.
    """
    for requirement in map(Requirement, requires or []):
        marker = requirement.marker
        wanted = marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""})
        if wanted and requirement.name not in found:
            found.add(requirement.name)
            if requirement.name in left_out() and not _is_installed(requirement.name):
                missing[requirement.name] = requirement
                continue
            distributions(metadata.requires(requirement.name), requirement.extras, found, missing)
    return found


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def own_extras(requires: list[str], extra: str) -> set[str]:
    """Names of an extra and of those that it includes: ``train`` requires ``distill-to-phone[run]``."""
    own = [each for each in map(Requirement, requires) if each.name == "distill-to-phone" and each.marker]
    included = {name for each in own if each.marker.evaluate({"extra": extra}) for name in each.extras}
    return {extra}.union(*(own_extras(requires, name) for name in included))


def install(wheel: Path, folder: Path, extra: str) -> Path:
    """Create an environment with the wheel and one extra, by the name that README shows: ``FILE.whl[EXTRA]``.

    What the extra requires is linked from this environment. pip resolves it without the network and checks its versions.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    metadata_file = next(name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    requires = Parser().parsestr(zipfile.ZipFile(wheel).read(metadata_file).decode()).get_all("Requires-Dist")
    missing: dict[str, Requirement] = {}
    found = distributions(requires, own_extras(requires, extra), {"distill-to-phone"}, missing)
    for requirement in missing.values():
        stand_in(site, requirement)
    for name in found - {"distill-to-phone", *missing}:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}:
            if not (site / top).exists() and top != "__pycache__":
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))
    words = ["--python", folder / "bin" / "python", "install", f"{wheel}[{extra}]", "--no-index", "--quiet"]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, env=outside())
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    folder = install(wheel, tmp_path_factory.mktemp("environment") / "venv", "run")
    (site,) = folder.glob("lib/python*/site-packages")
    assert not any((site / name).exists() for name in ("torch", "tensorflow", "onnx", "sklearn", "timm"))
    return folder


@pytest.fixture(scope="module")
def trainer(wheel, tmp_path_factory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("environment") / "venv", "train")


def outside() -> dict[str, str]:
    """The environment variables without those that would lead back to the repository."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(installed: Path, folder: Path, *words: object) -> str:
    command = [str(installed / "bin" / str(words[0])), *map(str, words[1:])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=outside(), timeout=120)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("command", ["distill-train", "distill-export", "distill-bench", "distill-index"])
def test_every_command_answers_help(installed, tmp_path, command):
    assert "--help" in run(installed, tmp_path, command, "--help")


def test_a_bundle_is_verified_indexed_searched_and_measured(installed, tmp_path):
    from PIL import Image

    for number in range(8):
        path = tmp_path / "photos" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").rotate(40 * number).convert("RGB").save(path)
    models = {"onnx": onnx_model(SIDE), "tflite": tflite_model(SIDE)}
    make_bundle(tmp_path / "bundle", variants=("tflite-float32", "onnx-float32"), models=models)

    run(installed, tmp_path, "distill-export", "inspect", "bundle")
    run(installed, tmp_path, "distill-index", "bundle", "photos", "--out", "g.gallery", "--json")
    found = run(installed, tmp_path, "distill-index", "search", "g.gallery", "photos/class0/2.png", "--json")
    assert json.loads(found)["queries"][0]["neighbours"][0]["id"] == "class0/2.png"
    sheet = ("search", "g.gallery", "photos/class0/2.png", "--html", "sheet.html")  # templates are packed
    run(installed, tmp_path, "distill-index", *sheet)
    measure = ("bundle", "--data", "folder:photos", "--part", "all", "--seconds", "0", "--html", "report.html")
    run(installed, tmp_path, "distill-bench", *measure, "--json-out", "result.json")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("onnx-float32")
    assert json.loads((tmp_path / "result.json").read_text())["verdict"]["pass"] is True


def weights_file(arch: str, path: Path) -> Path:
    """Random weights under the names of the backbone: what ``--weights imagenet`` would download."""
    from safetensors.torch import save_file

    from distill.models.registry import build_backbone

    save_file(build_backbone(arch).state_dict(), path)
    return path


def test_the_recipes_are_listed_and_train_outside_the_repository(trainer, tmp_path):
    names = {path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    listed = json.loads(run(trainer, tmp_path, "distill-train", "recipes", "--json"))
    assert {row["recipe"] for row in listed} == names

    few = ("--data", "glyphs:classes=12,faces=4,size=32", "--epochs", "1", "--batch-size", "8", "--input-size", "32")
    few = (*few, "--threads", "1", "--json")
    weights = weights_file("resnet18", tmp_path / "resnet18.safetensors")
    teacher = ("teacher", "--recipe", "photos-teacher", "--arch", "resnet18", "--weights", weights, "--out", "teacher")
    run(trainer, tmp_path, "distill-train", *teacher, *few)
    assert json.loads((tmp_path / "teacher" / "model.json").read_text())["training"]["batch_norm"] == "frozen"
    weights = weights_file("mobilenet_v1_025", tmp_path / "mobilenet.safetensors")
    student = (
        "student",
        "--recipe",
        "photos-student",
        "--teacher",
        "teacher",
        "--weights",
        weights,
        "--out",
        "student",
    )
    student = (*student, "--teacher-crops", "1")
    run(trainer, tmp_path, "distill-train", *student, *few)
    trained = json.loads((tmp_path / "student" / "model.json").read_text())
    assert trained["arch"] == "mobilenet_v1_025_patch" and trained["training"]["lr"] == 0.004


def test_the_program_for_remote_devices_is_packed_from_installed_files(installed, tmp_path):
    code = "from benchmark.devices.parcel import parcel; open('parcel.zip', 'wb').write(parcel())"
    run(installed, tmp_path, "python", "-c", code)
    assert "benchmark/devices/runner.py" in zipfile.ZipFile(tmp_path / "parcel.zip").namelist()
