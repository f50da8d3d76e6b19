"""Create the environment that ``make`` uses, or go on with one that an interruption left half-finished.

    python scripts/install.py .venv demo --python python3.13 [--pins card|current] [--torch-index URL]

``make demo`` and ``make test`` call it. It needs the standard library only, and installs with uv, which pip puts into the
environment: uv downloads in parallel, links files from its cache in place of copies, and can leave out a requirement.
All checks come before the first download. Exit code 1, with one line that names a cure, if the install cannot succeed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

CONSTRAINTS = {"card": "constraints.txt", "current": "constraints-current.txt"}
OVERRIDES = "overrides.txt"
UNFINISHED = "unfinished"  # a file in the environment while packages are installed
AGAIN = "see the message above; the same command again goes on where it stopped"
GB = {"demo": 6.7, "dev": 8.0}  # installed, on Linux from the ordinary index
CUDA_GB = 3.9  # of these, torch's CUDA code and libraries

PROBE = """
import sys
try:
    import pip
    print("%d.%d" % sys.version_info[:2], "pip")
except ImportError:
    print("%d.%d" % sys.version_info[:2], "")
"""

# Runs in the environment: forgets every distribution of which a file is missing, so that it is installed again.
REPAIR = """
import shutil, site, sys
from importlib import metadata
from pathlib import Path
for folder in map(Path, site.getsitepackages()):
    for left in folder.glob("~*"):  # pip renames what it replaces
        shutil.rmtree(left, ignore_errors=True)
    for record in folder.glob("*.dist-info"):
        files = metadata.Distribution.at(record).files or []
        whole = (record / "INSTALLER").exists() and all(
            file.suffix == ".pyc" or (file.locate().exists() and file.size in (None, file.locate().stat().st_size))
            for file in files
        )
        if not whole or not files:
            print("installing", record.name.removesuffix(".dist-info"), "again: it is incomplete")
            shutil.rmtree(record)
"""


class Refused(Exception):
    """The install cannot succeed; the message is one line with a cure."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venv", type=Path)
    parser.add_argument("extra", choices=sorted(GB))
    parser.add_argument("--python", default=sys.executable, help="the Python of a new environment")
    parser.add_argument(
        "--named", action="store_true", help="the user chose --python: an environment of another version is refused"
    )
    parser.add_argument(
        "--pins", choices=["", *CONSTRAINTS], default="", help="default: card on Python 3.11, else current"
    )
    parser.add_argument(
        "--torch-index", default="", metavar="URL", help="take torch and torchvision from this package index"
    )
    args = parser.parse_args()
    try:
        install(args.venv, args.extra, args.python, args.named, args.pins, args.torch_index)
    except Refused as reason:
        sys.exit(f"make: {reason}")


def install(venv: Path, extra: str, python: str, named: bool, pins: str, index: str) -> None:
    """Install an extra into an environment, which is created if it is not there."""
    inside = venv / "bin" / "python"
    version = _environment(venv, inside, python, named)
    pins = pins or ("card" if version == "3.11" else "current")
    if pins == "card" and version != "3.11":
        raise Refused(
            f"PINS=card needs Python 3.11, and {venv} has {version}: make PYTHON=python3.11 VENV=.venv-3.11, or PINS=current"
        )
    _check_disk(venv, extra, cuda=sys.platform == "linux" and not index)

    mark = venv / UNFINISHED
    if mark.exists():
        subprocess.run([inside, "-c", REPAIR], check=True)
    mark.touch()
    constraints = CONSTRAINTS[pins]
    _run([inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", constraints, "uv"], AGAIN)
    uv = [inside, "-m", "uv", "pip"]
    add = [*uv, "install", *([] if sys.stderr.isatty() else ["--quiet"]), "--python", inside, "-c", constraints]
    if index:
        print(f"installing torch and torchvision from {index}", flush=True)
        cure = f"see the message above; TORCH_INDEX={index} must be a package index with the versions of {constraints}"
        _run([*add, "--upgrade", "--no-deps", "--index-url", index, "torch", "torchvision"], cure)
    if _has(inside, "tensorflow") and not _wants_full_tensorflow():
        # An older make put it there.
        _run([*uv, "uninstall", "--python", inside, "tensorflow"], f"rm -r {venv}, then the same command again")
    print(
        f"installing what make {'demo' if extra == 'demo' else 'test'} needs into {venv}, set {pins}: minutes the first time",
        flush=True,
    )
    extras = "dev,tasklib" if extra == "dev" and pins == "card" else extra
    _run([*add, "--override", OVERRIDES, "-e", f".[{extras}]"], AGAIN)
    mark.unlink()
    (venv / "pins").write_text(pins + "\n")
    for line in notices(extra, pins, index):
        print(f"notice: {line}")


def _environment(venv: Path, inside: Path, python: str, named: bool) -> str:
    """Create the environment, or check the one that is there. Returns its Python version, such as 3.11."""
    if not os.path.lexists(inside):
        print(f"{python} -m venv {venv}", flush=True)
        _run([python, "-m", "venv", venv], f"see the message above; then rm -r {venv}")
    try:
        done = subprocess.run([inside, "-c", PROBE], capture_output=True, text=True)
        version, *pip = done.stdout.split()
    except (OSError, ValueError):
        raise Refused(
            f"{inside} does not run (its Python was moved or removed): rm -r {venv}, then the same command again"
        ) from None
    if version not in ("3.11", "3.12", "3.13"):
        raise Refused(
            f"{venv} has Python {version}, and 3.11 to 3.13 are supported: rm -r {venv}, then the same command again"
        )
    if named:
        wanted = subprocess.run([python, "-c", PROBE], capture_output=True, text=True).stdout.split()[0]
        if wanted != version:
            raise Refused(
                f"{venv} has Python {version}, and PYTHON={python} is {wanted}: rm -r {venv}, or add VENV=.venv-{wanted}"
            )
    if not pip:  # "python -m venv" was interrupted
        _run([inside, "-m", "ensurepip"], f"{venv} has no pip: rm -r {venv}, then the same command again")
    return version


def _check_disk(venv: Path, extra: str, cuda: bool) -> None:
    """Refuse to start if a disk cannot hold what is still to be installed: uv's cache, which the environment links to."""
    there = sum(file.lstat().st_size for file in venv.rglob("*") if file.is_file()) / 1e9
    needs = max(GB[extra] - (0 if cuda else CUDA_GB) - there, 0.5)
    for folder in (venv, _cache()):
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free / 1e9
        if free < needs:
            cure = "free some space" + ("" if folder == venv else ", or name another folder by UV_CACHE_DIR")
            raise Refused(f"{free:.1f} GB are free on the disk of {folder}, and the install needs {needs:.1f}: {cure}")


def _cache() -> Path:
    """Return the folder of uv's cache, as uv chooses it."""
    if named := os.environ.get("UV_CACHE_DIR"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "uv"


def _uv_environment() -> dict[str, str]:
    """Return the environment for uv: with pip's index, which uv does not read, and this computer's certificates."""
    environment = {"UV_PYTHON_DOWNLOADS": "never", "UV_NATIVE_TLS": "1", **os.environ}
    if index := os.environ.get("PIP_INDEX_URL"):
        environment.setdefault("UV_DEFAULT_INDEX", index)
    return environment


def _run(command: list[object], cure: str) -> None:
    words = [str(word) for word in command]
    if subprocess.run(words, env=_uv_environment()).returncode:
        raise Refused(f"{' '.join(words[1:5])} failed: {cure}")


def _has(python: Path, package: str) -> bool:
    code = "import importlib.metadata as m, sys; sys.exit(not any(True for _ in m.distributions(name=sys.argv[1])))"
    return not subprocess.run([python, "-c", code, package]).returncode


def _wants_full_tensorflow() -> bool:
    """As the extra ``demo`` does: tensorflow-cpu has wheels for Linux on x86-64 only."""
    return not (sys.platform == "linux" and platform.machine() == "x86_64")


def notices(extra: str, pins: str, index: str) -> list[str]:
    """Return what this platform lacks, or could have cheaper: one line each."""
    here, lines = f"{platform.system()} {platform.machine()}", []
    if extra != "demo" and here not in ("Linux x86_64", "Darwin arm64"):
        lines.append(
            f"litert-torch has no wheels for {here}: its tests are skipped, and most of timm's networks have no TFLite export"
        )
    if extra != "demo" and (pins != "card" or here != "Linux x86_64"):
        lines.append(
            "tests with the TFLite Task Library are skipped: it has wheels for Python 3.11 on Linux x86_64 only, set card"
        )
    if sys.platform == "linux" and not index and not Path("/proc/driver/nvidia").exists():
        lines.append(
            f"no NVIDIA GPU here: torch's CUDA libraries, {CUDA_GB:.0f} GB, are unused; docs/install.md says how to leave them out"
        )
    return lines


if __name__ == "__main__":
    main()
