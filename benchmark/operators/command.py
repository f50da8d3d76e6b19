"""``distill-bench operators``: where a variant's time goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distill.console import DebugOption, JsonOption, UsageFailure

__all__ = ["operators"]


def operators(
    bundle: Annotated[Path, typer.Argument(help="Folder made by distill-export.", show_default=False)],
    variant: Annotated[str | None, typer.Option(
        help="Which one. Default: tflite-int8 where there is one.", show_default=False)] = None,
    threads: Annotated[int, typer.Option(min=1, max=256, help="CPU threads.")] = 1,
    seconds: Annotated[float, typer.Option(min=0, help="Time for it; every operator gets 100 samples at least.")] = 5.0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show where a variant's time goes on this computer, operator by operator.

    Beside it how many multiply-accumulates a second that is, as a share of the peak: the most that a large 1 × 1
    convolution of the same number type reaches here in the TFLite engine. TFLite is timed by models cut after
    each operator, ONNX by onnxruntime's profile.

    Examples:

        distill-bench operators BUNDLE

        distill-bench operators BUNDLE --variant onnx-int8 --json
    """
    from rich.console import Console
    from rich.table import Table

    from benchmark.gates import choose_candidate
    from benchmark.latency import still_bar
    from benchmark.operators.onnx import profile_onnx
    from benchmark.operators.peak import measured_peak
    from benchmark.operators.tflite import profile_tflite
    from benchmark.timing import Plan
    from export.bundle import load_bundle, open_variant

    opened = load_bundle(bundle)
    name = opened.variant(variant).name if variant else choose_candidate([found.name for found in opened.manifest.variants])
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
    peaks = {integer: measured_peak(integer, threads) for integer in {operator.integer for operator in found if operator.macs}}
    whole = sum(operator.ms for operator in found)
    rows = [
        {
            "operator": operator.kind, "output": list(operator.shape), "ms": operator.ms, "share": operator.ms / whole if whole else 0.0,
            "macs": operator.macs, "integer": operator.integer,
            "of_peak": operator.macs / (operator.ms / 1e3) / peaks[operator.integer] if operator.macs and operator.ms > 0 else None,
        }
        for operator in found
    ]
    if as_json:
        print(json.dumps({
            "variant": name, "threads": threads, "ms": whole,
            "peak_macs_per_second": {"int8" if integer else "float32": peak for integer, peak in peaks.items()}, "operators": rows,
        }, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("operator", "output", "ms", "share", "million MACs", "of the peak"):
        table.add_column(heading, justify="left" if heading in ("operator", "output") else "right")
    for row in rows:
        table.add_row(
            row["operator"], " × ".join(map(str, row["output"])), f"{row['ms']:.4f}", f"{row['share']:.1%}",
            f"{row['macs'] / 1e6:.2f}" if row["macs"] else "", f"{row['of_peak']:.0%}" if row["of_peak"] is not None else "",
        )
    console = Console(highlight=False)
    console.print(table)
    total = sum(operator.macs for operator in found)
    console.print(f"{name}: {whole:.3f} ms, {total / 1e6:.1f} million MACs, {threads} thread{'s' if threads > 1 else ''}")
    for integer, peak in peaks.items():
        console.print(f"peak measured here, {'int8' if integer else 'float32'}: {peak / 1e9:.1f} billion MACs a second", style="dim")
