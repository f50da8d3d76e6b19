"""``distill-bench operators``: show where a variant's time goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.console import (
    DebugOption,
    JsonOption,
    JsonOutOption,
    answer,
    note,
    plain_table,
    result_console,
    still_progress,
)
from distill.files import check_output

if TYPE_CHECKING:
    from benchmark.operators.profile import ProfiledOperator

__all__ = ["operators"]

PIPED_WIDTH = 130


def operators(
    bundle: Annotated[Path, typer.Argument(help="Folder made by distill-export.", show_default=False)],
    variant: Annotated[
        str | None, typer.Option(help="Variant to profile. Default: tflite-int8 if there is one.", show_default=False)
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=256, help="CPU threads.")] = 1,
    seconds: Annotated[
        float, typer.Option(min=0, help="Measuring time; every operator gets at least 100 samples.")
    ] = 5.0,
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html", help="Also write a page with the roofline: one file that works offline.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Show where a variant's time goes on this computer, operator by operator.

    Each operator is shown with its multiply-accumulates, the bytes that it moves (inputs, outputs, weights) and its
    roof: the time that it would take at the machine's measured peak of arithmetic (a large 1 × 1 convolution of the
    same number type in the TFLite engine) or of memory (a copy of as many bytes), whichever is longer. TFLite is timed
    by models that are cut after each operator, ONNX by onnxruntime's profiler.

    Examples:

        distill-bench operators BUNDLE

        distill-bench operators BUNDLE --variant onnx-int8 --json

        distill-bench operators BUNDLE --html roofline.html
    """
    from benchmark.gates import choose_candidate
    from benchmark.operators import roofline
    from benchmark.operators.bandwidth import measured_bandwidth
    from benchmark.operators.peak import measured_peak
    from benchmark.operators.profile import profile
    from benchmark.plan import Plan
    from benchmark.report.operators import render_operators, write_page
    from export.bundle import load_bundle

    for path in (html_file, json_out):
        check_output(path, [bundle])
    opened = load_bundle(bundle)
    name = variant or choose_candidate([found.name for found in opened.manifest.variants])
    opened.variant(name)  # a usage error if there is none
    with still_progress(f"operators of {name}") as show:
        found = profile(opened, name, Plan(threads=threads, seconds=seconds), show)
    peaks = {
        integer: measured_peak(integer, threads)
        for integer in {operator.integer for operator in found if operator.macs}
    }
    value = roofline.as_json(name, threads, found, peaks, measured_bandwidth(threads))
    if html_file:
        write_page(html_file, render_operators(value))
        note(f"page: {html_file}")
    answer(value, lambda: _print(value, found), as_json, json_out, indent=2)


def _print(value: dict[str, Any], found: Sequence[ProfiledOperator]) -> None:
    console, table = result_console(PIPED_WIDTH), plain_table()
    for heading in ("operator", "output", "ms", "share", "million MACs", "kB", "of the peak", "of the roof", "limit"):
        left = heading in ("operator", "output", "limit")
        table.add_column(heading, justify="left" if left else "right", overflow="fold", no_wrap=heading == "operator")
    for row in value["operators"]:
        table.add_row(
            row["operator"],
            " × ".join(map(str, row["output"])),
            f"{row['ms']:.4f}",
            f"{row['share']:.1%}",
            f"{row['macs'] / 1e6:.2f}" if row["macs"] else "",
            f"{row['bytes'] / 1e3:.1f}" if row["bytes"] else "",
            f"{row['of_peak']:.0%}" if row["of_peak"] is not None else "",
            f"{row['of_roof']:.0%}" if row["of_roof"] is not None else "",
            row["bound"] or "",
        )
    console.print(table)
    total, moved = sum(operator.macs for operator in found), sum(operator.bytes for operator in found)
    threads = value["threads"]
    console.print(
        f"{value['variant']}: {value['ms']:.3f} ms, {total / 1e6:.1f} million MACs, {moved / 1e3:,.0f} kB moved, "
        f"{threads} thread{'s' if threads > 1 else ''}; at the roof: {value['roof_ms']:.3f} ms",
        soft_wrap=True,
    )
    for kind, peak in value["peak_macs_per_second"].items():
        console.print(f"measured peak, {kind}: {peak / 1e9:.1f} billion MACs per second", style="dim")
    rates = {int(rung): rate / 1e9 for rung, rate in value["bytes_per_second"].items()}
    console.print(
        f"measured memory bandwidth: {rates[min(rates)]:.0f} GB/s in the nearest cache, "
        f"{rates[max(rates)]:.0f} GB/s beyond the caches",
        style="dim",
    )
