"""``distill-bench pairs``: verification accuracy of a bundle, such as that of a face recogniser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.devices import all_device_options
from benchmark.options import PairOptions
from distill.console import DebugOption, JsonOption, JsonOutOption, answer, plain_table, result_console
from distill.files import check_output
from distill.options import make_options, with_flags

__all__ = ["pairs"]

DeviceFlags = all_device_options()


@with_flags(PairOptions, DeviceFlags)
def pairs(
    bundle: Annotated[Path, typer.Argument(help="Folder made by distill-export.", show_default=False)],
    given: dict[str, Any],
    pairs: Annotated[
        Path,
        typer.Option("--pairs", help="Pairs to judge: ten sets (LFW's pairs.txt), or one with --threshold-pairs."),
    ],
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Measure how often pairs of images are correctly judged as the same or different.

    The protocol is that of Labeled Faces in the Wild: every variant has its own threshold, chosen on other pairs. With
    --checkpoint, the drop of each variant against PyTorch on the same pairs is shown with its 95 % interval.

    Examples:

        distill-bench pairs BUNDLE --data lfw:lfw --pairs lfw/pairsDevTest.txt --threshold-pairs lfw/pairsDevTrain.txt

        distill-bench pairs BUNDLE --data lfw:lfw --pairs lfw/pairs.txt --checkpoint runs/student --json
    """
    from benchmark.pairs import measure_pairs

    check_output(json_out, [bundle])
    device = {name: given.pop(name) for name in DeviceFlags.model_fields if name in given}
    found = measure_pairs(make_options(PairOptions, given, bundle=bundle, pairs=pairs, device_options=device))
    answer(found, lambda: _print(found), as_json, json_out, indent=2)


def _print(found: dict[str, Any]) -> None:
    from benchmark.text import percent, points

    table = plain_table()
    for heading in ("model", "accuracy [95 %]", "drop [95 %], points", "lost", "gained"):
        table.add_column(heading, justify="left" if heading == "model" else "right", overflow="fold")
    for row in found["models"]:
        if row["status"] == "failed":
            table.add_row(row["name"], "failed", row["error"] or "")
            continue
        low, high = row["ci95"]
        cells = [row["name"], f"{percent(row['accuracy'])} [{percent(low)}, {percent(high)}]"]
        if drop := row["drop"]:
            low, high = drop["ci95"]
            cells += [
                f"{points(drop['value'], True)} [{points(low, True)}, {points(high, True)}]",
                str(drop["lost"]),
                str(drop["gained"]),
            ]
        table.add_row(*cells)
    console = result_console()
    console.print(table)
    threshold = f", threshold from {found['threshold_pairs']}" if found["threshold_pairs"] else ""
    emulated = " (emulated)" if found["device"]["emulated"] else ""
    console.print(
        f"{found['count']:,} pairs of {found['pairs']}{threshold}, {found['people']:,} people of {found['data']}; "
        f"{found['device']['name']}: {found['device']['cpu']}{emulated}",
        style="dim",
        markup=False,
        soft_wrap=True,
    )
