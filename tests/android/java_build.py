"""Compile the Java of android_demo with Maven, once for all tests, and run its programs."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "android_demo"
MODULES = "core,tflite,decoder,runner,jvm"
UNREACHABLE = re.compile(r"Could not transfer|Could not resolve|Unknown host|Connection (refused|timed out)")


def maven(*goals: str) -> None:
    """Run Maven on the modules other than the app; skip the test if Maven or its repository is not available."""
    for program in ("mvn", "javac"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here: apt-get install maven default-jdk-headless")
    done = subprocess.run(
        ["mvn", "-B", "-q", "-pl", MODULES, *goals],
        cwd=DEMO,
        capture_output=True,
        text=True,
        env={**os.environ, "MAVEN_OPTS": "-Xmx512m"},
    )
    said = done.stdout + done.stderr
    if done.returncode and UNREACHABLE.search(said):
        pytest.skip(f"Maven Central cannot be reached: {said.strip().splitlines()[0]}")
    assert done.returncode == 0, said[-6000:]


@functools.cache
def classpath() -> str:
    """Return the class path of module ``jvm``: the phone's code and TensorFlow Lite for this computer."""
    maven("process-classes")
    return f"{DEMO / 'jvm/target/classes'}:{(DEMO / 'jvm/target/classpath.txt').read_text().strip()}"


def java(*arguments: object) -> list[str]:
    """Run Tool.java and return the lines that it prints."""
    command = ["java", "-Xmx512m", "-cp", classpath(), "org.distilltophone.jvm.Tool", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.splitlines()
