"""A device that another package adds is listed, has its flag, and measures, without a change in this project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmark"))  # the tiny models and the bundle around them

import benchmark_fakes as fakes
import tiny_models

from benchmark.devices import DEVICES, list_devices, open_device
from distill.console import UsageFailure

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the example pins to a core, as Linux can")

PROGRAM = """
import sys
from benchmark.cli import app
from distill.console import run_app

assert run_app(app, ["devices", "--json"]) == 0
print("----")
sys.exit(run_app(app, sys.argv[1:]))
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder of packages with the example in it, as pip would install it."""
    site = tmp_path / "site"
    (site / "one_core-1.0.dist-info").mkdir(parents=True)
    shutil.copyfile(ROOT / "examples" / "extend" / "device.py", site / "one_core.py")
    (site / "one_core-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: one-core\nVersion: 1.0\n")
    (site / "one_core-1.0.dist-info" / "entry_points.txt").write_text(
        "[distill_to_phone.devices]\none-core = one_core:ONE_CORE\n"
    )
    return site


def test_an_installed_device_is_listed_and_measures(installed: Path, tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    photos = fakes.make_photos(tmp_path / "photos", classes=4)
    models = {"onnx": tiny_models.onnx_model(fakes.SIDE)}
    bundle = fakes.make_bundle(tmp_path / "bundle", f"folder:{photos}", ("onnx-float32",), models=models)
    out = tmp_path / "r.json"
    words = [str(bundle), "--device", "one-core", "--pin-core", str(core), "--part", "all", "--seconds", "0"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words, "--no-memory", "--json-out", str(out)],
        capture_output=True,
        text=True,
        # Its own home, so that runs at the same time do not meet in the device's folder; no PATH, no adb.
        env={"PYTHONPATH": f"{installed}{os.pathsep}{ROOT}", "HOME": str(tmp_path / "home"), "PATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout.partition("----")[0])}
    assert rows["one-core"]["status"] == "ready" and rows["host"]["status"] == "ready"
    value = json.loads(out.read_text())
    (variant,) = value["variants"]
    assert value["machine"]["device"] == "one-core" and value["machine"]["cores"] == 1
    assert variant["status"] == "ok" and variant["latency_ms"]["samples"] >= 100 and variant["recall"]["1"] > 0.9
    assert not (tmp_path / "home/.cache/distill-bench-one-core").exists()  # nothing is left behind


def test_a_device_added_in_this_process_gets_its_options(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed))
    with DEVICES.added("little", "one_core:ONE_CORE"):
        assert "one-core" in [row.name for row in list_devices()]
        with pytest.raises(UsageFailure, match="--pin-core 9999: no such core"):
            open_device("little", pin_core=9999)
        with pytest.raises(UsageFailure, match="--pin-core many: "):
            open_device("little", pin_core="many")
        with pytest.raises(UsageFailure, match="pin_core"):
            open_device("little", pin_cor=1)
    with pytest.raises(UsageFailure, match="no such device"):
        open_device("little")


def test_a_device_that_cannot_be_imported_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with DEVICES.added("broken", "no_such_package:DEVICE"):
        rows = {row.name: row for row in list_devices()}
        assert rows["broken"].status == "broken" and "no_such_package" in rows["broken"].what
        assert rows["host"].status == "ready"
        assert open_device("host", remote_folder="ignored, since it is an option of other devices").name == "host"
