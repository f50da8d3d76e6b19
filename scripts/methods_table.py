"""Write the tables of docs/methods.md: the losses from their specs, the recommendations from results/*.csv.

python scripts/methods_table.py
python scripts/methods_table.py --check
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from distill.console import DebugOption, Failure, run_app
from distill.files import atomic_path
from distill.losses import LOSSES, LossSpec

sys.path.insert(0, str(Path(__file__).parent))  # this file may be imported from elsewhere
from recommended import recommendations

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
_TABLE = re.compile(r"(<!-- losses on (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_RECOMMENDED = re.compile(r"(<!-- recommendations -->\n).*?(<!-- end -->)", re.DOTALL)

# Title of a column and the cell of a loss in it.
Columns = dict[str, Callable[[str, LossSpec], str]]
_NAME: Columns = {"Method": lambda name, spec: f"`{name}`", "In words": lambda name, spec: spec.help}
_WEIGHT: Columns = {"Default weight": lambda name, spec: f"{spec.weight:g}"}
_SPACE: Columns = {"Space": lambda name, spec: spec.space}
_SOURCE: Columns = {"Source": lambda name, spec: spec.source}

# Kind of loss, as the page marks it: which losses, and the columns of their table.
TABLES: dict[str, tuple[Callable[[LossSpec], bool], Columns]] = {
    "embeddings": (
        lambda spec: spec.teacher and spec.stages != "maps",
        {
            **_NAME,
            "Equation": lambda name, spec: spec.equation,
            **_WEIGHT,
            **_SPACE,
            "Dimensions": lambda name, spec: "a wider teacher is reduced" if spec.space == "teacher" else "any",
            **_SOURCE,
        },
    ),
    "maps": (
        lambda spec: spec.teacher and spec.stages == "maps",
        {
            **_NAME,
            "Equation, per stage": lambda name, spec: spec.equation,
            **_WEIGHT,
            "Default stages": lambda name, spec: ",".join(map(str, spec.default_stages)),
            **_SPACE,
            **_SOURCE,
        },
    ),
    "labels": (
        lambda spec: not spec.teacher,
        {**_NAME, "Loss and miner": lambda name, spec: spec.equation, **_WEIGHT, **_SOURCE},
    ),
}

app = typer.Typer(add_completion=False)


def table(kind: str) -> str:
    """Return the Markdown table of one kind of losses."""
    wanted, columns = TABLES[kind]
    rows = [[cell(name, spec) for cell in columns.values()] for name, spec in LOSSES.items() if wanted(spec)]
    return "".join(f"| {' | '.join(row)} |\n" for row in [list(columns), *rows]).replace(
        "|\n", "|\n" + "|---" * len(columns) + "|\n", 1
    )


def updated(page: str) -> str:
    """Return the page with all its tables regenerated."""
    page = _TABLE.sub(lambda match: f"{match[1]}\n{table(match[2])}\n{match[3]}", page)
    return _RECOMMENDED.sub(lambda match: f"{match[1]}\n{recommendations()}\n{match[2]}", page)


@app.command(help=__doc__)
def main(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if the page is out of date.")] = False,
    debug: DebugOption = False,
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    new = updated(page)
    if new == page:
        return
    if check:
        raise Failure(
            f"{PAGE.name} does not agree with the specs of the losses or with results/",
            "python scripts/methods_table.py",
        )
    with atomic_path(PAGE) as temporary:
        temporary.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_app(app))
