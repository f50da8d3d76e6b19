"""A repair of int8 in one file of another package, through the command line; no module changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "export"))

import onnx
from export_helpers import call, picture_folder, student, write_checkpoint
from onnx import numpy_helper

from export.bundle.read import load_bundle
from export.graph.fold import fold
from export.graph.folded import Convolution
from export.int8.repair.methods import METHODS, methods_of

EXAMPLE = ROOT / "examples" / "extend" / "repair.py"


def test_a_repair_from_outside_goes_all_the_way(tmp_path, monkeypatch, capsys):
    path = Path(shutil.copyfile(EXAMPLE, tmp_path / "clip_repair.py"))
    monkeypatch.syspath_prepend(tmp_path)
    model = student()
    images = picture_folder(tmp_path / "images")
    info = write_checkpoint(tmp_path / "student", model, {"spec": f"folder:{images}", "split": "half"})
    words = ("--target", "onnx", "--quantize", "int8", "--tolerance", "int8=0.5", "--repair", "clip")
    with METHODS.added("clip", "clip_repair:CLIP"):
        assert methods_of("clip") == ("clip",)
        assert "clip" not in methods_of("auto")
        assert call(tmp_path / "student", *words, "--out", tmp_path / "b") == 0
        capsys.readouterr()
        assert call(tmp_path / "student", *words, "--out", tmp_path / "again") == 0
        assert "onnx-int8: reused from the cache" in capsys.readouterr().err
        path.write_text(path.read_text() + "# changed\n")  # the cache notices
        assert call(tmp_path / "student", *words, "--out", tmp_path / "anew") == 0
        assert "building onnx-int8, repair clip" in capsys.readouterr().err
    assert call(tmp_path / "student", *words, "--out", tmp_path / "c") == 2  # unknown again

    bundle = load_bundle(tmp_path / "b")
    (variant,) = bundle.manifest.variants
    assert variant.repair == "clip"
    constants = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_model(bundle.path(variant)).graph.initializer
    }
    clipped = 0
    for layer in fold(model, info.preprocessing.input_size).layers:
        if isinstance(layer, Convolution) and not layer.depthwise:
            rows = layer.kernel.reshape(-1, layer.channels)
            limit = 2.5 * np.sqrt((rows**2).mean(axis=0))
            largest = np.minimum(np.abs(rows).max(axis=0), limit)
            clipped += int((largest == limit).sum())
            assert np.allclose(constants[f"{layer.name}.weight_scale"] * 127, largest, rtol=1e-5)
    assert clipped > 100


def test_an_installed_package_adds_one_by_an_entry_point(tmp_path):
    shutil.copyfile(EXAMPLE, tmp_path / "clip_repair.py")
    folder = tmp_path / "clip-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: clip\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[distill_to_phone.repairs]\nclip = clip_repair:CLIP\n")
    code = "import sys; from export.int8.repair.methods import *; print(methods_of('clip'), 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "('clip',) False"
