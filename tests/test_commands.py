"""Every command line in documents, help texts and benchmark scripts is valid.

The commands are parsed, not run: options exist, values have their type and are ones that the command takes
(``command_values.py``). A command in running text may be incomplete; only its options are checked.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from command_values import bad_value

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "android_demo" / "README.md",
        ROOT / "examples" / "README.md",
    ]
)
SCRIPTS = sorted(
    path for path in (ROOT / "scripts" / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
)
APPS = {
    "distill-train": "distill.cli",
    "distill-export": "export.cli",
    "distill-bench": "benchmark.cli",
    "distill-index": "gallery.cli",
}
COMMAND = re.compile(
    r"(distill-(?:train|export|bench|index)|(?:\S*/)?python (?:scripts/benchmarks|scripts|android_demo)/\w+\.py)(?= |$)"
)
COMPLETION = ("--install-completion", "--show-completion")
CUT_SHORT = re.compile(r"…|\.\.\.|\[|=FOLDER\b")  # "distill-train student … --method relative"

# Runs in its own process: benchmarks set thread counts and search paths at start-up.
PARSE = """
import importlib.util, json, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import test_commands
found = {}
for path, lines in json.loads(sys.stdin.read()).items():
    sys.path.insert(0, str(Path(path).parent))
    spec = importlib.util.spec_from_file_location("script_" + Path(path).stem, path)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found[path] = [test_commands.problem(module.app, *line) for line in lines]
print(json.dumps(found))
"""


def shown(text: str) -> Iterator[str]:
    """Yield commands on lines of their own, with continued lines joined and comments and explanations removed."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        line = re.sub(r"^(\$ |!)", "", line.strip())  # of a shell, of a cell in a notebook
        if COMMAND.match(line):
            # "command      what it does" in two columns, or "command   # what it does", or "command > file"
            yield re.split(r"\s{3,}|\s+# |\s+> ", line)[0].strip()


def mentioned(text: str) -> Iterator[str]:
    """Yield commands in `backticks`."""
    for span in re.findall(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        words = " ".join(span.split())
        if COMMAND.match(words):
            yield words


def problem(app: typer.Typer, line: str, partly: bool = False) -> str:
    """Return what is wrong with a command line, or an empty string.

    Args:
        partly: The command is in running text, so arguments may be missing.
    """
    program, *words = shlex.split(line)
    words = words[1:] if program.endswith("python") else words
    command = typer.main.get_command(app)
    partly = partly or bool(CUT_SHORT.search(line))
    try:
        context: Any = None
        while True:
            if not words and (partly or context is None):
                return ""
            if partly and not hasattr(command, "commands"):
                known = {
                    option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]
                } | {"--help"}
                unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - known
                return f"no such option: {sorted(unknown)}" if unknown else ""
            if words and words[0] in COMPLETION:  # would change the home folder
                found = any(words[0] in parameter.opts for parameter in command.params)
                return "" if found else f"no such option: {words[0]}"
            name = (command.name or "") if context else program
            context = command.make_context(name, list(words), parent=context)
            if not hasattr(command, "commands"):
                return bad_value(context)
            _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
    except typer.TyperException as error:
        if error.format_message().endswith("does not exist."):
            return ""  # the files of an example do not exist; unknown options are found earlier
        return f"{type(error).__name__}: {error.format_message()}"
    except typer.Exit as stop:  # --help, --version
        return "" if not stop.exit_code else f"exit code {stop.exit_code}"


def of_program(line: str) -> str:
    return line.split()[0]


def every_line() -> list[tuple[str, str, bool]]:
    """Return each command with its source and whether it may be incomplete."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        found += [(path.name, line, False) for line in shown(text)] + [
            (path.name, line, True) for line in mentioned(text)
        ]
    for name, module in APPS.items():
        command = typer.main.get_command(import_module(module).app)
        for each in [command, *command.commands.values()]:
            found += [(f"{name} {each.name} --help", line, False) for line in shown(each.help or "")]
    return found


LINES = every_line()


def test_there_are_lines_to_check():
    assert len(LINES) > 100 and {of_program(line) for _, line, _ in LINES} >= APPS.keys()


@pytest.mark.parametrize("name", APPS)
def test_the_commands_that_documents_show_are_parsed(name):
    app = import_module(APPS[name]).app
    own = [(where, line, problem(app, line, partly)) for where, line, partly in LINES if of_program(line) == name]
    wrong = [f"{where}: {line}: {found}" for where, line, found in own if found]
    assert not wrong, "\n".join(wrong)


def test_scripts_answer_help_and_take_the_commands_that_are_shown():
    lines: dict[str, list[tuple[str, bool]]] = {}
    for path in SCRIPTS:
        own = [line for line in shown(path.read_text(encoding="utf-8")) if line.partition(" ")[0] == "python"]
        assert own, f"{path.name} shows no example"
        lines[str(path)] = [(line, False) for line in [f"python scripts/benchmarks/{path.name} --help", *own]]
    for _, line, partly in LINES:
        if not line.startswith("distill-"):
            lines.setdefault(str(ROOT / line.split()[1]), []).append((line, partly))
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT), str(ROOT / "tests")], input=json.dumps(lines), capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    wrong = [f"{line}: {bad}" for path in lines for (line, _), bad in zip(lines[path], found[path], strict=True) if bad]
    assert not wrong, "\n".join(wrong)


def test_a_wrong_option_is_found():
    app = import_module("benchmark.cli").app
    assert "--sekonds" in problem(app, "distill-bench runs/a --sekonds 3")
    assert "integer" in problem(app, "distill-bench runs/a --limit many")
    assert "--sekonds" in problem(app, "distill-bench run … --sekonds 3")
    assert problem(app, "distill-bench runs/a --seconds 3") == ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("distill-train student --out o --recipe photo-student", "photos-student"),
        ("distill-train student --out o --recipe recipes/photos-studnet.yaml", "no such file"),
        ("distill-train student --out o --method absolut", "absolute"),
        ("distill-train student --out o --arch mobilenet_v1_25", "mobilenet_v1_025"),
        ("distill-train student --out o --optimizer adm", "adam"),
        ("distill-train student --out o --data photos:mine", "photos"),
        ("distill-train studnet --out o", "studnet"),
        ("distill-export runs/a --out o --target tflight", "tflite"),
        ("distill-export runs/a --out o --repair cle-bias", "cle+bias"),
        ("distill-export runs/a --out o --tolerance int9=0.9", "int9"),
        ("distill-bench runs/a --device usb", "unknown device"),
        ("distill-bench runs/a --from pictures", "pixels"),
        ("distill-bench runs/a --data folder:photos?flip=perhaps", "flip"),
    ],
)
def test_a_wrong_value_is_found(line, says):
    assert says in problem(import_module(APPS[of_program(line)]).app, line)


def test_lines_of_shells_and_notebook_cells_are_found():
    text = "$ distill-train a\\\n    --b c   # why\n!distill-bench x\n    distill-index y   what it does\nnot distill-train z\n"
    assert list(shown(text)) == ["distill-train a --b c", "distill-bench x", "distill-index y"]


def test_make_lines_name_targets_and_variables_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][\w-]*):(?!=)", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]\w*)\s*[?:]?=", makefile, re.MULTILINE))
    wrong, found = [], 0
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = re.findall(r"^(?:\$ |!)?make [^\n]*", text, re.MULTILINE) + re.findall(r"`(make [^`]*)`", text)
        for line in lines:
            found += 1
            words = shlex.split(line.removeprefix("!").removeprefix("$ "), comments=True)[1:]
            names = {word.partition("=")[0] for word in words if "=" in word}
            wanted = {word for word in words if "=" not in word and not word.startswith((".", "-"))}
            if names - variables or wanted - targets:
                wrong.append(f"{path.name}: {line}: {sorted(names - variables | wanted - targets)}")
    assert found > 10 and not wrong, "\n".join(wrong)
