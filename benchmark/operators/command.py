"""``distill-bench operators``: where a variant's time goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from distill.console import DebugOption, JsonOption, UsageFailure, note
from distill.files import check_output

__all__ = ["operators"]

PIPED_WIDTH = 130


def operators(
    bundle: Annotated[Path, typer.Argument(help="Folder made by distill-export.", show_default=False)],
    variant: Annotated[
        str | None, typer.Option(help="Which one. Default: tflite-int8 where there is one.", show_default=False)
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=256, help="CPU threads.")] = 1,
    seconds: Annotated[float, typer.Option(min=0, help="Time for it; every operator gets 100 samples at least.")] = 5.0,
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html",
            help="Write it as a page too, with the roofline drawn: one file, works offline.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show where a variant's time goes on this computer, operator by operator.

    Beside it its multiply-accumulates and the bytes that it moves (inputs, outputs, weights), and the roof over it: the time that it
    would take at the machine's measured peaks, of arithmetic (a large 1 × 1 convolution of the same number type in the TFLite
    engine) or of memory (a copy of as many bytes), whichever is longer. TFLite is timed by models cut after each operator, ONNX by
    onnxruntime's profile.

    Examples:

        distill-bench operators BUNDLE

        distill-bench operators BUNDLE --variant onnx-int8 --json

        distill-bench operators BUNDLE --html roofline.html
    """
    from rich.console import Console
    from rich.table import Table

    from benchmark.gates import choose_candidate
    from benchmark.latency import still_bar
    from benchmark.operators import roofline
    from benchmark.operators.bandwidth import measured_bandwidth
    from benchmark.operators.onnx import profile_onnx
    from benchmark.operators.peak import measured_peak
    from benchmark.operators.tflite import profile_tflite
    from benchmark.report.operators import render_operators, write_page
    from benchmark.timing import Plan
    from export.bundle import load_bundle, open_variant

    check_output(html_file, [bundle])
    opened = load_bundle(bundle)
    name = (
        opened.variant(variant).name
        if variant
        else choose_candidate([found.name for found in opened.manifest.variants])
    )
    chosen = opened.variant(name)
    if chosen.format not in ("tflite", "onnx"):
        raise UsageFailure(f"--variant {name}: {chosen.format} has no profile", "tflite and onnx variants have one")
    values = open_variant(opened, name, threads).tensor(opened.golden_pixels()[:1])
    content = opened.path(chosen).read_bytes()
    with still_bar(f"operators of {name}") as show:
        if chosen.format == "tflite":
            found = profile_tflite(content, values, Plan(threads=threads, seconds=seconds), show)
        else:
            found = profile_onnx(content, values, threads, runs=300)
    peaks = {
        integer: measured_peak(integer, threads)
        for integer in {operator.integer for operator in found if operator.macs}
    }
    value = roofline.as_json(name, threads, found, peaks, measured_bandwidth(threads))
    if html_file:
        write_page(html_file, render_operators(value))
        note(f"page: {html_file}")
    if as_json:
        print(json.dumps(value, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("operator", "output", "ms", "share", "million MACs", "kB", "of the peak", "of the roof", "limit"):
        table.add_column(heading, justify="left" if heading in ("operator", "output", "limit") else "right")
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
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    console.print(table)
    total, moved = sum(operator.macs for operator in found), sum(operator.bytes for operator in found)
    console.print(
        f"{name}: {value['ms']:.3f} ms, {total / 1e6:.1f} million MACs, {moved / 1e3:,.0f} kB moved, {threads} thread{'s' if threads > 1 else ''}; "
        f"at the roof it would take {value['roof_ms']:.3f} ms",
        soft_wrap=True,
    )
    for kind, peak in value["peak_macs_per_second"].items():
        console.print(f"peak measured here, {kind}: {peak / 1e9:.1f} billion MACs a second", style="dim")
    rates = [
        value["bytes_per_second"][key] / 1e9
        for key in (min(value["bytes_per_second"], key=int), max(value["bytes_per_second"], key=int))
    ]
    console.print(
        f"memory measured here: {rates[0]:.0f} GB/s in the nearest cache, {rates[1]:.0f} GB/s beyond the caches",
        style="dim",
    )
