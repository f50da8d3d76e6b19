"""Draw the picture of the chain that README shows.

    python scripts/chain_figure.py docs/chain.svg

The picture has its own light background, so that it is readable on light and dark pages. Text is drawn as outlines, which
look the same everywhere.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.console import DebugOption, make_app, run_app
from distill.files import atomic_path, check_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 1000, 348  # pixels, y downwards
INK, MUTED, LINE, PAPER, CARD = "#1b2130", "#566074", "#c3cad6", "#f4f6f9", "#ffffff"
BLUE, ORANGE = "#2f5bea", "#b85c0c"
CARD_TOP, CARD_BOTTOM = 76, 262
CHARACTERS = "AaGgR♞☂✿◔"  # the demo draws such images itself

app = make_app(__doc__ or "", default_command="draw")


class Drawing:
    """Shapes and text on one pair of axes; text that leaves its box is an error."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes

    def box(self, left: float, top: float, width: float, height: float, **style: Any) -> None:
        from matplotlib.patches import FancyBboxPatch

        settings = {"facecolor": CARD, "edgecolor": LINE, "linewidth": 1} | style
        shape = f"round,pad=0,rounding_size={settings.pop('radius', 10)}"
        self.axes.add_patch(FancyBboxPatch((left, top), width, height, boxstyle=shape, **settings))

    def arrow(self, start: tuple[float, float], end: tuple[float, float], color: str = MUTED) -> None:
        from matplotlib.patches import FancyArrowPatch

        shape = {"arrowstyle": "-|>", "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0}
        self.axes.add_patch(FancyArrowPatch(start, end, color=color, linewidth=1.6, **shape))

    def text(self, x: float, y: float, words: str, size: float, room: float, **style: Any) -> None:
        """Write words around (x, y).

        Args:
            size: height of the font in pixels.
            room: width in pixels that the words may take.
        """
        settings: dict[str, Any] = {"color": INK, "ha": "center", "va": "center", "linespacing": 1.35} | style
        written = self.axes.text(x, y, words, fontsize=size * 0.72, **settings)  # points, at 100 dots per inch
        taken = written.get_window_extent().width
        if taken > room:
            raise ValueError(f"{words!r} takes {taken:.0f} of {room:.0f} pixels")


def draw_images(drawing: Drawing, left: float, width: float) -> None:
    drawing.box(left, CARD_TOP, width, CARD_BOTTOM - CARD_TOP)
    side, gap = 34, 7
    first = left + (width - 3 * side - 2 * gap) / 2
    for number, character in enumerate(CHARACTERS):
        row, column = divmod(number, 3)
        x, y = first + column * (side + gap), CARD_TOP + 32 + row * (side + gap)
        drawing.box(x, y, side, side, radius=5, facecolor="#eef1f6", linewidth=0.8)
        drawing.text(x + side / 2, y + side / 2, character, 20, side, va="center_baseline")


def draw_distill(drawing: Drawing, left: float, width: float) -> None:
    drawing.box(left, CARD_TOP, width, CARD_BOTTOM - CARD_TOP)
    middle = left + width / 2
    drawing.box(middle - 70, CARD_TOP + 18, 140, 76, facecolor=ORANGE, edgecolor="none")
    drawing.text(middle, CARD_TOP + 56, "large teacher", 16, 130, color="white", weight="bold")
    drawing.arrow((middle, CARD_TOP + 97), (middle, CARD_TOP + 127))
    drawing.box(middle - 58, CARD_TOP + 130, 116, 36, facecolor=BLUE, edgecolor="none", radius=8)
    drawing.text(middle, CARD_TOP + 148, "small student", 13, 108, color="white", weight="bold")


def draw_export(drawing: Drawing, left: float, width: float) -> None:
    drawing.box(left, CARD_TOP, width, CARD_BOTTOM - CARD_TOP)
    names = ("TFLite float32", "TFLite float16", "TFLite int8", "ONNX float32", "ONNX int8")
    for number, name in enumerate(names):
        y = CARD_TOP + 16 + number * 31.5
        drawing.box(left + 22, y, width - 44, 25, radius=6, facecolor="#e6ecfd", edgecolor="none")
        drawing.text(left + width / 2, y + 12.5, name, 13, width - 50)


def draw_uses(drawing: Drawing, left: float, width: float) -> None:
    rows = (
        ("benchmark", "latency, size, Recall@K: pass or fail"),
        ("gallery", "which images are most similar?"),
        ("android_demo", "an app that searches offline"),
    )
    height, gap = 70, 11
    for number, (name, what) in enumerate(rows):
        top = 53 + number * (height + gap)
        drawing.box(left, top, width, height)
        drawing.text(left + 14, top + 23, name, 16, width - 28, ha="left", weight="bold")
        drawing.text(left + 14, top + 47, what, 12.5, width - 24, ha="left", color=MUTED)
        drawing.arrow((left - 50, (CARD_TOP + CARD_BOTTOM) / 2), (left - 5, top + height / 2))


def draw(path: Path) -> None:
    """Write the picture as SVG. The same version of matplotlib writes the same bytes."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams |= {"svg.fonttype": "path", "svg.hashsalt": "chain", "font.family": "DejaVu Sans"}
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    axes.axis("off")
    drawing = Drawing(axes)
    drawing.box(1, 1, WIDTH - 2, HEIGHT - 2, facecolor=PAPER, radius=14)
    columns = (("images", 22, 156, draw_images), ("distill", 236, 186, draw_distill), ("export", 480, 178, draw_export))
    captions = (
        "your photos, with\nor without classes",
        "the student learns\nto imitate the teacher",
        "every file is compared\nwith PyTorch",
    )
    for (name, left, width, fill), caption in zip(columns, captions, strict=True):
        drawing.text(left + width / 2, 50, name, 19, width, weight="bold", va="baseline")
        fill(drawing, left, width)
        drawing.text(left + width / 2, CARD_BOTTOM + 40, caption, 13, width + 24, color=MUTED)
    middle = (CARD_TOP + CARD_BOTTOM) / 2
    drawing.arrow((183, middle), (231, middle))
    drawing.arrow((427, middle), (475, middle))
    draw_uses(drawing, 714, 264)
    drawing.text(714 + 132, CARD_BOTTOM + 55, "all three read the same exported files", 12, 280, color=MUTED)
    with atomic_path(path) as temporary:
        figure.savefig(
            temporary,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Title": "The chain from images to a phone"},
        )
    pyplot.close(figure)


@app.command("draw")
def main(
    out: Annotated[Path, typer.Argument(help="SVG file to write.")],
    debug: DebugOption = False,
) -> None:
    """Draw the picture."""
    check_output(out)
    draw(out)


if __name__ == "__main__":
    raise SystemExit(run_app(app, sys.argv[1:]))
