"""``distill-bench``: measure speed, size and retrieval of a bundle."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import create_model

from benchmark.commands import compare, pareto
from benchmark.commands import history as history_of_results
from benchmark.devices import DEVICES, all_device_options
from benchmark.devices.spec import DEFAULT_DELEGATE, DELEGATES, EXPERIMENTAL
from benchmark.gates import Limits, make_limits
from benchmark.operators.command import operators
from benchmark.pairs_command import pairs
from distill.console import DebugOption, JsonOption, UsageFailure, make_app, note, run_app, suggest
from distill.files import check_output
from distill.options import with_flags

if TYPE_CHECKING:
    from benchmark.result import Result
    from benchmark.run import Evidence

__all__ = ["app", "main"]

HELP = """Measure a bundle: latency, size and Recall@K of every variant, compared with PyTorch.

Examples:

    distill-bench BUNDLE --data folder:photos

    distill-bench BUNDLE --checkpoint runs/student --json result.json --html report.html

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

app = make_app(HELP, default_command="run")

DATA, COMPARE, LATENCY, GATES, OUTPUT = "Images", "Comparison", "Latency", "Limits", "Output"
SOURCES = ("pixels", "files")
# The options of all devices and the limits, one flag for each field.
DEVICE_FLAGS = all_device_options()
FLAGS = create_model("Flags", __base__=(DEVICE_FLAGS, Limits))


def _option(help_text: str, panel: str, *names: str, **settings: Any) -> Any:
    """Return an option without a visible default, unless ``show_default`` is set."""
    return typer.Option(*names, help=help_text, rich_help_panel=panel, **{"show_default": False, **settings})


def _delegate_help() -> str:
    each = ", ".join(f"{name} ({remark})" if remark else name for name, remark in DELEGATES.items())
    return f"What computes TFLite variants: {each}. If the device or model lacks it, the result is an error."


@app.command(help=RUN_HELP)
@with_flags(FLAGS)
def run(
    bundle: Annotated[Path, typer.Argument(help="Folder made by distill-export.", show_default=False)],
    given: dict[str, Any],
    device: Annotated[
        str,
        typer.Option(help=f"Where to run: {', '.join(DEVICES.names())}; see: distill-bench devices."),
    ] = "host",
    data: Annotated[
        str | None,
        _option("Images: glyphs, folder:PATH, csv:FILE, cub200:PATH, … Default: the training data.", DATA),
    ] = None,
    split: Annotated[
        str | None,
        _option("Training classes: half, a number, a fraction, official. Default: as in training.", DATA),
    ] = None,
    part: Annotated[str, _option("test, train or all.", DATA, show_default=True)] = "test",
    source: Annotated[
        str,
        _option(
            "What the device gets: pixels (decoded, resized and cropped on this computer), or files, which it decodes "
            "and preprocesses itself: its deviations then count, and its time for them is reported separately.",
            DATA,
            "--from",
            show_default=True,
        ),
    ] = "pixels",
    limit: Annotated[int | None, _option("Approximate number of images, as whole classes.", DATA, min=2)] = None,
    checkpoint: Annotated[
        Path | None, _option("PyTorch checkpoint that the bundle was made from, to measure the drop.", COMPARE)
    ] = None,
    reference: Annotated[
        list[str] | None,
        _option(
            "Another checkpoint to show for comparison, DIR or NAME=DIR (teacher, student trained alone). Repeatable.",
            COMPARE,
        ),
    ] = None,
    storage: Annotated[
        bool,
        _option(
            "Measure Recall of the candidate's stored galleries, and of its queries on other models' galleries.",
            COMPARE,
            show_default=True,
        ),
    ] = True,
    variant: Annotated[list[str] | None, _option("Only this variant. Repeatable. Default: all.", COMPARE)] = None,
    threads: Annotated[int, _option("CPU threads of each variant.", LATENCY, min=1, max=256, show_default=True)] = 1,
    cpus: Annotated[
        str | None, _option("Processors to run on, such as 4-7 (the big cores of a board). Default: any.", LATENCY)
    ] = None,
    delegate: Annotated[str, _option(_delegate_help(), LATENCY, show_default=True)] = DEFAULT_DELEGATE,
    rest_ms: Annotated[
        float,
        _option(
            "Pause after every round, milliseconds, so that a board without a fan stays cool.",
            LATENCY,
            min=0,
            show_default=True,
        ),
    ] = 0.0,
    memory: Annotated[
        bool,
        _option(
            "Measure the peak memory of every variant in a process of its own (about a second each).",
            LATENCY,
            show_default=True,
        ),
    ] = True,
    energy: Annotated[
        bool,
        _option(
            f"Energy per inference, from the battery's own counter ({EXPERIMENTAL}). The device must run on battery, "
            "unplugged (a phone: over Wi-Fi). A warning says what cannot be measured.",
            LATENCY,
            "--energy",
        ),
    ] = False,
    energy_seconds: Annotated[
        float, _option("Running time of each variant for --energy.", LATENCY, min=5, show_default=True)
    ] = 30.0,
    seconds: Annotated[
        float,
        _option(
            "Time for latency; every variant gets 100 samples even if it takes longer.",
            LATENCY,
            min=0,
            show_default=True,
        ),
    ] = 10.0,
    seed: Annotated[
        int,
        _option(
            "Seed of the order of variants, the sample of --limit, the bootstrap, the queries drawn and the images shown.",
            LATENCY,
            min=0,
            show_default=True,
        ),
    ] = 0,
    candidate: Annotated[
        str | None, _option("Variant that the limits apply to. Default: tflite-int8 if the bundle has it.", GATES)
    ] = None,
    gates: Annotated[
        Path | None,
        _option("TOML or YAML file with limits: max_latency_ms = 5 etc. Flags override it.", GATES),
    ] = None,
    junit_file: Annotated[Path | None, _option("Write the verdict as JUnit XML, for CI.", OUTPUT, "--junit")] = None,
    json_file: Annotated[Path | None, _option("Write the result.", OUTPUT, "--json")] = None,
    history: Annotated[
        Path | None, _option("Add the result to this folder, under its time; see distill-bench history.", OUTPUT)
    ] = None,
    html_file: Annotated[
        Path | None, _option("Write a report with images: one file that works offline.", OUTPUT, "--html")
    ] = None,
    debug: DebugOption = False,
) -> int:
    for path in (json_file, html_file, junit_file):
        check_output(path, [bundle])
    if history:
        check_output(history / "x.json", [bundle])
    if source not in SOURCES:
        raise UsageFailure(f"--from {source}: no such source", suggest(source, SOURCES))

    from benchmark.gates_file import merge_limits, read_gates
    from benchmark.run import BenchmarkOptions, measure
    from benchmark.table import print_result
    from benchmark.timing import Plan

    limits, named = read_gates(gates) if gates else (Limits(), None)
    flags = make_limits(_part(given, Limits.model_fields))
    result, evidence = measure(
        BenchmarkOptions(
            bundle=bundle,
            device=device,
            device_options=_part(given, DEVICE_FLAGS.model_fields),
            delegate=delegate,
            data=data,
            split=split,
            part=part,
            limit=limit,
            checkpoint=checkpoint,
            references=reference or (),
            storage=storage,
            variants=variant or (),
            candidate=candidate or named,
            limits=merge_limits(limits, flags),
            plan=Plan(threads=threads, seconds=seconds, seed=seed, cpus=_cpus(cpus), rest_ms=rest_ms),
            memory=memory,
            energy_seconds=energy_seconds if energy else None,
            files=source == "files",
            command=shlex.join(["distill-bench", *sys.argv[1:]]),
        )
    )
    print_result(result)  # before the files: a full disk must not cost the figures
    _write(result, evidence, json_file, history, junit_file, html_file, seed)
    return 0 if result.verdict.passed else 1


def _part(given: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name in fields}


def _write(
    result: Result,
    evidence: Evidence,
    json_file: Path | None,
    history: Path | None,
    junit_file: Path | None,
    html_file: Path | None,
    seed: int,
) -> None:
    if json_file:
        from benchmark.result import write_result

        write_result(json_file, result)
        note(f"result: {json_file}")
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
    result: Annotated[Path, typer.Argument(help="File written by --json.", show_default=False)],
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Also write the report, without images.", show_default=False)
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Print the tables of an earlier result.

    Example:

        distill-bench show result.json --html report.html
    """
    from benchmark.result import read_result
    from benchmark.table import print_result

    check_output(html_file, [result])
    found = read_result(result)
    print_result(found)
    if html_file:
        from benchmark.report.html import write_report

        write_report(html_file, found, None)
        note(f"report: {html_file}")


@app.command()
def devices(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List where a bundle can be measured, what is attached, and what the others need.

    Starts adb's server if adb is installed and no server runs.
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from benchmark.devices import list_devices

    rows = [asdict(row) for row in list_devices()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("device", "status", ""):
        table.add_column(heading)
    for row in rows:
        table.add_row(*map(escape, row.values()), style="" if row["status"] == "ready" else "dim")
    Console(highlight=False).print(table)


for command in (compare, history_of_results, pairs, pareto, operators):
    app.command(command.__name__)(command)


def _cpus(text: str | None) -> tuple[int, ...]:
    from benchmark.system import cpu_set

    try:
        return cpu_set(text) if text is not None else ()
    except ValueError as error:
        raise UsageFailure(f"--cpus {text}: {error}", "for example 0,4-7") from None


def main() -> None:
    """Entry point of ``distill-bench``."""
    raise SystemExit(run_app(app))


if __name__ == "__main__":
    main()
