"""``distill-bench``: measure speed, size and retrieval of a bundle."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel

from benchmark.commands import compare, pareto
from benchmark.commands import history as history_of_results
from benchmark.devices import all_device_options
from benchmark.gates import Limits, make_limits
from benchmark.operators.command import operators
from benchmark.options import BenchmarkOptions, PlanOptions
from benchmark.pairs_command import pairs
from distill.console import (
    AppCommand,
    DebugOption,
    JsonOption,
    JsonOutOption,
    answer,
    make_app,
    note,
    plain_table,
    result_console,
    run_app,
    warn,
)
from distill.files import check_output
from distill.options import Recipe, RecipeOption, make_options, open_recipe, with_flags

if TYPE_CHECKING:
    from benchmark.result import Result
    from benchmark.run import Evidence

__all__ = ["app", "main"]

HELP = """Measure a bundle: latency, size and Recall@K of every variant, compared with PyTorch.

Examples:

    distill-bench BUNDLE --data folder:photos

    distill-bench BUNDLE --checkpoint runs/student --json-out result.json --html report.html

    distill-bench BUNDLE --checkpoint runs/student --reference teacher=runs/teacher --max-recall-drop 1

    distill-bench show result.json

    distill-bench compare before.json after.json

    distill-bench history results/ --html trend.html

    distill-bench pareto results/ --html pareto.html

    distill-bench pairs BUNDLE --data lfw:lfw --pairs lfw/pairs.txt

    distill-bench operators BUNDLE

    distill-bench devices
"""

RUN_HELP = """Measure a bundle (the default command).

The latency of all variants is measured in turns. Recall@1/2/4/8 and MAP@R come from each variant's own
embeddings of the test images; with --checkpoint also the drop against PyTorch, with its confidence
interval. Exit code 1 if a limit is not kept; all files are written nevertheless.

Examples:

    distill-bench BUNDLE --data glyphs --html report.html

    distill-bench BUNDLE --checkpoint runs/student --reference teacher=runs/teacher

    distill-bench BUNDLE --data folder:photos --limit 2000 --threads 4

    distill-bench BUNDLE --device adb --checkpoint runs/student

    distill-bench BUNDLE --checkpoint runs/student --max-latency-ms 5 --max-size-kb 400 --max-recall-drop 1
"""

app = make_app(HELP, default_command="run", program="distill-bench")

# Settings of typer's options that are not made from a model.
GATES: dict[str, Any] = {"rich_help_panel": "Limits", "show_default": False}
OUTPUT: dict[str, Any] = {"rich_help_panel": "Output", "show_default": False}
DeviceFlags = all_device_options()
# Each field is a flag, and a key of a recipe.
OPTIONS = (BenchmarkOptions, PlanOptions, DeviceFlags, Limits)


class _RunCommand(AppCommand):
    """Also takes ``--json FILE`` and ``--json=FILE``, which were the forms of ``--json-out FILE`` up to 0.2.0."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._without_old_json(ctx, args))

    def _without_old_json(self, ctx: Any, args: list[str]) -> list[str]:
        for place, word in enumerate(args):
            if word == "--":
                break
            old = word.removeprefix("--json=") if word.startswith("--json=") else ""
            after = args[place + 1 :]
            # BUNDLE is the only argument: a second one is the file, wherever the bundle stands.
            if word == "--json" and after and not after[0].startswith("-") and self._has_surplus(ctx, args):
                old, *after = after
            if old:
                warn(f"--json {old}: write --json-out {old}; --json alone prints the result on standard output")
                return [*args[:place], "--json-out", old, *after]
        return args

    def _has_surplus(self, ctx: Any, args: list[str]) -> bool:
        """Whether there are more arguments than the command takes. Wrong options are reported later."""
        try:
            return bool(self.make_parser(ctx).parse_args(args=list(args))[1])
        except typer.TyperException:
            return False


@app.command(help=RUN_HELP, cls=_RunCommand)
@with_flags(*OPTIONS)
def run(
    bundle: Annotated[Path, typer.Argument(help="Folder made by distill-export.", show_default=False)],
    given: dict[str, Any],
    recipe: RecipeOption = None,
    gates: Annotated[
        Path | None,
        typer.Option(help="TOML or YAML file with limits: max_latency_ms = 5 etc. Flags override it.", **GATES),
    ] = None,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", help="Write the verdict as JUnit XML, for CI.", **OUTPUT)
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(help="Add the result to this folder, under its time; see distill-bench history.", **OUTPUT),
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", help="Write a report with images: one file that works offline.", **OUTPUT),
    ] = None,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> int:
    for path in (json_out, html_file, junit_file):
        check_output(path, [bundle])
    if history:
        check_output(history / "x.json", [bundle])
    found = open_recipe(recipe, *OPTIONS)
    limits, named = _limits(gates, given, found)
    if named and "candidate" not in found.values:
        given = {"candidate": named} | given
    options = make_options(
        BenchmarkOptions,
        given,
        found,
        bundle=bundle,
        device_options=_part({**found.values, **given}, DeviceFlags),
        limits=limits,
        plan=make_options(PlanOptions, given, found).plan(),
        command=shlex.join(["distill-bench", *sys.argv[1:]]),
    )
    from benchmark.result import result_json
    from benchmark.run import measure
    from benchmark.table import print_result

    result, evidence = measure(options)
    # Before the files: a full disk must not cost the figures.
    answer(result_json(result), lambda: print_result(result), as_json, json_out, indent=2)
    _write(result, evidence, history, junit_file, html_file, options.plan.seed)
    return 0 if result.verdict.passed else 1


def _limits(gates: Path | None, given: dict[str, Any], recipe: Recipe) -> tuple[Limits, str | None]:
    """Return the limits of file, recipe and flags, the last one has the last word, and the candidate that the file names."""
    from benchmark.gates_file import merge_limits, read_gates

    limits, named = read_gates(gates) if gates else (Limits(), None)
    limits = merge_limits(limits, make_limits(_part(recipe.values, Limits), recipe.source))
    return merge_limits(limits, make_limits(_part(given, Limits))), named


def _part(values: Mapping[str, Any], kind: type[BaseModel]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in kind.model_fields}


def _write(
    result: Result,
    evidence: Evidence,
    history: Path | None,
    junit_file: Path | None,
    html_file: Path | None,
    seed: int,
) -> None:
    if history:
        from benchmark.history import add

        note(f"history: {add(history, result)}")
    if junit_file:
        from benchmark.junit import write_junit

        write_junit(junit_file, result)
        note(f"JUnit: {junit_file}")
    if html_file:
        from benchmark.report.html import write_report
        from benchmark.report.neighbours import neighbour_sheet

        write_report(html_file, result, neighbour_sheet(evidence, result.verdict.candidate, seed))
        note(f"report: {html_file}")


@app.command()
def show(
    result: Annotated[Path, typer.Argument(help="File written by --json-out.", show_default=False)],
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Also write the report, without images.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Print the tables of an earlier result.

    Example:

        distill-bench show result.json --html report.html
    """
    from benchmark.result import read_result, result_json
    from benchmark.table import print_result

    for path in (html_file, json_out):
        check_output(path, [result])
    found = read_result(result)
    answer(result_json(found), lambda: print_result(found), as_json, json_out, indent=2)
    if html_file:
        from benchmark.report.html import write_report

        write_report(html_file, found, None)
        note(f"report: {html_file}")


@app.command()
def devices(as_json: JsonOption = False, json_out: JsonOutOption = None, debug: DebugOption = False) -> None:
    """List where a bundle can be measured, what is attached, and what the others need.

    Starts adb's server if adb is installed and no server runs.
    """
    from dataclasses import asdict

    from benchmark.devices import list_devices

    check_output(json_out)
    rows = [asdict(row) for row in list_devices()]
    answer(rows, lambda: _print_devices(rows), as_json, json_out, indent=2)


def _print_devices(rows: list[dict[str, str]]) -> None:
    from rich.markup import escape

    table = plain_table()
    for heading in ("device", "status", ""):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row.values()), style="" if row["status"] == "ready" else "dim")
    result_console().print(table)


for command in (compare, history_of_results, pairs, pareto, operators):
    app.command(command.__name__)(command)


def main() -> None:
    """Entry point of ``distill-bench``."""
    raise SystemExit(run_app(app))


if __name__ == "__main__":
    main()
