"""The program that is sent to devices: its imports, a run as sent, and its lock."""

from __future__ import annotations

import ast
import subprocess
import sys

import numpy as np
import pytest

from benchmark.devices import runner
from benchmark.devices.bootstrap import MARK, main
from benchmark.devices.parcel import BOOTSTRAP, ROOT, SOURCES, parcel

# ExecuTorch's runtime needs torch; engines are imported only where they are used.
ALLOWED = {*sys.stdlib_module_names, "numpy", "ai_edge_litert", "onnxruntime", "executorch", "torch"}
DECODING = ("distill/data/imageset.py", "distill/data/decode.py", "benchmark/devices/images.py")


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_sent_needs_only_what_a_board_has(name):
    tree = ast.parse((ROOT / name).read_text(), feature_version=(3, 6 if name == BOOTSTRAP else 9))
    sent = {source.removesuffix(".py").replace("/", ".") for source in SOURCES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for found in names:
            allowed = ALLOWED | {"PIL"} if name in DECODING else ALLOWED
            assert found in sent or found.partition(".")[0] in allowed, f"{name} imports {found}"


@pytest.mark.parametrize("name", SOURCES)
def test_engines_are_imported_only_where_they_run(name):
    engines = {"ai_edge_litert", "onnxruntime", "executorch", "torch"}
    for node in ast.parse((ROOT / name).read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not engines & {found.partition(".")[0] for found in names}


def test_boards_without_pillow_can_measure(tmp_path):
    (tmp_path / "code").write_bytes(parcel())
    code = (
        "import sys; sys.modules['PIL'] = None; sys.path.insert(0, sys.argv[1])\n"
        "from benchmark.devices.runner import pixels_of, Store\n"
        "Store.content = lambda self, name: b'x'\n"
        "try: pixels_of(Store('.'), {'preprocessing': {}}, {'pixels': 'x', 'sizes': [1]})\n"
        "except OSError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "code"], capture_output=True, text=True, check=False)
    assert "files cannot be decoded there" in done.stdout and "PIL" in done.stdout, done.stderr


def test_the_parcel_runs_and_is_always_the_same(tmp_path):
    assert parcel() == parcel()
    (tmp_path / "code").write_bytes(parcel())
    done = subprocess.run(
        [sys.executable, tmp_path / "code", "describe", tmp_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(MARK) and '"cpu"' in done.stdout


def test_one_measurement_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "LOCK_SECONDS", 0.1)
    held = runner.locked(tmp_path)
    with pytest.raises(OSError, match="another measurement is running"):
        runner.locked(tmp_path)
    held.close()
    runner.locked(tmp_path).close()


def test_a_file_is_only_read_if_it_is_what_its_name_says(tmp_path):
    store = runner.Store(str(tmp_path))
    (tmp_path / "files").mkdir()
    path = tmp_path / "files" / ("0" * 64)
    path.write_bytes(b"another")
    with pytest.raises(runner.Damaged):
        store.content("0" * 64)
    assert not path.exists()


def test_a_result_is_written_whole_or_not_at_all(tmp_path, monkeypatch, capsys):
    (tmp_path / "results").mkdir()

    def full(self, data):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError):
        runner.Store(str(tmp_path)).save("key", b"x")
    assert not list((tmp_path / "results").iterdir()) and not capsys.readouterr().out


def test_a_full_disk_there_becomes_an_answer(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        runner, "locked", lambda folder: (_ for _ in ()).throw(OSError(28, "No space left on device", "lock"))
    )
    assert runner.main(["embed", str(tmp_path)]) == 1
    assert "No space left on device" in capsys.readouterr().out


def test_the_bootstrap_answers_errors_too(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    main(["probe", str(tmp_path / "file")])
    assert '"error"' in capsys.readouterr().out
    main(["nonsense", str(tmp_path)])
    assert "unknown command" in capsys.readouterr().out


def test_embedders_drop_what_fails_and_keep_the_rest():
    from benchmark.devices.work import Embedders

    class Good:
        def embed(self, pixels):
            return np.ones((len(pixels), 2), np.float32)

    class Later:
        calls = 0

        def embed(self, pixels):
            self.calls += 1
            if self.calls > 1:
                raise RuntimeError("second\nline")
            return np.ones((len(pixels), 2), np.float32)

    def broken():
        raise ValueError("no operator")

    embedders = Embedders({"good": Good, "later": Later, "broken": broken})
    pixels = np.zeros((1, 2, 2, 3), np.uint8)
    assert set(embedders.embed(pixels)) == {"good", "later"} and set(embedders.embed(pixels)) == {"good"}
    assert embedders.errors == {"broken": "no operator", "later": "second"}
    assert embedders.embed(pixels, ["later"]) == {}
