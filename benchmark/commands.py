"""Commands of ``distill-bench`` that measure nothing: they read results that were written before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distill.console import DebugOption, JsonOption, UsageFailure, note, suggest
from distill.files import check_output

__all__ = ["compare", "history", "pareto"]

FILES = typer.Argument(help="Results written with --json, or folders of them.", show_default=False)
HTML = typer.Option("--html", help="Write it as a page too: one file, works offline.", show_default=False)


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Results written with --json; the first is what the others are held against.", show_default=False
        ),
    ],
    max_recall_loss: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Points of Recall@1 that may be lost. Given: exit code 1 beyond it.",
            show_default="0.5, marks only",
        ),
    ] = None,
    max_slowdown: Annotated[
        float | None,
        typer.Option(
            min=0, help="Percent that p50 and p90 may grow. Given: exit code 1 beyond it.", show_default="5, marks only"
        ),
    ] = None,
    max_growth: Annotated[
        float | None,
        typer.Option(
            min=0, help="Percent that the file may grow. Given: exit code 1 beyond it.", show_default="1, marks only"
        ),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> int:
    """Hold results against an earlier one and mark what got worse.

    Without limits nothing fails: changes beyond the defaults are marked. With one, exit code 1 where its measure
    got worse than that, or is no longer measured.

    Examples:

        distill-bench compare before.json after.json

        distill-bench compare main.json branch.json --max-recall-loss 0.5 --max-slowdown 10
    """
    from dataclasses import replace

    from benchmark.differences import Tolerances, differences, mismatches
    from benchmark.result import read_result
    from benchmark.table_many import print_differences

    if len(results) < 2:
        raise UsageFailure(
            "compare: one result alone", "give at least two: distill-bench compare before.json after.json"
        )
    read = [(path.stem, read_result(path)) for path in results]
    given = {"recall_loss": max_recall_loss, "slowdown": max_slowdown, "growth": max_growth}
    tolerances = replace(Tolerances(), **{name: value for name, value in given.items() if value is not None})
    failed, answer = False, []
    for name, later in read[1:]:
        changes = differences(read[0][1], later, tolerances)
        notes = mismatches([read[0][1], later])
        gated = [
            change
            for change in changes
            if change.worse and change.measure.gate in {n for n, v in given.items() if v is not None}
        ]
        failed = failed or bool(gated)
        if as_json:
            answer.append(
                {
                    "before": read[0][0],
                    "after": name,
                    "pass": not gated,
                    "notes": notes,
                    "changes": [change.as_json() for change in changes],
                }
            )
        else:
            print_differences(read[0][0], name, changes, notes, gated)
    if as_json:
        print(json.dumps(answer, indent=2))
    return 1 if failed else 0


def history(
    results: Annotated[list[Path], FILES],
    variant: Annotated[str | None, typer.Option(help="This variant only.", show_default=False)] = None,
    last: Annotated[int, typer.Option(min=1, help="At most so many rows a variant.")] = 20,
    html_file: Annotated[Path | None, HTML] = None,
    debug: DebugOption = False,
) -> None:
    """Show how results developed, oldest first.

    Only results of the same device and the same images stand in one series. Fill a folder with
    distill-bench BUNDLE --history DIR.

    Example:

        distill-bench history results/ --variant tflite-int8 --html trend.html
    """
    from benchmark.history import read_all, series
    from benchmark.table_many import print_series

    check_output(html_file, [path for path in results if path.is_file()])
    found = [result for _, result in read_all(results)]
    entries = series(found, variant)
    if not entries:
        raise UsageFailure(
            f"--variant {variant}: in none of the results",
            suggest(str(variant), {v.name for r in found for v in r.variants}),
        )
    for entry in entries:
        print_series(entry, last)
    if html_file:
        from benchmark.report.html import write_page
        from benchmark.report.trend import render_trend

        write_page(html_file, render_trend(entries))
        note(f"trend: {html_file}")


def pareto(
    results: Annotated[list[Path], FILES],
    html_file: Annotated[Path | None, HTML] = None,
    debug: DebugOption = False,
) -> None:
    """Find the models that nobody beats in Recall@1, latency and size, over many results.

    Example:

        distill-bench pareto runs/*/report.json --html pareto.html
    """
    from benchmark.differences import mismatches
    from benchmark.history import read_all
    from benchmark.report.pareto import points, render_pareto
    from benchmark.table_many import print_points

    check_output(html_file, [path for path in results if path.is_file()])
    found = read_all(results)
    print_points(points(found), mismatches([result for _, result in found]))
    if html_file:
        from benchmark.report.html import write_page

        write_page(html_file, render_pareto(found))
        note(f"Pareto plot: {html_file}")
