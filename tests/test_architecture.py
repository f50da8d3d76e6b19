"""The promises of docs/architecture.md: imports go one way, light commands stay light, the paths it names exist."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "distill": {"distill"},
    "export": {"distill", "export"},
    "gallery": {"distill", "export", "gallery"},
    "benchmark": {"distill", "export", "gallery", "benchmark"},
}
HEAVY = ("torch", "tensorflow", "timm", "sklearn", "faiss", "pytorch_metric_learning", "accelerate")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("stage", MAY_IMPORT)
def test_a_stage_imports_only_earlier_stages(stage):
    files = list((ROOT / stage).rglob("*.py"))
    assert files
    for path in files:
        stages = {name.partition(".")[0] for name in imported(path)} & MAY_IMPORT.keys()
        assert stages <= MAY_IMPORT[stage], path


@pytest.mark.parametrize("stage", ["benchmark", "gallery"])
def test_gallery_and_benchmark_import_only_bundles_of_export(stage):
    for path in (ROOT / stage).rglob("*.py"):
        assert all(name.startswith("export.bundle") for name in imported(path) if name.partition(".")[0] == "export"), (
            path
        )


def test_benchmark_imports_only_codes_and_search_of_gallery():
    for path in (ROOT / "benchmark").rglob("*.py"):
        found = {name for name in imported(path) if name.partition(".")[0] == "gallery"}
        assert found <= {"gallery.codes", "gallery.search"}, path


def test_gallery_imports_only_light_rooms_of_distill():
    allowed = ("distill.data", "distill.metrics", "distill.console", "distill.files", "distill.page")
    for path in (ROOT / "gallery").rglob("*.py"):
        assert all(name.startswith(allowed) for name in imported(path) if name.partition(".")[0] == "distill"), path


@pytest.mark.parametrize(
    "modules",
    [
        "distill, export, benchmark, gallery",
        "distill.cli",
        "export.cli",
        "benchmark.cli",
        "gallery.cli",
        "distill.data.spec, distill.metrics, export.bundle.runtime, benchmark.run, gallery.build, gallery.sheet",
    ],
)
def test_starting_a_command_imports_nothing_heavy(modules):
    code = f"import sys, {modules}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


STARTED = """
import sys
from distill.console import run_app
from {module} import app
assert run_app(app, sys.argv[1:]) == 0
print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("distill.cli", ["--help"]),
        ("distill.cli", ["student", "--help"]),
        ("export.cli", ["--help"]),
        ("export.cli", ["run", "--help"]),
        ("benchmark.cli", ["--help"]),
        ("benchmark.cli", ["run", "--help"]),
        ("benchmark.cli", ["devices"]),
        ("gallery.cli", ["--help"]),
        ("gallery.cli", ["info", str(ROOT / "tests" / "gallery" / "golden" / "int8.gallery")]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]).rpartition("/")[2],
)
def test_commands_that_only_print_import_no_engine_and_no_plots(module, words):
    code = STARTED.format(
        module=module, heavy=(*HEAVY, "scipy", "matplotlib", "jinja2", "onnx", "onnxruntime", "ai_edge_litert", "jax")
    )
    # An empty PATH: adb, if it is installed, would start its server.
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=True, env={**os.environ, "PATH": ""}
    )  # fmt: skip
    assert done.stdout and done.stderr.strip() == ""


def test_few_files_are_long():
    long = {
        str(path.relative_to(ROOT)): lines
        for stage in MAY_IMPORT
        for path in (ROOT / stage).rglob("*.py")
        if (lines := path.read_text(encoding="utf-8").count("\n")) > 400
    }
    assert not long


def test_the_folders_and_modules_that_the_architecture_names_exist():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:distill|export|gallery|benchmark|scripts|examples|tests|results)/[\w/.]*)`", text))
    assert len(named) > 30
    assert not sorted(name for name in named if not (ROOT / name).exists())


@pytest.mark.parametrize("package", ["distill", "export", "benchmark"])
def test_the_public_names_of_a_package_are_found_when_asked_for(package):
    module = import_module(package)
    assert module.__all__ and all(getattr(module, name) for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018
