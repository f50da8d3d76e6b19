"""``distill-bench``: how fast, how large, and does it still retrieve?"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import compare, pareto
from benchmark.commands import history as history_of_results
from benchmark.operators.command import operators
from distill.console import DebugOption, JsonOption, UsageFailure, make_app, note, run_app, suggest
from distill.files import check_output

__all__ = ["app", "main"]

HELP = """Measure a bundle: latency, size and Recall@K of every variant, against PyTorch.

Examples:

    distill-bench BUNDLE --data folder:photos

    distill-bench BUNDLE --checkpoint runs/student --json result.json --html report.html

    distill-bench BUNDLE --checkpoint runs/student --reference teacher=runs/teacher --max-recall-drop 1

    distill-bench show result.json

    distill-bench compare before.json after.json

    distill-bench history results/ --html trend.html

    distill-bench pareto results/ --html pareto.html

    distill-bench operators BUNDLE

    distill-bench devices
"""

RUN_HELP = """Measure a bundle (the command taken when none is named).

Latency of all variants is taken in turns; Recall@1/2/4/8 and MAP@R come from each variant's own
embeddings of the test images. With --checkpoint also the drop against PyTorch, with its
confidence interval. Exit code 1 when a limit is exceeded; the files are written all the same.

Examples:

    distill-bench BUNDLE --data glyphs --html report.html

    distill-bench BUNDLE --checkpoint runs/student --reference teacher=runs/teacher

    distill-bench BUNDLE --data folder:photos --limit 2000 --threads 4

    distill-bench BUNDLE --device adb --checkpoint runs/student

    distill-bench BUNDLE --checkpoint runs/student --max-latency-ms 5 --max-size-kb 400 --max-recall-drop 1
"""

app = make_app(HELP, default_command="run")

DATA, COMPARE, LATENCY, GATES, OUTPUT = "Images", "Comparison", "Latency", "Limits", "Output"
REACH = "Reaching the device"
SOURCES = ("pixels", "files")
BUNDLE = typer.Argument(help="Folder made by distill-export.", show_default=False)


@app.command(help=RUN_HELP)
def run(
    bundle: Annotated[Path, BUNDLE],
    device: Annotated[str, typer.Option(help="Where to run it, see: distill-bench devices.")] = "host",
    ssh_identity: Annotated[
        Path | None,
        typer.Option(help="Private key. Default: as ssh finds it.", rich_help_panel=REACH, show_default=False),
    ] = None,
    ssh_known_hosts: Annotated[
        Path | None,
        typer.Option(
            help="File with the device's host key. Default: as ssh finds it.", rich_help_panel=REACH, show_default=False
        ),
    ] = None,
    ssh_config: Annotated[
        Path | None,
        typer.Option(
            help="ssh configuration (jump hosts and so on). Default: your own.",
            rich_help_panel=REACH,
            show_default=False,
        ),
    ] = None,
    remote_python: Annotated[
        str, typer.Option(help="Python there, with numpy and ai-edge-litert or onnxruntime.", rich_help_panel=REACH)
    ] = "python3",
    remote_folder: Annotated[
        str | None,
        typer.Option(
            help="Where our files go there; emptied when all went well. Default: .cache/distill-bench, on a phone "
            "/data/local/tmp/distill-bench.",
            rich_help_panel=REACH,
            show_default=False,
        ),
    ] = None,
    android_runner: Annotated[
        Path | None,
        typer.Option(
            help="Folder with runner.jar and jni/ABI/*.so for phones. Default: android_demo/build.",
            rich_help_panel=REACH,
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Images: glyphs, folder:PATH, csv:FILE, cub200:PATH, … Default: what the model was trained on.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Which classes are for training: half, a number, a fraction, official. Default: as trained.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    part: Annotated[str, typer.Option(help="test, train or all.", rich_help_panel=DATA)] = "test",
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="What the device gets: pixels (decoded, resized and cropped here) or files, which it decodes and "
            "preprocesses itself, so that its mistakes count and its time for that is told apart.",
            rich_help_panel=DATA,
        ),
    ] = "pixels",
    limit: Annotated[
        int | None,
        typer.Option(min=2, help="About this many images, as whole classes.", rich_help_panel=DATA, show_default=False),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="The PyTorch checkpoint the bundle was made from: gives the drop.",
            rich_help_panel=COMPARE,
            show_default=False,
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="Another checkpoint to show beside it, DIR or NAME=DIR (teacher, student trained alone). Repeatable.",
            rich_help_panel=COMPARE,
            show_default=False,
        ),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="Only this variant. Repeatable. Default: all.", rich_help_panel=COMPARE, show_default=False),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, max=256, help="CPU threads of each variant.", rich_help_panel=LATENCY)
    ] = 1,
    cpus: Annotated[
        str | None,
        typer.Option(
            help="Processors to run on, such as 4-7 (the big cores of a board). Default: any.",
            rich_help_panel=LATENCY,
            show_default=False,
        ),
    ] = None,
    delegate: Annotated[
        str,
        typer.Option(
            help="What computes TFLite variants: xnnpack, none (plain kernels); on phones also gpu and nnapi. One that the "
            "device or the model does not take makes a result with an error.",
            rich_help_panel=LATENCY,
        ),
    ] = "xnnpack",
    rest_ms: Annotated[
        float,
        typer.Option(
            min=0,
            help="Pause after every round, milliseconds, so that a board without a fan stays cool.",
            rich_help_panel=LATENCY,
        ),
    ] = 0.0,
    memory: Annotated[
        bool,
        typer.Option(
            help="Peak memory of every variant, each in a process of its own (about a second each).",
            rich_help_panel=LATENCY,
        ),
    ] = True,
    energy: Annotated[
        bool,
        typer.Option(
            "--energy",
            help="Energy of an inference, from the battery's own counter: the device must run on it, unplugged "
            "(a phone over Wi-Fi). What cannot be measured is told.",
            rich_help_panel=LATENCY,
        ),
    ] = False,
    energy_seconds: Annotated[
        float, typer.Option(min=5, help="How long every variant runs for --energy.", rich_help_panel=LATENCY)
    ] = 30.0,
    seconds: Annotated[
        float,
        typer.Option(
            min=0,
            help="Time for latency; every variant gets 100 samples even if it takes longer.",
            rich_help_panel=LATENCY,
        ),
    ] = 10.0,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of the order of variants, the sample of --limit, the bootstrap and the pictures.",
            rich_help_panel=LATENCY,
        ),
    ] = 0,
    candidate: Annotated[
        str | None,
        typer.Option(
            help="The variant that the limits judge. Default: tflite-int8 where there is one.",
            rich_help_panel=GATES,
            show_default=False,
        ),
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(min=0, help="Limit of the 90th percentile.", rich_help_panel=GATES, show_default=False),
    ] = None,
    max_size_kb: Annotated[
        float | None,
        typer.Option(
            min=0, help="Limit of the model file, kB of 1000 bytes.", rich_help_panel=GATES, show_default=False
        ),
    ] = None,
    max_memory_mb: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Limit of what the model adds to the memory of the loaded engine, MB of 1e6 bytes.",
            rich_help_panel=GATES,
            show_default=False,
        ),
    ] = None,
    max_recall_drop: Annotated[
        float | None,
        typer.Option(
            help="Limit of the drop of Recall@1 in points (1 = one query in a hundred). Needs --checkpoint.",
            rich_help_panel=GATES,
            show_default=False,
        ),
    ] = None,
    min_recall: Annotated[
        float | None,
        typer.Option(
            min=0, max=100, help="Lowest Recall@1 allowed, percent.", rich_help_panel=GATES, show_default=False
        ),
    ] = None,
    min_cosine: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="Lowest mean cosine to PyTorch's embeddings. Needs --checkpoint.",
            rich_help_panel=GATES,
            show_default=False,
        ),
    ] = None,
    max_asymmetric_drop: Annotated[
        float | None,
        typer.Option(
            help="Limit of the drop of Recall@1 in points where the float model indexed the gallery.",
            rich_help_panel=GATES,
            show_default=False,
        ),
    ] = None,
    gates: Annotated[
        Path | None,
        typer.Option(
            help="TOML or YAML file with these limits: max_latency_ms = 5 and so on. Flags come first.",
            rich_help_panel=GATES,
            show_default=False,
        ),
    ] = None,
    junit_file: Annotated[
        Path | None,
        typer.Option(
            "--junit", help="Write the verdict as JUnit XML here, for CI.", rich_help_panel=OUTPUT, show_default=False
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result here.", rich_help_panel=OUTPUT, show_default=False)
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            help="Add the result to this folder, under its time; see distill-bench history.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html",
            help="Write a report with pictures here: one file, works offline.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    debug: DebugOption = False,
) -> int:
    for path in (json_file, html_file, junit_file):
        check_output(path, [bundle])
    if history:
        check_output(history / "x.json", [bundle])

    if source not in SOURCES:
        raise UsageFailure(f"--from {source}: no such source", suggest(source, SOURCES))

    from benchmark.devices import DeviceOptions
    from benchmark.gates import Limits
    from benchmark.gates_file import merge_limits, read_gates
    from benchmark.junit import write_junit
    from benchmark.result import write_result
    from benchmark.run import BenchmarkOptions, measure
    from benchmark.table import print_result
    from benchmark.timing import Plan

    flags = Limits(
        max_latency_ms, max_size_kb, max_memory_mb, max_recall_drop, min_recall, min_cosine, max_asymmetric_drop
    )
    limits, named = read_gates(gates) if gates else (Limits(), None)
    options = BenchmarkOptions(
        bundle=bundle,
        device=device,
        reach=DeviceOptions(
            ssh_identity, ssh_known_hosts, ssh_config, remote_python, remote_folder, android_runner, delegate
        ),
        data=data,
        split=split,
        part=part,
        limit=limit,
        checkpoint=checkpoint,
        references=reference or (),
        variants=variant or (),
        candidate=candidate or named,
        limits=merge_limits(limits, flags),
        plan=Plan(threads=threads, seconds=seconds, seed=seed, cpus=_cpus(cpus), rest_ms=rest_ms),
        memory=memory,
        energy_seconds=energy_seconds if energy else None,
        files=source == "files",
        command=shlex.join(["distill-bench", *sys.argv[1:]]),
    )
    result, evidence = measure(options)
    print_result(result)  # before the files: a full disk must not cost the figures
    if json_file:
        write_result(json_file, result)
        note(f"result: {json_file}")
    if history:
        from benchmark.history import add

        note(f"history: {add(history, result)}")
    if junit_file:
        write_junit(junit_file, result)
        note(f"JUnit: {junit_file}")
    if html_file:
        from benchmark.report.html import write_report
        from benchmark.report.neighbours import gallery

        write_report(html_file, result, gallery(evidence, result.verdict.candidate, seed))
        note(f"report: {html_file}")
    return 0 if result.verdict.passed else 1


@app.command()
def show(
    result: Annotated[Path, typer.Argument(help="A file written with --json.", show_default=False)],
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Also write the report, without the pictures.", show_default=False)
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
    """List where a bundle can be measured, what is attached, and what the rest needs.

    Starts adb's server where adb is installed and none runs.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from benchmark.devices.listing import list_devices

    rows = list_devices()
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("device", "status", ""):
        table.add_column(heading)
    for row in rows:
        table.add_row(*map(escape, row.values()), style="" if row["status"] == "ready" else "dim")
    Console(highlight=False).print(table)


for command in (compare, history_of_results, pareto, operators):
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
