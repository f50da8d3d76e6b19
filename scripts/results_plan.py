"""Plans of results tables, and the CSV of their lines."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from tuning import Search

from distill.console import Failure, UsageFailure, suggest
from distill.files import atomic_path

__all__ = [
    "COLUMNS",
    "GROUPS",
    "METRICS",
    "REDUCED",
    "TEACHER",
    "Plan",
    "Row",
    "add_lines",
    "read_lines",
    "read_plan",
    "summary",
]

METRICS = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r")
COLUMNS = (
    "row",
    "group",
    "measured",
    "seed",
    *METRICS,
    "epochs",
    "train_seconds",
    "command",
    "versions",
    "machine",
    "date",
    "chosen_by",
)
TEACHER, REDUCED = "teacher", "teacher, reduced to the student's dimension"
GROUPS = {"alone": "#8a8a8a", "paper": "#2a6fbb", "later": "#c8641e", "setting": "#3d8b4f", "teacher": "#222222"}


class Row(BaseModel):
    """One method. ``measure`` and ``whiten`` name the measurements of its runs besides the plain test."""

    model_config = ConfigDict(extra="forbid")
    name: str
    group: str
    options: dict[str, Any]
    fixed: bool = False  # shows the rate and weight decay it names: no search
    seeds: list[int] | None = None
    measured_seeds: list[int] | None = None  # for ``measure``; None: all
    measure: dict[
        str, str
    ] = {}  # label -> options of `distill-train evaluate`; {teacher}: folder of the reduced teacher
    whiten: dict[str, str] = {}  # label -> options of `distill-train whiten`


class Plan(BaseModel):
    """A results table.

    ``weights: null`` in ``teacher`` or ``student`` starts the network from random weights. ``teacher_seeds`` trains the
    teacher anew for each seed.
    """

    model_config = ConfigDict(extra="forbid")
    title: str
    seeds: list[int]
    teacher: dict[str, Any]
    teacher_seeds: bool = False
    # Options that reduce the teacher to the student's dimension: a student of no epochs. None: it has that dimension.
    reduced: dict[str, Any] | None = None
    student: dict[str, Any]
    taught: dict[str, Any]  # options of runs with a teacher only
    rows: list[Row]
    tune: Search | None = None


def read_plan(path: Path) -> Plan:
    """Read the plan in a YAML file.

    Raises:
        Failure: The file cannot be read, or is not a plan.
        UsageFailure: A group has no colour, or a row has a seed that the plan lacks.
    """
    import yaml

    try:
        plan = Plan(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", "check the path") from None
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError, TypeError, ValidationError) as error:
        raise Failure(f"{path}: {str(error).splitlines()[0]}", "see results/cub200-2010.yaml for the form") from None
    for row in plan.rows:
        if row.group not in GROUPS:
            raise UsageFailure(f"{path}: {row.name}: group {row.group}", suggest(row.group, GROUPS))
        # ``run`` iterates over the plan's seeds: other seeds would never be trained.
        if more := sorted({*(row.seeds or ()), *(row.measured_seeds or ())} - set(plan.seeds)):
            raise UsageFailure(f"{path}: {row.name}: seed {more[0]} is not in the plan", f"add {more[0]} to its seeds")
    return plan


def read_lines(path: Path) -> list[dict[str, str]]:
    """Read the lines of a CSV that ``run`` wrote; empty if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        lines = [{"chosen_by": "", **line} for line in csv.DictReader(file)]  # files before version 0.2 lack it
    if lines and set(lines[0]) != set(COLUMNS):
        raise Failure(f"{path}: not the columns of this script", "move the file away")
    for number, line in enumerate(lines, 2):
        try:
            int(line["seed"]), [float(line[key]) for key in METRICS]
        except (TypeError, ValueError):
            raise Failure(f"{path}: line {number} is damaged", "delete that line; run measures it again") from None
    return lines


def add_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Add lines atomically. A line replaces one of the same row, measurement and seed."""
    new = {_key(line) for line in lines}
    everything = [line for line in read_lines(path) if _key(line) not in new] + lines
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(everything)


def _key(line: dict[str, Any]) -> tuple[str, str, str]:
    return line["row"], line["measured"], str(line["seed"])


def summary(plan: Plan, lines: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return the rows in the plan's order, teacher first, one for each measurement."""
    order = [
        (TEACHER, "test"),
        (REDUCED, "test"),
        *((row.name, label) for row in plan.rows for label in ("test", *row.measure, *row.whiten)),
    ]
    found = []
    for name, measured in order:
        own = [line for line in lines if (line["row"], line["measured"]) == (name, measured)]
        if not own:
            continue
        values = [float(line["recall@1"]) for line in own]
        row: dict[str, Any] = {key: statistics.fmean(float(line[key]) for line in own) for key in METRICS}
        row |= {
            "name": name if measured == "test" else f"{name}, {measured}",
            "group": own[0]["group"],
            "seeds": len(own),
        }
        found.append(row | {"values": values, "lowest": min(values), "highest": max(values)})
    if not found:
        raise Failure("no results yet", "python scripts/results.py run …")
    return found
