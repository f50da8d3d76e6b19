"""What all commands have in common: --help in 80 columns, --json, --json-out, --version, completion, suggestions."""

from __future__ import annotations

import json
from importlib import import_module, metadata
from typing import Any

import pytest
import typer
from fits import check_fits, narrow
from typer.testing import CliRunner

from distill.console import run_app

MODULES = {
    "distill-train": "distill.cli",
    "distill-export": "export.cli",
    "distill-bench": "benchmark.cli",
    "distill-index": "gallery.cli",
}


def command_of(program: str) -> Any:
    return typer.main.get_command(app_of(program))


def app_of(program: str) -> typer.Typer:
    return import_module(MODULES[program]).app


EACH = [(program, name) for program in MODULES for name in command_of(program).commands]


@pytest.mark.parametrize("program", MODULES)
def test_every_command_has_the_same_basic_options(program):
    for name, command in command_of(program).commands.items():
        flags = {flag: each for each in command.params for flag in each.opts}
        assert flags["--json"].is_flag and not flags["--json-out"].is_flag and "--debug" in flags, name


@pytest.mark.parametrize(("program", "name"), [*((program, "") for program in MODULES), *EACH])
def test_help_fits_80_columns(program, name, monkeypatch):
    narrow(monkeypatch)
    result = CliRunner().invoke(app_of(program), [*name.split(), "--help"], prog_name=program)
    assert result.exit_code == 0
    command = command_of(program).commands[name] if name else command_of(program)
    check_fits(result.output, *(flag for each in command.params for flag in each.opts if flag.startswith("--")))


def test_help_names_every_method_in_full(monkeypatch):
    from distill.losses.registry import LOSSES

    narrow(monkeypatch)
    output = CliRunner().invoke(app_of("distill-train"), ["student", "--help"]).output
    check_fits(output, *LOSSES.names())


@pytest.mark.parametrize("program", MODULES)
def test_version(program):
    runner, version = CliRunner(), metadata.version("distill-to-phone")
    for words in [["--version"], *([name, "--version"] for name in command_of(program).commands)]:
        result = runner.invoke(app_of(program), words, prog_name=program)
        assert (result.exit_code, result.output) == (0, f"{program} {version}\n")


@pytest.mark.parametrize("program", MODULES)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_for_each_shell(program, shell, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # --show-completion takes the shell's name
    result = CliRunner().invoke(app_of(program), ["--show-completion", shell], prog_name=program)
    assert result.exit_code == 0
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    assert f"{variable}=complete_{shell}" in result.output and program in result.output


def completed(program: str, line: str, monkeypatch, capsys) -> set[str]:
    """Return what bash offers for the last word of ``line``."""
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    monkeypatch.setenv(f"_{program.upper().replace('-', '_')}_COMPLETE", "complete_bash")
    with pytest.raises(SystemExit) as ended:
        command_of(program).main([], prog_name=program)
    assert ended.value.code == 0
    return set(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("distill-train stu", {"student"}),
        ("distill-train student --teacher-m", {"--teacher-mirror"}),
        ("distill-train student --precision bf", {"bfloat16"}),
        ("distill-bench comp", {"compare"}),
        ("distill-bench --ref", {"--reference"}),  # an option of the default command
        ("distill-bench bundle --from f", {"files"}),
        ("distill-export inspect --js", {"--json", "--json-out"}),
        ("distill-index --vers", {"--version"}),
    ],
)
def test_completion_offers_commands_options_and_choices(line, offers, monkeypatch, capsys):
    found = completed(line.split()[0], line, monkeypatch, capsys)
    assert offers <= found and all(each.startswith(line.split()[-1]) for each in found if each.startswith("-"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("distill-train studnet", "student"),
        ("distill-train student --out x --epoch 3", "did you mean '--epochs'?"),
        ("distill-train student --out x --optimizer adm", "did you mean 'adam'?"),
        ("distill-train student --out x --method relativ", "did you mean 'relative'?"),
        ("distill-train student --out x --data glyhps", "did you mean 'glyphs'?"),
        ("distill-train student --out x --arch mobilenet_v1_25", "did you mean 'mobilenet_v1_025'?"),
        ("distill-train whiten x --out y --by picturs", "did you mean 'pictures'?"),
        ("distill-train evaluate x --dat glyphs", "did you mean '--data'?"),
        ("distill-train --versio", "did you mean '--version'?"),
        ("distill-export inspct x", "did you mean 'inspect'?"),
        ("distill-export x --out y --quantise int8", "did you mean '--quantize'?"),
        ("distill-export x --out y --target tflit", "did you mean 'tflite'?"),
        ("distill-export x --out y --quantize int9", "did you mean 'int8'?"),
        ("distill-export x --out y --io unit8", "did you mean 'uint8'?"),
        ("distill-export x --out y --repair cle+bais", "did you mean 'cle+bias'?"),
        ("distill-export x --out y --calibration-range minmx", "did you mean 'minmax'?"),
        ("distill-export x --out y --tolerance int9=0.9", "did you mean 'int8'?"),
        ("distill-bench histroy x", "did you mean 'history'?"),
        ("distill-bench x --cadidate y", "did you mean '--candidate'?"),
        ("distill-bench x --from pixel", "did you mean 'pixels'?"),
        ("distill-index serach x", "did you mean 'search'?"),
        ("distill-index x y --out z --dtype int9", "did you mean 'int8'?"),
        ("distill-index x y --out z --thumbnail 3", "did you mean '--thumbnails'?"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_word(line, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program, *words = line.split()
    assert run_app(app_of(program), words) == 2
    told = capsys.readouterr().err.strip()
    assert says in told and len(told.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_flag_given_a_value_names_the_option_that_takes_one(capsys):
    assert run_app(app_of("distill-export"), ["inspect", "x", "--json=y"]) == 2
    assert "--json-out FILE" in capsys.readouterr().err


def test_json_goes_to_standard_output_to_a_file_or_to_both(tmp_path, capsys):
    """With the one command that needs no files."""
    app, out = app_of("distill-train"), tmp_path / "new" / "r.json"
    assert run_app(app, ["recipes", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {"recipe", "summary"} == set(printed[0])
    assert run_app(app, ["recipes", "--json-out", str(out)]) == 0
    told = capsys.readouterr()
    assert "photos-student" in told.out and str(out) in told.err.replace("\n", "")
    assert json.loads(out.read_text()) == printed
    out.unlink()
    assert run_app(app, ["recipes", "--json", "--json-out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(out.read_text()) == printed
    assert run_app(app, ["recipes", "--json-out", str(tmp_path)]) == 2
