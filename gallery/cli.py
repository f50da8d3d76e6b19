"""``distill-index``: pictures into a gallery, and looking pictures up in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distill.console import DebugOption, Failure, JsonOption, UsageFailure, make_app, note, run_app
from distill.files import check_output

__all__ = ["app", "main"]

HELP = """Index pictures with a bundle's model, and find the most similar ones.

Examples:

    distill-index runs/bundle photos/ --out photos.gallery

    distill-index search photos.gallery holiday.jpg --html sheet.html

    distill-index search photos.gallery --sample 12 --html sheet.html

    distill-index info photos.gallery
"""

BUILD_HELP = """Embed pictures into a gallery (the command taken when none is named).

IMAGES is a folder of photos, at any depth, with or without a folder for each class; or a data
spec (glyphs, csv:FILE, cub200:PATH, …). Pictures that cannot be read are skipped and counted.

Interrupted? Run it again: what is embedded stays embedded. Run it again later, and new pictures
are added, deleted ones dropped, changed ones embedded again.

Examples:

    distill-index runs/bundle photos/ --out photos.gallery

    distill-index runs/bundle glyphs --part test --out glyphs.gallery

    distill-index runs/bundle photos/ --variant tflite-float32 --dtype float32 --out float.gallery
"""

app = make_app(HELP, default_command="build")

WHAT, HOW, QUERY = "Pictures", "Gallery", "Queries"
GALLERY = typer.Argument(metavar="GALLERY", help="A file that distill-index wrote.", show_default=False)


@app.command(help=BUILD_HELP)
def build(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Folder made by distill-export.", show_default=False)
    ],
    images: Annotated[str, typer.Argument(metavar="IMAGES", help="A folder, or a data spec.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="GALLERY", help="File to write or bring up to date.", show_default=False),
    ],
    part: Annotated[str, typer.Option(help="test, train or all of a data spec.", rich_help_panel=WHAT)] = "all",
    split: Annotated[
        str,
        typer.Option(
            help="Which classes are for training: half, a number, a fraction, official.", rich_help_panel=WHAT
        ),
    ] = "half",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many pictures, evenly spread.", rich_help_panel=WHAT, show_default=False),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="Which model of the bundle embeds. Default: tflite-int8, which phones run, else the first.",
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
        typer.Option(min=0, max=1024, help="Longer side of the thumbnails in pixels; 0: none.", rich_help_panel=HOW),
    ] = 128,
    bits: Annotated[
        bool | None,
        typer.Option(
            "--bits/--no-bits",
            help="Sign bits for a quicker search. Default: from 100,000 pictures up.",
            rich_help_panel=HOW,
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Batches embedded at once. Default: one for every core.",
            rich_help_panel=HOW,
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Embed everything anew, whatever gallery --out holds.", rich_help_panel=HOW),
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    if dtype not in ("int8", "float32"):
        raise UsageFailure(f"--dtype {dtype}", "take int8 or float32")
    check_output(out, [bundle])
    from export.bundle import load_bundle
    from gallery.build import Options
    from gallery.build import build as build_gallery
    from gallery.images import open_images
    from gallery.show import built_json, print_built

    opened = load_bundle(bundle)
    found = open_images(images, part, split, limit)
    options = Options(variant, dtype, thumbnails, bits, workers, overwrite)
    done = build_gallery(opened, found, out, options)
    if as_json:
        typer.echo(json.dumps(built_json(done)))
    else:
        print_built(done)


@app.command()
def search(
    gallery: Annotated[Path, GALLERY],
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="[PHOTO]...", help="Pictures to look up.", show_default=False)
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="The bundle that embeds the photos. Default: where it lay when the gallery was made.",
            rich_help_panel=QUERY,
            show_default=False,
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="Which of its models. Default: the one that made the gallery.",
            rich_help_panel=QUERY,
            show_default=False,
        ),
    ] = None,
    asymmetric: Annotated[
        bool,
        typer.Option(
            "--asymmetric",
            help="Allow another model of the same space: another variant of the checkpoint, or teacher and student.",
            rich_help_panel=QUERY,
        ),
    ] = False,
    picture: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            help="Look up a picture of the gallery itself. Repeatable; needs no model.",
            rich_help_panel=QUERY,
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Look up so many pictures of the gallery, drawn at random.",
            rich_help_panel=QUERY,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of --sample.", rich_help_panel=QUERY)] = 0,
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbours of each query.")] = 20,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every picture, also where there are sign bits.")
    ] = False,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", help="Write a contact sheet here: one file, works offline.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find the most similar pictures.

    Examples:

        distill-index search photos.gallery holiday.jpg

        distill-index search photos.gallery *.jpg -k 12 --html sheet.html

        distill-index search teacher.gallery holiday.jpg --bundle runs/bundle --asymmetric
    """
    given = [bool(photos), bool(picture), sample is not None]
    if sum(given) != 1:
        raise UsageFailure(
            "search: nothing to look up" if not any(given) else "search: photos, --id and --sample exclude each other",
            "name photos, or give --id ID, or --sample 12",
        )
    check_output(html_file, [gallery, *(photos or []), *([bundle] if bundle else [])])
    import numpy as np

    from gallery.format import open_gallery
    from gallery.query import ask_photos, ask_rows, find_rows, open_asker
    from gallery.show import how_searched, print_answers

    opened = open_gallery(gallery)
    if not len(opened):
        raise Failure(f"{gallery}: an empty gallery", "index some pictures first")
    way = True if exact else None
    relation = None
    if photos:
        asker = open_asker(opened, bundle, variant, asymmetric)
        relation = asker.relation
        answers = ask_photos(opened, asker, photos, k, way)
    else:
        rows = (
            find_rows(opened, picture)
            if picture
            else np.sort(np.random.default_rng(seed).permutation(len(opened))[:sample]).tolist()
        )
        answers = ask_rows(opened, rows, k, way)
    how = how_searched(opened, k, exact)
    reason = relation.reason if relation and relation.kind == "asymmetric" else ""
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "gallery": str(gallery),
                    "search": how,
                    "relation": relation._asdict() if relation else None,
                    "queries": [answer.as_json() for answer in answers],
                }
            )
        )
    elif not html_file or photos:
        print_answers(answers)
    if reason:
        note(f"asymmetric: {reason}")
    if html_file:
        from gallery.sheet import write_sheet

        write_sheet(html_file, opened, answers, how, f"Asymmetric search: {reason}." if reason else "")
        note(f"contact sheet: {html_file}")


@app.command()
def info(gallery: Annotated[Path, GALLERY], as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Print what a gallery says of itself.

    Example:

        distill-index info photos.gallery
    """
    from gallery.format import open_gallery
    from gallery.show import print_info

    opened = open_gallery(gallery)
    if as_json:
        typer.echo(json.dumps(opened.header.model_dump(mode="json") | {"file_bytes": gallery.stat().st_size}, indent=2))
    else:
        print_info(opened)


@app.command()
def check(gallery: Annotated[Path, GALLERY], as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Read a gallery whole: hashes, names, numbers, signs. Exit code 1 where something is wrong.

    Example:

        distill-index check photos.gallery
    """
    from gallery.format import check_gallery, open_gallery

    opened = open_gallery(gallery)
    check_gallery(opened)
    if as_json:
        typer.echo(json.dumps({"gallery": str(gallery), "passed": True, "count": len(opened)}))
    else:
        typer.echo(f"{gallery}: {len(opened):,} pictures, all sections whole")


def main() -> None:
    """Entry point of ``distill-index``."""
    raise SystemExit(run_app(app))


if __name__ == "__main__":
    main()
