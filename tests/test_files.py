"""Outputs are whole or absent, and name themselves where they cannot be written; commands that were mistyped are named."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import typer

from distill.console import Failure, UsageFailure, make_app, run_app
from distill.files import atomic_dir, atomic_path, check_output, check_output_folder, read_json, write_json


def test_a_device_is_written_to_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_json(pipe, {"a": 1})
    assert b'"a": 1' in os.read(reader, 100) and stat.S_ISFIFO(os.stat(pipe).st_mode)
    os.close(reader)
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout here")
def test_standard_output_may_be_named(tmp_path):
    code = "from distill.files import write_json; write_json('/dev/stdout', {'a': 1})"
    for target in (subprocess.PIPE, open(tmp_path / "out", "wb")):
        done = subprocess.run([sys.executable, "-c", code], stdout=target, check=True)
    assert (tmp_path / "out").read_text() == '{\n  "a": 1\n}\n'
    assert done.returncode == 0 and Path("/dev/stdout").is_symlink()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here")
def test_a_full_disk_names_the_file_that_was_to_be_written(capsys):
    app = make_app("x")

    @app.command()
    def go() -> None:
        write_json("/dev/full", {"a": 1})

    assert run_app(app, []) == 1
    assert "error: /dev/full: No space left on device (free some space" in " ".join(capsys.readouterr().err.split())
    assert Path("/dev/full").is_char_device()


def test_no_temporary_name_is_told(tmp_path):
    with pytest.raises(OSError) as failure, atomic_path(tmp_path / "a.json"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert failure.value.filename == str(tmp_path / "a.json") and not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as failure, atomic_path(tmp_path / "file" / "a.json"):
        pass
    assert failure.value.filename == str(tmp_path / "file" / "a.json")
    with pytest.raises(FileNotFoundError) as missing, atomic_path(tmp_path / "a.json"):
        (tmp_path / "other").read_text()
    with pytest.raises(OSError) as failure, atomic_dir(tmp_path / "file" / "run"):
        pass
    assert failure.value.filename == str(tmp_path / "file" / "run")
    assert missing.value.filename == str(tmp_path / "other")  # not an error of writing


def test_numbers_beyond_all_measure_are_no_json(tmp_path):
    (tmp_path / "a.json").write_text('{"size": 1' + "0" * 400 + "}")
    with pytest.raises(Failure, match="a number of 401 digits"):
        read_json(tmp_path / "a.json")


def test_what_is_read_is_not_overwritten(tmp_path):
    source, folder = tmp_path / "folders.gallery", tmp_path / "bundle"
    source.write_text("x")
    folder.mkdir()
    (tmp_path / "link").symlink_to(source)
    check_output(tmp_path / "new" / "sheet.html", [source, folder])
    check_output(None, [source])
    for bad, why in {
        source: "overwritten",
        tmp_path / "link": "overwritten",
        folder: "a folder",
        folder / "a.html": "is inside",
    }.items():
        with pytest.raises(UsageFailure, match=why):
            check_output(bad, [source, folder])


def test_a_folder_is_not_put_where_it_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path / "here")
    for bad in (".", "..", "/"):
        with pytest.raises(UsageFailure, match="current folder"):
            check_output_folder(Path(bad))
    with pytest.raises(Failure, match="not a folder"):
        check_output_folder(tmp_path / "file" / "runs" / "a")
    check_output_folder(Path("new/run"))


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write anywhere")
def test_a_place_that_may_not_be_written_to_is_told():
    code = "import sys; from pathlib import Path; from distill.files import *; check_output(Path(sys.argv[1])); check_output_folder(Path(sys.argv[1]))"
    other = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as closed:  # pytest's own folders are closed to others
        Path(closed).chmod(0o555)
        command = [*other, sys.executable, "-c", code, f"{closed}/runs/a"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if "PermissionError" in done.stderr or "No module named" in done.stderr:
        pytest.skip("another user may not read this checkout")
    assert f"Failure: {closed}: not writable" in done.stderr


def _two_commands() -> typer.Typer:
    app = make_app("x", default_command="build")

    @app.command()
    def build(bundle: str, out: str = typer.Option()) -> None: ...

    @app.command()
    def search(gallery: str) -> None: ...

    return app


def test_what_was_typed_is_shown_as_it_was_typed(capsys):
    app = make_app("x")

    @app.command()
    def go() -> None:
        raise UsageFailure("--degrade blur:x: [bold]no number")

    assert run_app(app, []) == 2
    assert "blur:x: [bold]no number" in capsys.readouterr().err  # neither an emoji nor markup


def test_a_mistyped_command_is_named(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_app(_two_commands(), ["serch", "a.gallery"]) == 2
    assert "serch: no such command, file or folder (did you mean 'search'?)" in capsys.readouterr().err
    assert run_app(_two_commands(), ["bundle-a", "--out", "x"]) == 0
    (tmp_path / "serch").mkdir()  # then it is what it says
    assert run_app(_two_commands(), ["serch", "--out", "x"]) == 0
