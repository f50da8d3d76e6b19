"""Print a result as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.result import Recall, Reference, Result, VariantResult
from benchmark.text import few_classes, kilobytes, percent, points
from distill.console import plain_table, result_console

__all__ = ["print_result"]

KS = (1, 2, 4, 8)
WIDE = 92  # columns from which everything fits into one table
DROP = "drop of R@1 [95 %]"


def print_result(result: Result, console: Console | None = None) -> None:
    """Print the variants, the references and the verdict on stdout."""
    console = console or result_console()
    wide = console.width >= WIDE
    data = result.data
    parts = f"{data.images:,} images of {data.classes:,} classes, {data.part} part of {data.spec}"
    decoded = ", decoded on the device" if data.decoded_by == "device" else ""
    skipped = f", {data.skipped} unreadable skipped" if data.skipped else ""
    threads = f" · {_threads(result)}" if result.machine.latency else ""
    console.print(_variants(result, wide))
    if not wide and result.pytorch:
        console.print(_drops(result))
    few = result.data.few_classes
    if few is not None and any(variant.recall_drop for variant in result.variants):
        console.print(few_classes(few), style="yellow", markup=False)
    console.print(
        f"{parts}{skipped}{decoded}\n{result.machine.device}: {result.machine.cpu}, {result.machine.cores} cores{threads}"
        f"{'' if result.machine.delegate == 'xnnpack' else f' · delegate {result.machine.delegate}'}"
        f"{' · emulated: latency and memory withheld' if result.machine.emulated else ''}",
        style="dim",
        markup=False,
    )
    if result.decoding:
        both = (("decoding", result.decoding.decode_ms), ("resize and crop", result.decoding.resize_ms))
        costs = [f"{name} {ms.p50:.2f} ms, p90 {ms.p90:.2f}" for name, ms in both]
        console.print(f"per image on the device, before the network: {' · '.join(costs)}", style="dim", markup=False)
    measured = [f"{v.name} {v.memory_bytes / 1e6:.1f} MB" for v in result.variants if v.memory_bytes is not None]
    if measured:
        console.print(f"memory above the loaded engine: {' · '.join(measured)}", style="dim", markup=False)
    for variant in result.variants:
        if variant.energy:
            use = variant.energy
            net = "" if use.net_mj_per_inference is None else f", {use.net_mj_per_inference:.3g} above idle"
            console.print(
                f"energy of {variant.name}: {use.mj_per_inference:.3g} mJ per inference, whole device{net} "
                f"({use.watts:.2f} W by the {use.method} counter, {use.inferences:,} inferences in {use.seconds:.0f} s)",
                style="dim",
                markup=False,
                soft_wrap=True,
            )
    for line in _galleries(result.variant(result.verdict.candidate)):
        console.print(line, style="dim", markup=False)
    for gate in result.verdict.gates:
        value = (
            "not measured"
            if gate.value is None
            else f"{gate.value:,.{4 if not gate.unit else 2}f} {gate.unit}".rstrip()
        )
        mark, style = ("✓", "green") if gate.passed else ("✗", "red")
        console.print(
            f"{mark} {gate.name}: {value} ({'limit' if gate.kind == 'max' else 'at least'} {f'{gate.limit:g} {gate.unit}'.rstrip()})",
            style=style,
            markup=False,
        )
    for warning in result.verdict.warnings:
        console.print(f"! {warning}", style="yellow", markup=False, soft_wrap=True)
    style = "bold green" if result.verdict.passed else "bold red"
    console.print(result.verdict.text, style=style, markup=False, soft_wrap=True)


def _variants(result: Result, wide: bool) -> Table:
    table = plain_table()
    table.add_column("", overflow="fold")
    for heading in ("kB", "ms p50", "p90", "p99", *(f"R@{k}" for k in KS), "MAP@R", *([DROP] if wide else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    columns = len(table.columns)
    for variant in result.variants:
        table.add_row(*_variant_row(variant, result)[:columns])
    for reference in [result.pytorch, *result.references]:
        if reference is not None:
            table.add_row(*_reference_row(reference)[:columns], style="dim")
    return table


def _drops(result: Result) -> Table:
    table = plain_table()
    table.add_column("")
    table.add_column(DROP, justify="right", no_wrap=True)
    for variant in result.variants:
        table.add_row(variant.name, _drop(variant, result))
    return table


def _drop(variant: VariantResult, result: Result) -> str:
    if not variant.recall_drop:
        return "–"
    drop = variant.recall_drop[1]
    mark = "" if result.data.few_classes is None else "*"
    return f"{points(drop.value, True)} [{points(drop.ci95[0], True)}, {points(drop.ci95[1], True)}]{mark}"


def _variant_row(variant: VariantResult, result: Result) -> list[Text | str]:
    name = Text(variant.name, style="bold" if variant.name == result.verdict.candidate else "")
    if variant.status == "failed":
        return [name, kilobytes(variant.size_bytes), Text("failed", style="red")]
    latency = variant.latency_ms
    times = [f"{value:.2f}" for value in (latency.p50, latency.p90, latency.p99)] if latency else ["–"] * 3
    recall = [*_recall(variant.recall), percent(variant.map_at_r)]
    return [name, kilobytes(variant.size_bytes), *times, *recall, _drop(variant, result)]


def _reference_row(reference: Reference) -> list[str]:
    latency = reference.latency_ms
    times = [f"{value:.2f}" for value in (latency.p50, latency.p90, latency.p99)] if latency else ["–"] * 3
    name = f"{reference.name} ({reference.arch})"
    return [name, "–", *times, *_recall(reference.recall), percent(reference.map_at_r), "–"]


def _galleries(candidate: VariantResult) -> list[str]:
    """Return one line on stored galleries, and one on galleries that other models indexed."""
    lines = []
    if candidate.storage:
        parts = [f"{s.name} {s.bytes_per_image:,} bytes {percent(s.recall[1])}" for s in candidate.storage]
        drawn = _drawn(candidate.storage[0].queries)
        lines.append(f"gallery of {candidate.name}, bytes per image and R@1{drawn}: {' · '.join(parts)}")
    if candidate.asymmetric:
        parts = [
            f"{a.gallery} {percent(a.recall[1])} (drop {points(a.recall_drop.value)})" for a in candidate.asymmetric
        ]
        drawn = _drawn(candidate.asymmetric[0].queries)
        lines.append(f"queries of {candidate.name}, R@1{drawn} on a gallery indexed by: {' · '.join(parts)}")
    return lines


def _drawn(queries: int | None) -> str:
    return "" if queries is None else f" of {queries:,} queries drawn at random"


def _recall(recall: Recall | None) -> list[str]:
    return [percent(recall.get(k)) if recall else "–" for k in KS]


def _threads(result: Result) -> str:
    run = result.machine.latency
    assert run is not None
    return f"{run.threads} thread{'' if run.threads == 1 else 's'}, drift {100 * run.drift:+.1f} %"
