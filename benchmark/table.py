"""Print a result as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.result import Agreement, Asymmetric, Recall, Reference, Result, Storage, VariantResult, agreement_with
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
    classes = " without labels" if data.classes is None else f" of {data.classes:,} classes"
    parts = f"{data.images:,} images{classes}, {data.part} part of {data.spec}"
    decoded = ", decoded on the device" if data.decoded_by == "device" else ""
    skipped = f", {data.skipped} unreadable skipped" if data.skipped else ""
    threads = f" · {_threads(result)}" if result.machine.latency else ""
    console.print(_variants(result, wide))
    if not wide and result.pytorch and data.classes is not None:
        console.print(_drops(result))
    for name in _compared_with(result) if data.classes is None else ():
        console.print(f"agreement with {name}, %", style="bold", markup=False)
        console.print(_agreements(result, name, wide))
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
    candidate = result.variant(result.verdict.candidate)
    lines = [*(_agreement_lines(result) if data.classes is not None else []), *_galleries(candidate)]
    for line in lines:
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
    recall = [*(f"R@{k}" for k in KS), "MAP@R", *([DROP] if wide else [])] if result.data.classes is not None else []
    for heading in ("kB", "ms p50", "p90", "p99", *recall):
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


def _compared_with(result: Result) -> list[str]:
    """Return the names of what neighbours are compared with, PyTorch first."""
    return list(dict.fromkeys(one.reference for variant in result.variants for one in variant.agreement or ()))


def _agreements(result: Result, name: str, wide: bool) -> Table:
    """Return how far every model finds what one reference finds."""
    models: list[VariantResult | Reference] = [*result.variants, *([result.pytorch] if result.pytorch else [])]
    rows = [(model.name, found) for model in models if (found := agreement_with(model, name))]
    ks = list(rows[0][1].overlap)
    drops = any(found.overlap_drop for _, found in rows)
    table = plain_table()
    table.add_column("", overflow="fold")
    interval = wide or not drops
    for heading in (
        *(f"@{k}" for k in ks),
        *(["95 %"] if interval else []),
        "rank corr.",
        *(["drop [95 %]"] if drops else []),
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for model, found in rows:
        k = found.main_k
        low, high = found.overlap_ci95[k]
        drop = found.overlap_drop[k] if found.overlap_drop else None
        table.add_row(
            Text(model, style="bold" if model == result.verdict.candidate else ""),
            *(percent(found.overlap.get(k)) for k in ks),
            *([f"@{k} {percent(low)}–{percent(high)}"] if interval else []),
            _correlation(found),
            *(
                [f"{points(drop.value, True)} [{points(drop.ci95[0], True)}, {points(drop.ci95[1], True)}]"]
                if drop
                else []
            ),
        )
    return table


def _agreement_lines(result: Result) -> list[str]:
    """Return one line for each reference, where Recall comes first."""
    lines = []
    for name in _compared_with(result):
        found = [(v.name, one) for v in result.variants if (one := agreement_with(v, name))]
        k = found[0][1].main_k
        parts = [f"{variant} {percent(one.overlap[k])} % ({_correlation(one)})" for variant, one in found]
        lines.append(f"agreement@{k} (rank correlation) with {name}: {' · '.join(parts)}")
    return lines


def _correlation(found: Agreement) -> str:
    return "–" if found.rank_correlation is None else f"{found.rank_correlation:.3f}".replace("-", "−")


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
    recall = [*_recall(variant.recall), percent(variant.map_at_r), _drop(variant, result)]
    return [name, kilobytes(variant.size_bytes), *times, *recall]


def _reference_row(reference: Reference) -> list[str]:
    latency = reference.latency_ms
    times = [f"{value:.2f}" for value in (latency.p50, latency.p90, latency.p99)] if latency else ["–"] * 3
    name = f"{reference.name} ({reference.arch})"
    return [name, "–", *times, *_recall(reference.recall), percent(reference.map_at_r), "–"]


def _galleries(candidate: VariantResult) -> list[str]:
    """Return one line on stored galleries, and one on galleries that other models indexed."""
    lines = []
    if candidate.storage:
        parts = [f"{s.name} {s.bytes_per_image:,} bytes {_figure(s)}".rstrip() for s in candidate.storage]
        what = "R@1" if candidate.storage[0].recall else "agreement with float32"
        drawn = _drawn(candidate.storage[0].queries)
        lines.append(f"gallery of {candidate.name}, bytes per image and {what}{drawn}: {' · '.join(parts)}")
    if candidate.asymmetric:
        parts = [f"{a.gallery} {_figure(a)}" for a in candidate.asymmetric]
        what = "R@1" if candidate.asymmetric[0].recall else "agreement with the gallery model's own queries"
        drawn = _drawn(candidate.asymmetric[0].queries)
        lines.append(f"queries of {candidate.name}, {what}{drawn} on a gallery indexed by: {' · '.join(parts)}")
    return lines


def _figure(row: Storage | Asymmetric) -> str:
    """Return Recall@1 or, without labels, the agreement."""
    if row.recall:
        drop = row.recall_drop if isinstance(row, Asymmetric) else None
        return percent(row.recall[1]) + (f" (drop {points(drop.value)})" if drop else "")
    if row.agreement is None:
        return ""
    k = row.agreement.main_k
    return f"@{k} {percent(row.agreement.overlap[k])} %"


def _drawn(queries: int | None) -> str:
    return "" if queries is None else f" of {queries:,} queries drawn at random"


def _recall(recall: Recall | None) -> list[str]:
    return [percent(recall.get(k)) if recall else "–" for k in KS]


def _threads(result: Result) -> str:
    run = result.machine.latency
    assert run is not None
    return f"{run.threads} thread{'' if run.threads == 1 else 's'}, drift {100 * run.drift:+.1f} %"
