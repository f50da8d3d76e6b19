"""Print exports and bundles as tables, or return them as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from distill.console import note, result_console
from export.attempt import TargetResult
from export.bundle.card import flat_metrics
from export.bundle.golden_files import FileCheck
from export.bundle.read import Bundle
from export.bundle.schema import Check, Operator, Variant
from export.bundle.verify import VariantCheck
from export.int8.layer_errors import write_report
from export.pipeline import Export

__all__ = ["export_json", "print_bundle", "print_checks", "print_export", "write_layers"]

_STYLE = {"passed": "green", "failed": "red", "broken": "red", "unchecked": "yellow"}


def print_export(export: Export) -> None:
    """Print one row for each target."""
    console = _console()
    table = _variant_table()
    for result in export.results:
        table.add_row(*_cells(result.target.name, result.variant, result.state))
    console.print(table)
    for result in export.results:
        if result.problem:
            console.print(f"{result.target.name}: {result.problem}", markup=False, soft_wrap=True)


def export_json(export: Export) -> dict[str, Any]:
    """Return ``{"bundle": …, "passed": …, "variants": [{"name", "state", "problem", …}]}``."""
    return {
        "bundle": str(export.folder) if export.folder else None,
        "passed": export.passed,
        "variants": [_result_json(result) for result in export.results],
    }


def _result_json(result: TargetResult) -> dict[str, Any]:
    row: dict[str, Any] = {"name": result.target.name, "state": result.state, "problem": result.problem}
    row["build_seconds"] = round(result.seconds, 3)
    if result.variant is not None:
        row |= result.variant.model_dump(mode="json", exclude={"name"})
    return row


def write_layers(export: Export, folder: Path, quiet: bool) -> None:
    """Write the layer comparison of every target that has one to ``folder``, and print it unless ``quiet``."""
    console = _console()
    for result in export.results:
        if not result.layers:
            continue
        paths = write_report(folder, result.target.name, list(result.layers))
        note(f"wrote {', '.join(str(path) for path in paths)}")
        if quiet:
            continue
        table = Table(title=f"{result.target.name}: compared with float")
        for column in ("layer", "min cos", "SNR, dB", "range", "channel", "low"):
            left = column == "layer"
            table.add_column(column, justify="left" if left else "right", no_wrap=not left, overflow="fold")
        for row in result.layers:
            shares = (row.range_use, row.channel_use, row.low_channels)
            table.add_row(row.name, f"{row.cosine:.4f}", f"{row.snr_db:.1f}", *(f"{share:.0%}" for share in shares))
        console.print(table)


def print_bundle(bundle: Bundle) -> None:
    """Print the whole description of a bundle."""
    manifest, console = bundle.manifest, _console()
    pre, origin = manifest.preprocessing, manifest.provenance
    facts = Table(show_header=False, box=None, title=f"bundle {manifest.name}", title_justify="left")
    source = origin.source
    rows = {
        "input": f"{pre.input_size} x {pre.input_size} {pre.colour_order}, shorter side to {pre.resize_size} "
        f"({pre.resize_rule}), {pre.crop} crop",
        "scaling": f"(pixel - {_triple(pre.mean)}) / {_triple(pre.std)}",
        "embedding": f"{manifest.embedding_size} values, {manifest.normalisation} normalised",
        "made from": f"{source.kind} {source.arch}, id {source.id}, weights {source.sha256[:16]}…",
        "trained on": str(source.data.get("spec", "not recorded")),
        "first weights": ", ".join(f"{key} {value}" for key, value in source.weights.items()) or "none recorded",
        "measured": ", ".join(f"{name} {value:.4f}" for name, value in flat_metrics(source.metrics)) or "nothing",
        "space of": source.space or "its own",
        "calibration": f"{c.count} images of {c.data}{f', {c.part} part' if c.part else ''}, seed {c.seed}"
        if (c := origin.calibration)
        else "none",
        "golden": f"{manifest.golden.count} images, {len(manifest.golden.files)} of them as files, "
        f"{len(manifest.golden.expected)} sets of embeddings, {_hashed_inputs(bundle)}",
        "made": f"{origin.created} by {origin.tool}",
        "versions": ", ".join(f"{name} {version}" for name, version in origin.versions.items()),
        "model card": manifest.model_card.file if manifest.model_card else "none",
        "licence": f"model: {origin.licence.model or 'not stated'}; data: {origin.licence.data or 'not stated'}",
    }
    for label, value in rows.items():
        facts.add_row(label, _escape(value))
    console.print(facts)
    table = _variant_table()
    for variant in manifest.variants:
        state = "unchecked" if variant.check is None else ("passed" if variant.check.passed else "failed")
        table.add_row(*_cells(variant.name, variant, state))
    console.print(table)
    for variant in manifest.variants:
        console.print(f"{variant.name}: {_operators(variant.operators)}", markup=False, soft_wrap=True)
        ends = f"  takes {_tensor(variant.input)}, gives {_tensor(variant.output)}{_repair(variant)}{_ranges(variant)}"
        console.print(ends, markup=False, soft_wrap=True)


def print_checks(files: list[FileCheck], variants: list[VariantCheck]) -> None:
    """Print one row for each golden file, and one for each variant."""
    _print_file_checks(files)
    _print_variant_checks(variants)


def _print_variant_checks(checks: list[VariantCheck]) -> None:
    """Print one row for each variant."""
    table = _table("variant", "input", "min cos", "limit", "max diff", "state")
    inputs = {True: "exact", False: "differs", None: "not kept"}
    for check in checks:
        cosine = "" if check.min_cosine is None else f"{check.min_cosine:.6f}"
        difference = "" if check.max_abs_diff is None else f"{check.max_abs_diff:.2g}"
        state = "passed" if check.passed else "failed"
        same = "" if check.min_cosine is None else inputs[check.same_inputs]
        table.add_row(check.variant, same, cosine, f"{check.limit:g}", difference, f"[{_STYLE[state]}]{state}[/]")
    console = _console()
    console.print(table)
    for check in checks:
        if check.problem:
            console.print(f"{check.variant}: {check.problem}", markup=False, soft_wrap=True)


def _print_file_checks(checks: list[FileCheck]) -> None:
    """Print one row for each golden file; nothing for a bundle without any."""
    if not checks:
        return
    table = _table("golden file", "decoded", "resized", "levels off", "state")
    for check in checks:
        state = "passed" if check.passed else "failed"
        exact = ["exact" if step else "differs" for step in (check.decoded, check.resized)]
        levels = "" if check.max_level_diff is None else str(check.max_level_diff)
        table.add_row(check.file, *exact, levels, f"[{_STYLE[state]}]{state}[/]")
    console = _console()
    console.print(table)
    for check in checks:
        if check.problem:
            console.print(f"{check.file}: {check.problem}", markup=False, soft_wrap=True)


def _hashed_inputs(bundle: Bundle) -> str:
    expected = bundle.manifest.golden.expected
    bare = [variant.name for variant in bundle.manifest.variants if not expected[variant.name].input_sha256]
    return f"no hashes of the input tensors of {', '.join(bare)}" if bare else "hashes of input tensors"


def _console() -> Console:
    return result_console(80)


def _table(first: str, *others: str) -> Table:
    """Return a table whose first column folds long names; the others keep their headings whole."""
    table = Table()
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, no_wrap=True)
    return table


def _variant_table() -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))  # long names and their state side by side in 80 columns
    table.add_column("variant", overflow="fold")
    for column in ("size, kB", "ops", "max diff", "min cos", "mean cos"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("state")
    return table


def _cells(name: str, variant: Variant | None, state: str) -> list[str]:
    word = f"[{_STYLE[state]}]{state}[/]"
    if variant is None:
        return [name, "", "", "", "", "", word]
    count = sum(operator.count for operator in variant.operators)
    return [name, f"{variant.size_bytes / 1000:.1f}", str(count), *_numbers(variant.check), word]


def _numbers(check: Check | None) -> list[str]:
    if check is None:
        return ["", "", ""]
    return [f"{check.max_abs_diff:.1e}", f"{check.min_cosine:.6f}", f"{check.mean_cosine:.6f}"]


def _operators(operators: tuple[Operator, ...]) -> str:
    return ", ".join(f"{operator.count} {operator.name}" for operator in operators) or "operators not listed"


def _repair(variant: Variant) -> str:
    if variant.fine_tuning is None:
        return "" if variant.repair == "none" else f", repaired by {variant.repair}"
    return f", repaired by {variant.repair} ({variant.fine_tuning.summary()})"


def _ranges(variant: Variant) -> str:
    ranges = f", ranges by {variant.calibration_range}" if variant.calibration_range else ""
    return ranges + (f", in float: {', '.join(variant.in_float)}" if variant.in_float else "")


def _tensor(spec: Any) -> str:
    scale = "" if spec.scale is None else f" scale {spec.scale:g} zero point {spec.zero_point}"
    return f"{spec.dtype} {list(spec.shape)}{scale}"


def _triple(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "[" + ", ".join(f"{v:g}" for v in values) + "]"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
