"""Command ``distill-index``: index images in a gallery, and search it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.console import (
    DebugOption,
    Failure,
    JsonOption,
    JsonOutOption,
    UsageFailure,
    answer,
    make_app,
    note,
    run_app,
    suggest,
)
from distill.files import check_output

__all__ = ["app", "main"]

HELP = """Index images with a bundle's model, and find the most similar ones.

Examples:

    distill-index runs/bundle photos/ --out photos.gallery

    distill-index search photos.gallery holiday.jpg --html sheet.html

    distill-index search photos.gallery --sample 12 --html sheet.html

    distill-index info photos.gallery
"""

BUILD_HELP = """Embed images and write them to a gallery (the default command).

IMAGES is a folder of images at any depth, with or without one folder per class, or a data spec
(glyphs, csv:FILE, cub200:PATH and others). Unreadable images are skipped and counted.

After an interruption, run the same command again: it continues where it stopped. Run it later to
update the gallery: new images are added, deleted ones dropped, changed ones embedded again.

Examples:

    distill-index runs/bundle photos/ --out photos.gallery

    distill-index runs/bundle glyphs --part test --out glyphs.gallery

    distill-index runs/bundle photos/ --variant tflite-float32 --dtype float32 --out float.gallery
"""

app = make_app(HELP, default_command="build", program="distill-index")

WHAT, HOW, QUERY = "Images", "Gallery", "Queries"
GALLERY = typer.Argument(metavar="GALLERY", help="File written by distill-index.", show_default=False)


@app.command(help=BUILD_HELP)
def build(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Folder written by distill-export.", show_default=False)
    ],
    images: Annotated[str, typer.Argument(metavar="IMAGES", help="Folder or data spec.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="GALLERY", help="File to write or update.", show_default=False),
    ],
    part: Annotated[str, typer.Option(help="Part of a data spec: test, train or all.", rich_help_panel=WHAT)] = "all",
    split: Annotated[
        str | None,
        typer.Option(
            help="Classes for training: half, a number, a fraction, official. Default: half; without labels 0.8 of the images.",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of images, evenly spread over the set.",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="Variant of the bundle that embeds. Default: tflite-int8, which phones run, or else the first.",
            rich_help_panel=HOW,
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            help="int8 (a quarter of the size; ranks as well, see docs/gallery.md) or float32.", rich_help_panel=HOW
        ),
    ] = "int8",
    thumbnails: Annotated[
        int,
        typer.Option(
            min=0, max=1024, help="Longer side of the thumbnails in pixels; 0 writes none.", rich_help_panel=HOW
        ),
    ] = 128,
    bits: Annotated[
        bool | None,
        typer.Option(
            "--bits/--no-bits",
            help="Write sign bits for a faster search. Default: from 100,000 images up.",
            rich_help_panel=HOW,
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Batches embedded in parallel. Default: one per core.",
            rich_help_panel=HOW,
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Embed everything again and replace the gallery.", rich_help_panel=HOW),
    ] = False,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    if dtype not in ("int8", "float32"):
        raise UsageFailure(f"--dtype {dtype}: no such type", suggest(dtype, ("int8", "float32")))
    for path in (out, json_out):
        check_output(path, [bundle])
    from export.bundle import load_bundle
    from gallery.build import IndexOptions, build_gallery
    from gallery.images import open_images
    from gallery.show import print_report, report_json

    opened = load_bundle(bundle)
    found = open_images(images, part, split, limit)
    options = IndexOptions(variant, dtype, thumbnails, bits, workers, overwrite)
    report = build_gallery(opened, found, out, options)
    answer(report_json(report), lambda: print_report(report), as_json, json_out)


@app.command()
def search(
    gallery: Annotated[Path, GALLERY],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE", help="Image files to query.", show_default=False)
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Bundle that embeds the queries. Default: its path when the gallery was written.",
            rich_help_panel=QUERY,
            show_default=False,
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="Variant of the bundle. Default: the one that embedded the gallery.",
            rich_help_panel=QUERY,
            show_default=False,
        ),
    ] = None,
    asymmetric: Annotated[
        bool,
        typer.Option(
            "--asymmetric",
            help="Allow another model with the same embedding space: another variant, or teacher and student.",
            rich_help_panel=QUERY,
        ),
    ] = False,
    ids: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            help="Query with an image of the gallery. Repeatable; needs no model.",
            rich_help_panel=QUERY,
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Query with this many images of the gallery, drawn at random.",
            rich_help_panel=QUERY,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of --sample.", rich_help_panel=QUERY)] = 0,
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbours of each query.")] = 20,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every image, even if there are sign bits.")
    ] = False,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", help="Write a contact sheet to this file; works offline.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Find the most similar images.

    Examples:

        distill-index search photos.gallery holiday.jpg

        distill-index search photos.gallery *.jpg -k 12 --html sheet.html

        distill-index search teacher.gallery holiday.jpg --bundle runs/bundle --asymmetric
    """
    given = [bool(images), bool(ids), sample is not None]
    if sum(given) != 1:
        raise UsageFailure(
            "search: no query" if not any(given) else "search: image files, --id and --sample exclude each other",
            "give image files, or --id ID, or --sample 12",
        )
    for path in (html_file, json_out):
        check_output(path, [gallery, *(images or []), *([bundle] if bundle else [])])
    import numpy as np

    from gallery.format import open_gallery
    from gallery.query import find_rows, open_query_model, query_by_images, query_by_rows
    from gallery.show import how_searched, print_answers

    opened = open_gallery(gallery)
    if not len(opened):
        raise Failure(f"{gallery}: an empty gallery", "index some images first")
    way = True if exact else None
    relation = None
    if images:
        model = open_query_model(opened, bundle, variant, asymmetric)
        relation = model.relation
        answers = query_by_images(opened, model, images, k, way)
    else:
        rows = (
            find_rows(opened, ids)
            if ids
            else np.sort(np.random.default_rng(seed).permutation(len(opened))[:sample]).tolist()
        )
        answers = query_by_rows(opened, rows, k, way)
    how = how_searched(opened, k, exact)
    reason = relation.reason if relation and relation.kind == "asymmetric" else ""
    value = {
        "gallery": str(gallery),
        "search": how,
        "relation": relation._asdict() if relation else None,
        "queries": [each.as_json() for each in answers],
    }
    answer(value, lambda: print_answers(answers if images or not html_file else []), as_json, json_out)
    if reason:
        note(f"asymmetric: {reason}")
    if html_file:
        from gallery.sheet import write_sheet

        write_sheet(html_file, opened, answers, how, f"Asymmetric search: {reason}." if reason else "")
        note(f"contact sheet: {html_file}")


@app.command()
def info(
    gallery: Annotated[Path, GALLERY],
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Print the header of a gallery.

    Example:

        distill-index info photos.gallery
    """
    from gallery.format import open_gallery
    from gallery.show import print_info

    check_output(json_out, [gallery])
    opened = open_gallery(gallery)
    value = opened.header.model_dump(mode="json") | {"file_bytes": gallery.stat().st_size}
    answer(value, lambda: print_info(opened), as_json, json_out, indent=2)


@app.command()
def check(
    gallery: Annotated[Path, GALLERY],
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Verify a whole gallery: hashes, ids, embeddings, sign bits. Exit code 1 if something is wrong.

    Example:

        distill-index check photos.gallery
    """
    from gallery.format import check_gallery, open_gallery

    check_output(json_out, [gallery])
    opened = open_gallery(gallery)
    check_gallery(opened)
    text = f"{gallery}: {len(opened):,} images, all sections intact"
    value = {"gallery": str(gallery), "passed": True, "count": len(opened)}
    answer(value, lambda: typer.echo(text), as_json, json_out)


def main() -> None:
    """Entry point of ``distill-index``."""
    raise SystemExit(run_app(app))


if __name__ == "__main__":
    main()
