"""Print several results as tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from benchmark.differences import Change, Measure, measures
from benchmark.history import Series
from benchmark.text import kilobytes, percent
from distill.console import plain_table, result_console

if TYPE_CHECKING:
    from benchmark.report.pareto import Point

__all__ = ["print_all_differences", "print_all_series", "print_points"]

WIDE = 96  # columns from which all measures stand side by side
BARS = "▁▂▃▄▅▆▇█"


def _table(*headings: str) -> Table:
    table = plain_table()
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold", no_wrap=number > 0)
    return table


def print_all_differences(rows: Sequence[tuple[str, str, Sequence[Change], Sequence[str], Sequence[Change]]]) -> None:
    """Print each comparison: names of the earlier and later result, changes, notes, and the changes that failed."""
    for row in rows:
        _print_differences(*row)


def _print_differences(
    before: str, after: str, changes: Sequence[Change], notes: Sequence[str], failed: Sequence[Change]
) -> None:
    """Print before, after and change of each variant and measure; ✗ worse, ✓ better."""
    console = result_console()
    console.print(f"{before} → {after}", style="bold", markup=False)
    names = dict.fromkeys(change.variant for change in changes)
    if console.width >= WIDE:
        table = _table(
            "", *(f"{measure.name}, {measure.unit}" for measure in dict.fromkeys(c.measure for c in changes))
        )
        for name in names:
            table.add_row(name, *(_cell(change) for change in changes if change.variant == name))
        console.print(table)
    else:
        for name in names:
            table = _table(name, "")
            for change in changes:
                if change.variant == name:
                    table.add_row(f"  {change.measure.name}, {change.measure.unit}", _cell(change))
            console.print(table)
    for text in notes:
        console.print(f"! {text}", style="yellow", markup=False, soft_wrap=True)
    worse = [change for change in changes if change.worse]
    if failed:
        words = ", ".join(f"{change.variant} {change.measure.name}" for change in failed)
        console.print(f"Worse than allowed: {words}.", style="bold red", markup=False, soft_wrap=True)
    elif worse:
        console.print(
            f"{len(worse)} got worse; no limit was set for {'it' if len(worse) == 1 else 'them'}.", style="yellow"
        )
    else:
        console.print("Nothing got worse.", style="bold green")


def _cell(change: Change) -> Text:
    digits = change.measure.digits
    if change.before is None and change.after is None:
        return Text("–", style="dim")
    before, after = ("–" if value is None else f"{value:.{digits}f}" for value in (change.before, change.after))
    text = f"{before}→{after}"
    if change.change is not None:
        text += f" {change.change:+.1f}%" if change.measure.relative else f" {change.change:+.2f}"
    mark, style = (" ✗", "red") if change.worse else (" ✓", "green") if change.better else ("", "")
    return Text(text.replace("-", "−") + mark, style=style)


def print_all_series(series: Sequence[Series], last: int) -> None:
    """Print the last results of each series."""
    for each in series:
        _print_series(each, last)


def _print_series(series: Series, last: int) -> None:
    """Print one row per result, oldest first, and the trend of each measure as small bars."""
    console = result_console()
    console.print(series.variant, style="bold", markup=False)
    console.print(f"{series.device}\n{series.data}", style="dim", markup=False, soft_wrap=True)
    shown = series.results[-last:]
    columns = measures(shown[-1])
    table = _table("", *(f"{measure.name}, {measure.unit}" for measure in columns), "")
    rows = [[measure.value(result.variant(series.variant)) for measure in columns] for result in shown]
    for result, values in zip(shown, rows, strict=True):
        when = f"{datetime.fromisoformat(result.created):%Y-%m-%d %H:%M}"
        figures = ["–" if v is None else f"{v:.{m.digits}f}" for v, m in zip(values, columns, strict=True)]
        table.add_row(when, *figures, "" if result.verdict.passed else Text("did not pass", style="red"))
    if len(rows) > 1:
        table.add_row("", *(_bars([row[n] for row in rows], m) for n, m in enumerate(columns)), "", style="dim")
    console.print(table)
    console.print()


def _bars(values: Sequence[float | None], measure: Measure) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    floor = 0.02 * abs(high) if measure.relative else 2.0  # keeps noise from filling the height
    span = max(high - low, floor, 1e-12)
    return "".join(" " if v is None else BARS[min(int((v - low) / span * len(BARS)), len(BARS) - 1)] for v in values)


def print_points(points: Sequence[Point], notes: Sequence[str]) -> None:
    """Print all models, those on the Pareto front first."""
    console = result_console()
    table = _table("", "R@1", "ms p50", "kB", "")
    for point in sorted(points, key=lambda point: (not point.best, -point.recall)):
        latency = "–" if point.p50 is None else f"{point.p50:.3f}"
        row = (point.name, percent(point.recall, 2), latency, kilobytes(point.size_bytes))
        table.add_row(*row, "best" if point.best else "", style="bold" if point.best else "dim")
    console.print(table)
    for text in notes:
        console.print(f"! {text}", style="yellow", markup=False, soft_wrap=True)
