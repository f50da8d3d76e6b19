"""``make demo`` picks a Python, refuses what cannot work in one line, and goes on after an interruption.

The Pythons are small shell programs: they answer as the real one does, except for their version, ``-m venv``, pip and uv.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "scripts"))
import install

pytestmark = pytest.mark.skipif(sys.platform == "win32" or not shutil.which("make"), reason="needs make and sh")

# Runs the real Python with another version number. "-m venv" makes a folder with this program; pip and uv note their words.
FAKE = """#!/bin/sh
if [ "$1" = -m ] && [ "$2" = venv ]; then
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
elif [ "$1" = -m ]; then
    shift
    echo "$*" >>{log}
    {tool}
elif [ "$1" = -c ]; then
    program=$2
    shift 2
    exec {real} -c "import sys; sys.version_info = ({version}, 1, 'final', 0); program = sys.argv.pop(1); exec(program)" "$program" "$@"
else
    exec {real} "$@"
fi
"""


class Folder:
    """A checkout with what the install reads, and a PATH that holds fake Pythons only."""

    def __init__(self, path: Path) -> None:
        self.path, self.log = path / "checkout", path / "tools.log"
        self.programs = path / "programs"
        (self.path / "scripts").mkdir(parents=True)
        self.programs.mkdir()
        for name in (
            "Makefile",
            "pyproject.toml",
            "constraints.txt",
            "constraints-current.txt",
            "overrides.txt",
            "scripts/install.py",
            "scripts/python.sh",
        ):
            shutil.copy(ROOT / name, self.path / name)
        for tool in ("sh", "make", "mkdir", "cp", "touch", "cat", "rm"):
            (self.programs / tool).symlink_to(str(shutil.which(tool)))

    def add(self, name: str, version: str, tool: str = ":", folder: Path | None = None) -> Path:
        path = (folder or self.programs) / name
        text = FAKE.format(log=self.log, tool=tool, real=sys._base_executable, version=version.replace(".", ", "))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def make(self, *words: str) -> tuple[int, list[str]]:
        """Return the exit code, and the lines on standard error without make's own last one."""
        environment = {"PATH": str(self.programs), "HOME": str(self.path)}
        command = [str(self.programs / "make"), "--no-print-directory", *(words or (".venv/demo",))]
        done = subprocess.run(command, cwd=self.path, env=environment, capture_output=True, text=True, timeout=60)
        return done.returncode, [line for line in done.stderr.splitlines() if "***" not in line]

    def installs(self) -> list[str]:
        """Words of each uv install."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith("uv pip install")]


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize(
    ("version", "pins"),
    [("3.11", "constraints.txt"), ("3.12", "constraints-current.txt"), ("3.13", "constraints-current.txt")],
)
def test_the_python_chooses_the_set_of_versions(folder, version, pins):
    folder.add("python3", version)
    assert folder.make() == (0, [])
    (line,) = folder.installs()
    assert f"-c {pins} " in line and line.endswith("-e .[demo]")
    assert folder.make() == (0, []) and len(folder.installs()) == 1  # nothing to do
    assert folder.make(".venv/ready") == (0, [])
    assert folder.installs()[-1].endswith("-e .[dev,tasklib]" if version == "3.11" else "-e .[dev]")


def test_the_current_set_on_python_3_11(folder):
    folder.add("python3", "3.11")
    folder.make()
    assert folder.make("PINS=current", ".venv/demo") == (0, [])  # though the environment is there
    assert ["-c constraints.txt" in line for line in folder.installs()] == [True, False]
    assert folder.make("PINS=current", ".venv/demo")[0] == 0 and len(folder.installs()) == 2


@pytest.mark.parametrize("too", ["3.10", "3.14"])
def test_another_python_is_found_where_python3_is_too_old_or_too_new(folder, too):
    folder.add("python3", too)
    folder.add("python3.12", "3.12")
    folder.add("python3.11", "3.11")
    assert folder.make() == (0, [])
    assert "constraints-current.txt" in folder.installs()[0]


@pytest.mark.parametrize("too", ["3.10", "3.14"])
def test_no_usable_python_is_one_line_with_a_cure(folder, too):
    folder.add("python3", too)
    (folder.programs / "python3.13").write_text(
        "#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n"
    )
    (folder.programs / "python3.13").chmod(0o755)
    code, (line,) = folder.make()
    assert code and f"python3 is Python {too}" in line and "apt-get install" in line and "PYTHON=" in line
    assert not folder.log.exists() and not (folder.path / ".venv").exists()


def test_a_named_python_is_used_or_refused(folder, tmp_path):
    folder.add("python3", "3.11")
    folder.add("other", "3.9")
    code, (line,) = folder.make("PYTHON=other", ".venv/demo")
    assert code and "PYTHON=other is Python 3.9" in line and "3.11, 3.12 or 3.13" in line
    folder.add("other", "3.13")
    assert folder.make("PYTHON=other", ".venv/demo") == (0, [])
    code, (line,) = folder.make("PYTHON=python3", ".venv/ready")  # the environment has another version by now
    assert code and ".venv has Python 3.13, and PYTHON=python3 is 3.11" in line and "rm -r .venv" in line
    assert folder.make(".venv/ready") == (0, [])  # nobody asked for another


def test_the_card_set_needs_python_3_11(folder):
    folder.add("python3", "3.12")
    code, (line,) = folder.make("PINS=card", ".venv/demo")
    assert code and "PINS=card needs Python 3.11" in line and "PINS=current" in line and not folder.installs()


def test_a_full_disk_is_refused_before_the_first_download(folder, tmp_path, monkeypatch):
    folder.add("python3", "3.11")
    folder.make()
    monkeypatch.setattr(install.shutil, "disk_usage", lambda path: type("usage", (), {"free": 1e9}))
    with pytest.raises(
        install.Refused, match=r"1.0 GB are free on the disk of .*, and the install needs \d\.\d: free some space"
    ):
        install._check_disk(folder.path / ".venv", "demo", cuda=True)
    monkeypatch.setattr(install.shutil, "disk_usage", lambda path: type("usage", (), {"free": 40e9}))
    install._check_disk(folder.path / ".venv", "demo", cuda=True)


def test_what_is_installed_already_needs_no_space(tmp_path, monkeypatch):
    monkeypatch.setattr(install.shutil, "disk_usage", lambda path: type("usage", (), {"free": 1.5e9}))
    with (tmp_path / "large").open("wb") as file:
        file.truncate(int(install.GB["demo"] * 1e9))  # sparse
    install._check_disk(tmp_path, "demo", cuda=True)


def test_an_interrupted_install_goes_on(folder):
    folder.add("python3", "3.12", tool='case "$*" in *install*) exit 1 ;; esac')
    code, (line,) = folder.make()
    assert code and "the same command again goes on" in line
    assert not (folder.path / ".venv" / "demo").exists() and (folder.path / ".venv" / install.UNFINISHED).exists()
    folder.add("python", "3.12", folder=folder.path / ".venv" / "bin")
    assert folder.make() == (0, [])
    assert not (folder.path / ".venv" / install.UNFINISHED).exists()


def test_a_half_made_environment_goes_on_or_says_what_to_remove(folder):
    folder.add("python3", "3.12")
    (folder.path / ".venv" / "lib").mkdir(parents=True)  # interrupted before bin/python was there
    assert folder.make() == (0, [])

    shutil.rmtree(folder.path / ".venv")
    (folder.path / ".venv" / "bin").mkdir(parents=True)
    (folder.path / ".venv" / "bin" / "python").symlink_to("/nowhere/python3.12")  # its Python was removed
    code, (line,) = folder.make()
    assert code and "does not run" in line and "rm -r .venv" in line

    shutil.rmtree(folder.path / ".venv")
    folder.add("python", "3.10", folder=folder.path / ".venv" / "bin")
    code, (line,) = folder.make()
    assert code and ".venv has Python 3.10" in line and "rm -r .venv" in line


def test_incomplete_packages_are_forgotten_and_so_installed_again(tmp_path):
    """Three packages as pip leaves them: whole, interrupted before its record, and with a file cut off."""
    for name in ("whole", "early", "cut"):
        record = tmp_path / f"{name}-1.0.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (tmp_path / f"{name}.py").write_text("x = 1\n")
        if name != "early":
            (record / "INSTALLER").write_text("pip\n")
            (record / "RECORD").write_text(
                f"{name}.py,,6\n{name}-1.0.dist-info/RECORD,,\n__pycache__/{name}.cpython-311.pyc,,\n"
            )
    (tmp_path / "cut.py").write_text("x =")
    (tmp_path / "~orch").mkdir()
    program = f"import site; site.getsitepackages = lambda: [{str(tmp_path)!r}]\n{install.REPAIR}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == [
        f"installing {name}-1.0 again: it is incomplete" for name in ("cut", "early")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.py", "early.py", "whole-1.0.dist-info", "whole.py"]


def test_torch_comes_from_the_index_that_the_user_names(folder):
    folder.add("python3", "3.12")
    assert folder.make("TORCH_INDEX=https://wheels.example/cpu", ".venv/demo") == (0, [])
    first, second = folder.installs()
    assert "--index-url https://wheels.example/cpu torch torchvision" in first and "--no-deps" in first
    assert "index-url" not in second


def test_an_index_without_torch_is_one_line(folder):
    folder.add("python3", "3.12", tool='case "$*" in *index-url*) exit 1 ;; esac')
    code, (line,) = folder.make("TORCH_INDEX=https://wheels.example/cpu", ".venv/demo")
    assert code and "TORCH_INDEX=https://wheels.example/cpu" in line and "constraints-current.txt" in line


@pytest.mark.parametrize(
    ("system", "machine", "pins", "words"),
    [
        ("Linux", "x86_64", "card", []),
        ("Linux", "x86_64", "current", ["Task Library"]),
        ("Linux", "aarch64", "current", ["litert-torch", "Task Library"]),
        ("Darwin", "arm64", "card", ["Task Library"]),
    ],
)
def test_missing_wheels_are_a_notice(monkeypatch, system, machine, pins, words):
    monkeypatch.setattr(install.platform, "system", lambda: system)
    monkeypatch.setattr(install.platform, "machine", lambda: machine)
    lines = install.notices("dev", pins, index="named")
    assert len(lines) == len(words) and all(word in line for word, line in zip(words, lines, strict=True))
    assert install.notices("demo", pins, index="named") == []


def pins(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    return {canonical(line.split("==")[0]): line.split("==")[1] for line in lines}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_both_sets_pin_everything_that_pyproject_names():
    card, current = pins("constraints.txt"), pins("constraints-current.txt")
    assert card.keys() - current.keys() == {"tflite-support"} and not current.keys() - card.keys()
    assert card["torch"] == current["torch"]  # CI shares it between two environments
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = {
        canonical(re.split(r"[\[<>=;! ]", line)[0])
        for lines in (project["dependencies"], *extras.values())
        for line in lines
    }
    assert named - card.keys() == {"distill-to-phone", "setuptools"}  # setuptools: the version that torch allows


def test_the_demo_brings_no_test_tool_and_no_second_tensorflow():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names, todo = set(), ["demo"]
    for extra in todo:
        for line in extras[extra]:
            inner = re.match(r"distill-to-phone\[([^]]+)\]", line)
            todo += inner[1].split(",") if inner else []
            names.add(canonical(re.split(r"[\[<>=;! ]", line)[0]))
    assert not names & {
        "pytest",
        "hypothesis",
        "mypy",
        "ruff",
        "faiss-cpu",
        "litert-torch",
        "tflite-support",
        "ipykernel",
        "uv",
    }
    tensorflow = [line for line in extras["demo"] if line.startswith("tensorflow")]
    assert len(tensorflow) == 2 and all(";" in line for line in tensorflow)  # one or the other
