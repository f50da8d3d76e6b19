"""Compare the embeddings of a device with this computer's, bit by bit.

    python scripts/benchmarks/device_numerics.py runs/demo/bundle --device emulated-arm64:arm64 --limit 1000

Both embed the same preprocessed images. Reports the share of bit-identical embeddings (``equal``), the largest
difference of a component, the lowest cosine, and Recall@1 of each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmark.devices import open_device
from benchmark.parity import score
from benchmark.subject import choose_images
from distill.console import DebugOption, JsonOption, make_app, note, run_app
from distill.data.batches import pixel_batches
from export.bundle import load_bundle

app = make_app(__doc__ or "", default_command="run")


@app.command()
def run(
    bundle: Annotated[Path, typer.Argument(help="Folder made by distill-export.", show_default=False)],
    device: Annotated[str, typer.Option(help="As for distill-bench.", show_default=False)],
    data: Annotated[str | None, typer.Option(help="Images. Default: the training data.", show_default=False)] = None,
    part: Annotated[str, typer.Option(help="test, train or all.")] = "test",
    limit: Annotated[
        int | None, typer.Option(min=2, help="Approximate number of images, as whole classes.", show_default=False)
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="Only this variant. Repeatable.", show_default=False)
    ] = None,
    remote_folder: Annotated[str | None, typer.Option(help="As for distill-bench.", show_default=False)] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Embed on both and compare."""
    opened = load_bundle(bundle)
    names = list(variant or (found.name for found in opened.manifest.variants))
    subject = choose_images(opened, data, None, part, limit)
    batches, indices = [], []
    for pixels, where in pixel_batches(subject.images, opened.manifest.preprocessing, batch_size=64, label="reading"):
        batches.append(pixels)
        indices.append(where)
    labels = subject.images.labels[np.concatenate(indices)]
    note(f"{len(labels):,} images of {len(np.unique(labels)):,} classes")
    here = open_device("host").embed(opened, names, batches, 1)
    options = {"remote_folder": remote_folder} if remote_folder else {}
    there_device, done = open_device(device, **options), False
    try:
        there = there_device.embed(opened, names, batches, 1)
        done = True
    finally:
        there_device.close(done)
    rows = []
    for name in names:
        a, b = here[name].embeddings, there[name].embeddings
        if a is None or b is None:
            rows.append({"variant": name, "error": here[name].error or there[name].error})
            continue
        rows.append(
            {
                "variant": name,
                "equal": float((a == b).all(axis=1).mean()),
                "largest_difference": float(np.abs(a - b).max()),
                "lowest_cosine": float(np.einsum("nd,nd->n", a, b, dtype=np.float64).min()),
                "recall_here": score(a, labels).recall[1],
                "recall_there": score(b, labels).recall[1],
            }
        )
    if as_json:
        print(json.dumps({"images": len(labels), "device": device, "variants": rows}, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("variant", "equal", "largest difference", "lowest cosine", "R@1 here", "R@1 there"):
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    for row in rows:
        if "error" in row:
            table.add_row(row["variant"], row["error"])
        else:
            table.add_row(
                row["variant"],
                f"{row['equal']:.2%}",
                f"{row['largest_difference']:.2g}",
                f"{row['lowest_cosine']:.6f}",
                f"{row['recall_here']:.2%}",
                f"{row['recall_there']:.2%}",
            )
    Console(highlight=False).print(table)


if __name__ == "__main__":
    raise SystemExit(run_app(app))
