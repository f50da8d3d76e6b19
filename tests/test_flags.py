"""Flags and recipes are made from option models: one field is one flag and one key, in all commands."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from benchmark.cli import OPTIONS
from benchmark.options import BenchmarkOptions, PlanOptions
from distill.console import UsageFailure, run_app
from distill.options import make_options, open_recipe, option, option_name, with_flags
from export.options import ExportOptions

# The flags of 0.2.0, which stay.
EXPORT = """target quantize io calibration-data calibration-images seed repair qat-steps qat-lr calibration-range
    exclude-layers debug-layers tolerance name licence data-licence cache-dir no-cache overwrite json debug out"""
BENCH = """device data split part from limit checkpoint reference storage no-storage variant threads cpus delegate
    rest-ms memory no-memory energy energy-seconds seconds seed candidate gates junit json history html debug
    max-latency-ms max-size-kb max-memory-mb max-recall-drop min-recall min-cosine max-asymmetric-drop
    remote-folder android-runner ssh-identity ssh-known-hosts ssh-config remote-python"""


def flags(module: str, command: str) -> set[str]:
    parameters = typer.main.get_command(import_module(module).app).commands[command].params
    return {flag for parameter in parameters for flag in [*parameter.opts, *parameter.secondary_opts]}


@pytest.mark.parametrize(("module", "earlier"), [("export.cli", EXPORT), ("benchmark.cli", BENCH)])
def test_the_flags_of_earlier_versions_are_there(module, earlier):
    assert {f"--{name}" for name in earlier.split()} <= flags(module, "run")


@pytest.mark.parametrize(
    ("module", "kinds"), [("export.cli", (ExportOptions,)), ("benchmark.cli", OPTIONS)], ids=["export", "bench"]
)
def test_every_option_is_a_flag_and_a_key_of_recipes(module, kinds, tmp_path):
    made = flags(module, "run")
    for kind in kinds:
        for name, field in kind.__pydantic_fields__.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and "panel" in extra:
                key = option_name(name, field)
                assert f"--{key.replace('_', '-')}" in made and field.description
                (tmp_path / "r.yaml").write_text(f"{key}: 1\n")
                assert open_recipe(tmp_path / "r.yaml", *kinds).values == {name: 1}


class Options(BaseModel):
    count: int = option(3, "How many.", "Numbers", ge=1)
    source: str = option("pixels", "What.", "Numbers", flag="--from")
    names: tuple[str, ...] = option((), "Which.", "Numbers", flag="--name")
    deep: bool = option(False, "Deep.", "Numbers")
    internal: int = 5


def parsed(*words: str) -> dict[str, Any]:
    """Parse with a command that has the flags of ``Options``, and return what it was given."""
    found: dict[str, Any] = {}
    app = typer.Typer(rich_markup_mode="markdown")

    @app.command()
    @with_flags(Options)
    def command(place: Path, given: dict[str, Any]) -> None:
        found.update(given)

    assert run_app(app, ["here", *words]) == 0
    return found


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], {}),
        (["--count", "3"], {"count": 3}),  # the default, but asked for: it overrides a recipe
        (["--from", "files", "--name", "a", "--name", "b"], {"source": "files", "names": ["a", "b"]}),
        (["--no-deep"], {"deep": False}),
    ],
)
def test_a_command_receives_the_flags_that_were_set(words, given):
    assert parsed(*words) == given


def test_flags_override_the_recipe_and_the_recipe_the_defaults(tmp_path):
    (tmp_path / "r.yaml").write_text("count: 7\nfrom: files\nname: [a]\n")
    recipe = open_recipe(tmp_path / "r.yaml", Options)
    made = make_options(Options, {"count": 9}, recipe, internal=6)
    assert made == Options(count=9, source="files", names=("a",), internal=6)
    assert make_options(Options, {}) == Options()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("cuont: 1", "r.yaml: unknown option 'cuont' (did you mean 'count'?)"),
        ("internal: 1", "unknown option 'internal'"),
        ("count: 0", "r.yaml: --count 0: input should be greater than or equal to 1"),
        ("from: [1]", "r.yaml: --from [1]: input should be a valid string"),
    ],
)
def test_a_wrong_line_in_a_recipe_names_file_and_option(tmp_path, line, says):
    (tmp_path / "r.yaml").write_text(line)
    with pytest.raises(UsageFailure) as failed:
        make_options(Options, {}, open_recipe(tmp_path / "r.yaml", Options))
    assert says in str(failed.value)


def test_a_wrong_flag_does_not_name_the_recipe(tmp_path):
    (tmp_path / "r.yaml").write_text("count: 3\n")
    with pytest.raises(UsageFailure, match="^--count 0"):
        make_options(Options, {"count": 0}, open_recipe(tmp_path / "r.yaml", Options))


def test_a_recipe_exports_as_the_flags_do(tmp_path):
    (tmp_path / "r.yaml").write_text("tolerance: {int8: 0.8}\ncache: no\nexclude_layers: 1\nqat-steps: 20\n")
    options = make_options(ExportOptions, {"repair": "auto"}, open_recipe(tmp_path / "r.yaml", ExportOptions))
    assert (options.exclude_layers, options.use_cache, options.qat.steps) == ("1", False, 20)
    assert options == make_options(
        ExportOptions,
        {"tolerances": ["int8=0.8"], "use_cache": False, "exclude_layers": "1", "qat_steps": 20, "repair": "auto"},
    )


def test_a_recipe_measures_as_the_flags_do(tmp_path):
    (tmp_path / "r.yaml").write_text("from: files\nthreads: 4\ncpus: 4-7\nmax_size_kb: 400\nreference: [a=b]\n")
    recipe = open_recipe(tmp_path / "r.yaml", *OPTIONS)
    made = make_options(BenchmarkOptions, {}, recipe, bundle=Path("b"))
    assert (made.source, list(made.references)) == ("files", ["a=b"])
    plan = make_options(PlanOptions, {"seconds": 0.0}, recipe).plan()
    assert (plan.threads, plan.cpus, plan.seconds, plan.min_samples) == (4, (4, 5, 6, 7), 0, 100)
    assert recipe.values["max_size_kb"] == 400
