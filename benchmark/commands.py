"""Commands of ``distill-bench`` that read earlier results instead of measuring."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from distill.console import DebugOption, JsonOption, JsonOutOption, UsageFailure, answer, note, suggest
from distill.files import check_output

__all__ = ["compare", "history", "pareto"]

FILES = typer.Argument(help="Results written by --json-out, or folders of them.", show_default=False)
HTML = typer.Option("--html", help="Also write a page: one file that works offline.", show_default=False)


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Results written by --json-out; the others are compared with the first.", show_default=False
        ),
    ],
    max_recall_loss: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Largest loss of Recall@1, points. If set, exit code 1 beyond it.",
            show_default="0.5, marks only",
        ),
    ] = None,
    max_slowdown: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Largest growth of p50 and p90, percent. If set, exit code 1 beyond it.",
            show_default="5, marks only",
        ),
    ] = None,
    max_growth: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Largest growth of the file, percent. If set, exit code 1 beyond it.",
            show_default="1, marks only",
        ),
    ] = None,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> int:
    """Compare results with an earlier one and mark what got worse.

    Without limits, changes beyond the defaults are marked and the exit code is 0. With a limit, the exit code is 1 if
    its measure got worse by more, or is no longer measured.

    Examples:

        distill-bench compare before.json after.json

        distill-bench compare main.json branch.json --max-recall-loss 0.5 --max-slowdown 10
    """
    from dataclasses import replace

    from benchmark.differences import Tolerances, differences, mismatches
    from benchmark.result import read_result
    from benchmark.table_many import print_all_differences

    check_output(json_out, results)
    if len(results) < 2:
        raise UsageFailure(
            "compare: only one result", "give at least two: distill-bench compare before.json after.json"
        )
    read = [(path.stem, read_result(path)) for path in results]
    given = {"recall_loss": max_recall_loss, "slowdown": max_slowdown, "growth": max_growth}
    tolerances = replace(Tolerances(), **{name: value for name, value in given.items() if value is not None})
    rows: list[dict[str, Any]] = []
    differing: list[tuple[Any, ...]] = []
    for name, later in read[1:]:
        changes = differences(read[0][1], later, tolerances)
        notes = mismatches([read[0][1], later])
        gated = [
            change
            for change in changes
            if change.worse and change.measure.gate in {n for n, v in given.items() if v is not None}
        ]
        rows.append(
            {
                "before": read[0][0],
                "after": name,
                "pass": not gated,
                "notes": notes,
                "changes": [change.as_json() for change in changes],
            }
        )
        differing.append((read[0][0], name, changes, notes, gated))
    answer(rows, lambda: print_all_differences(differing), as_json, json_out, indent=2)
    return 0 if all(row["pass"] for row in rows) else 1


def history(
    results: Annotated[list[Path], FILES],
    variant: Annotated[str | None, typer.Option(help="Only this variant.", show_default=False)] = None,
    last: Annotated[int, typer.Option(min=1, help="Largest number of rows per variant.")] = 20,
    html_file: Annotated[Path | None, HTML] = None,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Show results over time, oldest first.

    A series holds results of one device and the same images. Fill a folder with
    distill-bench BUNDLE --history DIR.

    Example:

        distill-bench history results/ --variant tflite-int8 --html trend.html
    """
    from benchmark.history import read_all, series
    from benchmark.table_many import print_all_series

    for path in (html_file, json_out):
        check_output(path, [path for path in results if path.is_file()])
    found = [result for _, result in read_all(results)]
    entries = series(found, variant)
    if not entries:
        raise UsageFailure(
            f"--variant {variant}: not in any result",
            suggest(str(variant), {v.name for r in found for v in r.variants}),
        )
    answer(
        [entry.as_json(last) for entry in entries],
        lambda: print_all_series(entries, last),
        as_json,
        json_out,
        indent=2,
    )
    if html_file:
        from benchmark.report.html import write_page
        from benchmark.report.trend import render_trend

        write_page(html_file, render_trend(entries))
        note(f"trend: {html_file}")


def pareto(
    results: Annotated[list[Path], FILES],
    html_file: Annotated[Path | None, HTML] = None,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Find the Pareto front of Recall@1, latency and size over many results.

    Example:

        distill-bench pareto runs/*/report.json --html pareto.html
    """
    from benchmark.differences import mismatches
    from benchmark.history import read_all
    from benchmark.report.pareto import points, render_pareto
    from benchmark.table_many import print_points

    for path in (html_file, json_out):
        check_output(path, [path for path in results if path.is_file()])
    found = read_all(results)
    shown, notes = points(found), mismatches([result for _, result in found])
    value = {"notes": notes, "points": [asdict(point) for point in shown]}
    answer(value, lambda: print_points(shown, notes), as_json, json_out, indent=2)
    if html_file:
        from benchmark.report.html import write_page

        write_page(html_file, render_pareto(found))
        note(f"Pareto plot: {html_file}")
