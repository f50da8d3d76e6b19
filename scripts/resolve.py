"""Check that both sets of versions resolve to wheels on every supported Python and platform.

    python scripts/resolve.py

Installs nothing. It needs the extra ``dev`` (uv) and a package index. pip alone cannot do this: ``pip install --dry-run
--platform macosx_14_0_arm64`` evaluates ``sys_platform == 'linux'`` for the computer that it runs on, and it downloads whole
wheels, 4 GB for each platform. Exit code 1 if a set does not resolve.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import typer

ROOT = Path(__file__).parents[1]
PLATFORMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_28",
    "macOS 14 arm64": "aarch64-apple-darwin",
}
SETS = {"constraints.txt": ["3.11"], "constraints-current.txt": ["3.11", "3.12", "3.13"]}


def command(constraints: str, python: str, platform: str) -> list[str]:
    """Return uv's command that resolves all extras, for wheels only. The Task Library needs the set ``card``."""
    extras = [
        "--extra=dev",
        "--extra=generic",
        "--extra=executorch",
        *(["--extra=tasklib"] if constraints == "constraints.txt" else []),
    ]
    asked = [
        "--python-version",
        python,
        "--python-platform",
        PLATFORMS[platform],
        "--only-binary",
        ":all:",
        "--override",
        "overrides.txt",
    ]
    return [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "pyproject.toml",
        *extras,
        "-c",
        constraints,
        *asked,
        "--no-header",
    ]


def resolve(case: tuple[str, str, str], cache: str) -> tuple[str, str]:
    """Return what was resolved, and uv's error, empty if it was."""
    environment = {
        **os.environ,
        "UV_CACHE_DIR": cache,
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NATIVE_TLS": "1",
        "MACOSX_DEPLOYMENT_TARGET": "14.0",
    }
    done = subprocess.run([*command(*case), "--quiet"], cwd=ROOT, env=environment, capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if "==" in line]
    title = f"{case[0]}, Python {case[1]}, {case[2]}"
    return (
        f"{title}: {len(found)} packages" if not done.returncode else f"{title}: FAILED",
        done.stderr if done.returncode else "",
    )


app = typer.Typer(add_completion=False)


@app.command(help=__doc__)
def main() -> None:
    began = time.monotonic()
    cases = [
        (constraints, python, platform)
        for constraints in SETS
        for python, platform in product(SETS[constraints], PLATFORMS)
    ]
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda case: resolve(case, cache), cases))
    for title, error in results:
        print(title + (f"\n{error}" if error else ""))
    failed = sum(bool(error) for _, error in results)
    print(f"{len(cases) - failed} of {len(cases)} resolved in {time.monotonic() - began:.0f} s")
    sys.exit(failed > 0)


if __name__ == "__main__":
    app()
