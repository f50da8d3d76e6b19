"""Which method to start with, from the measured tables: rows of docs/methods.md that results/*.csv decide.

A wish names the rows that compete for it: same network, pixels and epochs, and the rates of their plan. The row with the
highest mean Recall@1 is recommended, and the best row with other options is shown beside it.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from results_plan import Plan, read_lines, read_plan

__all__ = ["WISHES", "Wish", "recommendations"]

RESULTS = Path(__file__).parents[1] / "results"
BIRDS = "cub200-2010"
BIRDS_224 = "cub200-2010-224"


@dataclass(frozen=True)
class Wish:
    """What a user may want.

    Attributes:
        want: in words.
        plan: name of the plan in results/.
        rows: the rows that compete.
        measured: which of their measurements counts.
    """

    want: str
    plan: str
    rows: tuple[str, ...]
    measured: str = "test"


_TAUGHT = ("absolute", "relative", "rkd", "pkt", "raml", "relaxed contrastive")
_MAPS = ("absolute + hints", "absolute + hints at 0.1", "absolute + hints at 0.01", "absolute + relative hints")
_ALONE = ("triplet", "multi-similarity", "multi-similarity at 1e-3")

WISHES = (
    Wish("a good student, from the teacher alone", BIRDS, _TAUGHT),
    Wish("the teacher's stage maps as well", BIRDS, ("absolute", *_MAPS, "absolute + attention")),
    Wish("labels as well, few epochs (8)", BIRDS, ("absolute", "absolute + multi-similarity")),
    Wish(
        "labels as well, more pixels and epochs (224, 20)",
        BIRDS_224,
        ("absolute, patch stem", "absolute + multi-similarity, patch stem"),
    ),
    Wish("labels of a tenth of the classes", BIRDS, ("absolute", "semi-supervised 10 %")),
    Wish(
        "student queries in the teacher's gallery",
        BIRDS,
        ("absolute", "relative"),
        "queries against the teacher's gallery",
    ),
    Wish("a space of the student's own (relations only)", BIRDS, ("relative", "rkd", "pkt", "relaxed contrastive")),
    Wish(
        "queries of a quarter of the resolution",
        BIRDS,
        ("absolute", "cross-quality"),
        "pictures of a quarter of the resolution",
    ),
    Wish("no teacher", BIRDS, tuple(f"{name}, crops from 274 pixels" for name in _ALONE)),
)


def recommendations(results: Path = RESULTS) -> str:
    """Return the table as Markdown.

    Args:
        results: folder of the plans and their CSV files.

    Raises:
        Failure: a plan cannot be read, or its CSV is damaged.
        KeyError: a wish names a row that its plan lacks.
        ValueError: a row has not been measured.
    """
    text = "| You want | Start with | Recall@1, % | Next | Recall@1, % |\n|---|---|---|---|---|\n"
    for wish in WISHES:
        plan = read_plan(results / f"{wish.plan}.yaml")
        lines = read_lines(results / f"{wish.plan}.csv")
        ranked = sorted((_measured(plan, lines, row, wish.measured) for row in wish.rows), key=lambda row: -row[0])
        _, best, recall = ranked[0]
        # A row of the same options has another rate.
        next_, next_recall = next((words, found) for _, words, found in ranked if words != best)
        text += f"| {wish.want} | {best} | {recall} | {next_} | {next_recall} |\n"
    return text


def _measured(plan: Plan, lines: list[dict[str, str]], row: str, measured: str) -> tuple[float, str, str]:
    """Return the mean Recall@1 of a row, its options in words, and the figure with its range over the seeds."""
    values = [100 * float(line["recall@1"]) for line in lines if (line["row"], line["measured"]) == (row, measured)]
    if not values:
        raise ValueError(f"{row}: {measured} is not measured")
    options = {each.name: each.options for each in plan.rows}[row]
    more = [
        f"`--{key.replace('_', '-')} {options[key]}`"
        for key in ("labelled_classes", "student_degrade")
        if key in options
    ]
    words = ", ".join([f"`{options['method']}`", *more])
    mean = statistics.fmean(values)
    spread = f" ({min(values):.1f}–{max(values):.1f})" if len(values) > 1 else ""
    return mean, words, f"{mean:.1f}{spread}"
