"""Make the screenshots of the documentation again.

    python scripts/pictures.py report runs/demo/report.html docs/report.png
    python scripts/pictures.py app build/app-test/app0/android_demo/app/target/screenshots docs/app.png

`report` photographs the first sections of a report of `make demo` with Chromium. `app` joins screenshots that the tests of
the app write, here with the demo's model:

    APP_BUNDLE=runs/demo/bundle pytest tests/android/test_android_app_build.py -k robolectric --basetemp build/app-test
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageChops

from distill.console import DebugOption, Failure, make_app, run_app
from distill.files import atomic_path, check_output, require_file

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# What follows the comparison of Recall@1 would make the picture too tall for a page.
FIRST_SECTIONS = "<style>#references ~ *, footer { display: none } body { margin-bottom: 0 }</style></head>"
TALL = 4000  # pixels, more than the sections need: the empty rest is cut off
MARGIN = 20
SCREENS = ("results-light", "results-dark", "photos-light", "about-light")
SCREEN_WIDTH, GAP, GROUND = 330, 16, "#c5cbca"

app = make_app(__doc__ or "")

OutArgument = Annotated[Path, typer.Argument(help="PNG file to write.")]


@app.command()
def report(
    page: Annotated[Path, typer.Argument(help="HTML report of distill-bench.")],
    out: OutArgument,
    width: Annotated[int, typer.Option(min=300, max=4000, help="Width of the window in pixels.")] = 1000,
    debug: DebugOption = False,
) -> None:
    """Photograph a report, up to the comparison of Recall@1."""
    require_file(page, "make demo writes runs/demo/report.html")
    check_output(out)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise Failure("no Chromium here", "install it, for example: apt-get install chromium")
    # Chromium packed as a snap reads no hidden and no temporary folder.
    with tempfile.TemporaryDirectory(dir=out.resolve().parent, prefix="report-") as scratch:
        shown, shot = Path(scratch) / "report.html", Path(scratch) / "shot.png"
        shown.write_text(page.read_text(encoding="utf-8").replace("</head>", FIRST_SECTIONS, 1), encoding="utf-8")
        words = ["--headless", "--hide-scrollbars", "--disable-gpu", "--force-device-scale-factor=1"]
        words += ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses its sandbox to root
        words += [f"--window-size={width},{TALL}", f"--screenshot={shot}", shown.as_uri()]
        done = subprocess.run([browser, *words], capture_output=True, text=True, check=False, timeout=120)
        if done.returncode or not shot.exists():
            raise Failure(f"{browser} took no screenshot: {done.stderr.strip()[-300:]}", "see its message")
        save(cut(Image.open(shot).convert("RGB")), out)


@app.command("app")
def join(
    folder: Annotated[Path, typer.Argument(help="Folder of screenshots.")],
    out: OutArgument,
    debug: DebugOption = False,
) -> None:
    """Join four screenshots of the app, side by side."""
    for name in SCREENS:
        require_file(folder / f"{name}.png", "run the tests of the app first, see --help")
    check_output(out)
    screens = [Image.open(folder / f"{name}.png").convert("RGB") for name in SCREENS]
    height = round(max(screen.height * SCREEN_WIDTH / screen.width for screen in screens))
    joined = Image.new("RGB", (GAP + len(screens) * (SCREEN_WIDTH + GAP), height + 2 * GAP), GROUND)
    for number, screen in enumerate(screens):
        joined.paste(
            screen.resize((SCREEN_WIDTH, height), Image.Resampling.LANCZOS), (GAP + number * (SCREEN_WIDTH + GAP), GAP)
        )
    save(joined, out)


def cut(image: Image.Image) -> Image.Image:
    """Cut off the rows at the bottom that are all background, except for a margin."""
    ground = Image.new("RGB", image.size, image.getpixel((0, image.height - 1)))
    box = ImageChops.difference(image, ground).getbbox()
    if box is None:
        raise Failure("the page is empty", "open it in a browser")
    return image.crop((0, 0, image.width, min(image.height, box[3] + MARGIN)))


def save(image: Image.Image, out: Path) -> None:
    """Write a PNG file of 256 colours, a third of the size."""
    with atomic_path(out) as temporary:
        image.quantize(256, dither=Image.Dither.NONE).save(temporary, format="PNG", optimize=True)


if __name__ == "__main__":
    raise SystemExit(run_app(app, sys.argv[1:]))
